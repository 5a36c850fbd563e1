"""One math grader in a process of its own: compares an answer with the gold by math-verify.

It is a process so that an answer such as 10^{10^{10}} can be stopped: Python's own alarm cannot
interrupt the big-number arithmetic that such an answer starts, and does not work in threads at all.
`grading.py` starts these processes; little else is imported here, so that they start fast.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
from typing import Any

MEMORY_LIMIT = 4 * 2**30  # bytes; an answer that needs more is wrong
RELATIVE_ERROR = 1e-3  # math-verify compares six decimals, and those of 4.6e-24 are all zero

_SCIENTIFIC = re.compile(r"(?<![\w\\.])(\d+(?:\.\d*)?)[eE]([+-]?\d+)(?![\w.])")
_BARE_POINT = re.compile(r"(?<=\d)\.(?=\s*[-+*/^=,;)\]}])")
_BASE = re.compile(r"\d\s*_\s*\{?\s*(\d+)\s*\}?$")
_SYMBOL = re.compile(
    r"\\(?:hbar|ell|mho|(?:var)?(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|rho|sigma"
    r"|tau|upsilon|phi|chi|psi|omega))(?![a-z])",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    r"""An answer or gold without what stands around its mathematics: currency and math signs, "\!",
    a full stop.

    >>> clean(r"\$32,\!348"), clean("$f(x)=x$,$f(x)=2-x$."), clean(r" \left(1, 2\right) ")
    ('32,348', 'f(x)=x,f(x)=2-x', '(1, 2)')
    """
    text = re.sub(r"\\left\.|\\right\.|\\(?:left|right)(?=[\[\]()|\\])|\\?\$|\\!", "", text)
    return text.strip().rstrip(".").strip()


def judge(
    gold: str, answer: str | None, unit: str | None = None, tolerance: float | None = None
) -> str:
    """ "right", "wrong", "no answer" (where `answer` is None) or "unparsable gold", by math-verify.

    A gold that math-verify cannot read as mathematics, or misreads, is unparsable, whatever the
    answer. `unit` may follow the answer; a number within `tolerance` of the gold is right. An
    answer with the base of its digits must name that of the gold (ten where the gold names none);
    one without is taken to be in the base that was asked for. Tiny numbers must agree to one part
    in a thousand. Words and units after a number are not read.
    """
    gold_parsed = _parse(gold)
    if not _expressions(gold_parsed) or _misread(gold, gold_parsed):
        return "unparsable gold"
    if answer is None:
        return "no answer"
    from math_verify import verify

    if unit and clean(unit) in ("%", "\\%"):
        answer = answer.replace("\\%", "").replace("%", "")
    answer_parsed = _parse(answer, scientific=not _has_euler(gold_parsed))
    if _braces_against_brackets(gold, answer, gold_parsed, answer_parsed):
        return "wrong"
    if _base(answer) not in ("", _base(gold) or "10"):
        return "wrong"
    # Gold first: verify is not symmetric. Relations and intervals are compared both ways round.
    if verify(gold_parsed, answer_parsed, timeout_seconds=None, allow_set_relation_comp=True):
        return "right" if tolerance or not _far_apart(gold_parsed, answer_parsed) else "wrong"
    return "right" if tolerance and _close(gold_parsed, answer_parsed, tolerance) else "wrong"


def _parse(text: str, scientific: bool = True) -> list[Any]:
    """What math-verify reads, once 3e6 is written as a power of ten (it would be 3*e*6) and 1./3
    without its point.
    """
    from math_verify import parse

    text = _BARE_POINT.sub("", clean(text))
    if scientific:
        text = _SCIENTIFIC.sub(lambda match: rf"{match[1]} \times 10^{{{int(match[2])}}}", text)
    # Between dollar signs, since math-verify finds no LaTeX in running text; without its alarm, see
    # above.
    parsed: list[Any] = parse(f"${text}$", parsing_timeout=None)
    return parsed


def _expressions(parsed: list[Any]) -> list[Any]:
    return [item for item in parsed if not isinstance(item, str)]


def _misread(gold: str, parsed: list[Any]) -> bool:
    r"""Whether what was read cannot be meant: \gamma^{2}-1 as zoo, and a lone number out of \hbar
    \omega(v+1/2).
    """
    from sympy import EulerGamma, Expr, nan, zoo

    first = _expressions(parsed)[0]
    if first.has(zoo, nan):
        return True
    return (
        bool(_SYMBOL.search(gold))
        and isinstance(first, Expr)
        and first.is_number
        and not first.has(EulerGamma)
    )


def _has_euler(parsed: list[Any]) -> bool:
    """Whether e is a number here: then 2e-2 may be twice e less two."""
    from sympy import E, exp

    return bool(_expressions(parsed)[0].has(E, exp))


def _base(text: str) -> str:
    """The base that a numeral names, as 8 in 52_8 or 52_{8}; "" where it names none."""
    match = _BASE.search(clean(text))
    return match[1] if match else ""


def _braces_against_brackets(
    gold: str, answer: str, gold_parsed: list[Any], answer_parsed: list[Any]
) -> bool:
    """Whether one is a set in braces and the other a pair or an interval, which math-verify takes
    for equal.
    """
    from sympy import FiniteSet, Interval, Tuple

    kinds = set()
    for text, parsed in ((gold, gold_parsed), (answer, answer_parsed)):
        first = next(iter(_expressions(parsed)), None)
        if isinstance(first, FiniteSet) and clean(text).startswith("\\{"):
            kinds.add("braces")
        elif isinstance(first, Interval | Tuple):
            kinds.add("brackets")
    return kinds == {"braces", "brackets"}


def _numbers(gold_parsed: list[Any], answer_parsed: list[Any]) -> tuple[float, float] | None:
    """Gold and answer as floats, where both are real numbers."""
    try:
        gold, answer = (
            float(_expressions(parsed)[0].evalf()) for parsed in (gold_parsed, answer_parsed)
        )
    except (IndexError, TypeError, ValueError, AttributeError):
        return None
    return gold, answer


def _close(gold_parsed: list[Any], answer_parsed: list[Any], tolerance: float) -> bool:
    numbers = _numbers(gold_parsed, answer_parsed)
    # A little more than the tolerance: 4.2 and 4.3 are 0.1 apart only up to rounding.
    return numbers is not None and abs(numbers[0] - numbers[1]) <= tolerance * (1 + 1e-9)


def _far_apart(gold_parsed: list[Any], answer_parsed: list[Any]) -> bool:
    """Whether these are numbers further apart than `RELATIVE_ERROR`, as 4.6e-24 and 4.6e-23 are."""
    gold, answer = _numbers(gold_parsed, answer_parsed) or (0.0, 0.0)
    return abs(gold - answer) > RELATIVE_ERROR * abs(gold)


def prepare() -> None:
    """Make this process a grader: silent, bounded in memory, quick to stop, and ready to read."""
    # pebble stops a process by SIGTERM, and its handler waits for Python, which one long sum of big
    # numbers does not let in. Without a handler the process ends at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    # What sympy prints must not mix with what the caller prints.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    logging.disable(logging.WARNING)  # one warning a request that there is no alarm
    with contextlib.suppress(ImportError):  # `reply` says so
        _parse("1")


def reply(request: dict[str, Any]) -> str:
    """The verdict of `judge`; "wrong" where an answer makes sympy raise. ImportError without
    math-verify.
    """
    import math_verify  # noqa: F401  # that it is missing is no fault of the answer

    try:
        return judge(**request)
    except Exception:  # whatever sympy raises on what a model wrote
        return "wrong"
