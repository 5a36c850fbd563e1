"""One math grader in a process of its own: reads requests on standard input, one JSON object a line, and answers each.

It is a process so that an answer such as 10^{10^{10}} can be stopped: Python's own alarm cannot interrupt the
big-number arithmetic that such an answer starts, and does not work in threads at all. `grading.py` starts these
processes; nothing else of gnivo_edu is imported here, so that they start fast.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from typing import Any

MEMORY_LIMIT = 4 * 2**30  # bytes; an answer that needs more is wrong


def clean(text: str) -> str:
    r"""An answer or gold without what stands around its mathematics: currency and math signs, "\!", a full stop.

    >>> clean(r"\$32,\!348"), clean("$f(x)=x$,$f(x)=2-x$."), clean(r" \left(1, 2\right) ")
    ('32,348', 'f(x)=x,f(x)=2-x', '(1, 2)')
    """
    text = re.sub(r"\\left\.|\\right\.|\\(?:left|right)(?=[\[\]()|\\])|\\?\$|\\!", "", text)
    return text.strip().rstrip(".").strip()


def judge(gold: str, answer: str | None, unit: str | None = None, tolerance: float | None = None) -> str:
    """ "right", "wrong", "no answer" (where `answer` is None) or "unparsable gold", by math-verify.

    A gold that math-verify cannot read as mathematics is unparsable, whatever the answer. `unit` may follow the answer;
    a number within `tolerance` of the gold is right.
    """
    gold_parsed = _parse(gold)
    if not _expressions(gold_parsed):
        return "unparsable gold"
    if answer is None:
        return "no answer"
    from math_verify import verify

    if unit and clean(unit) in ("%", "\\%"):
        answer = answer.replace("\\%", "").replace("%", "")
    answer_parsed = _parse(answer)
    if _braces_against_brackets(gold, answer, gold_parsed, answer_parsed):
        return "wrong"
    # Gold first: verify is not symmetric. Relations and intervals are compared both ways round.
    if verify(gold_parsed, answer_parsed, timeout_seconds=None, allow_set_relation_comp=True):
        return "right"
    return "right" if tolerance and _close(gold_parsed, answer_parsed, tolerance) else "wrong"


def _parse(text: str) -> list[Any]:
    from math_verify import parse

    # Between dollar signs, since math-verify finds no LaTeX in running text; without its alarm, see above.
    parsed: list[Any] = parse(f"${clean(text)}$", parsing_timeout=None)
    return parsed


def _expressions(parsed: list[Any]) -> list[Any]:
    return [item for item in parsed if not isinstance(item, str)]


def _braces_against_brackets(gold: str, answer: str, gold_parsed: list[Any], answer_parsed: list[Any]) -> bool:
    """Whether one is a set in braces and the other a pair or an interval: math-verify takes them for equal."""
    from sympy import FiniteSet, Interval, Tuple

    kinds = []
    for text, parsed in ((gold, gold_parsed), (answer, answer_parsed)):
        first = next(iter(_expressions(parsed)), None)
        in_braces = isinstance(first, FiniteSet) and clean(text).startswith("\\{")
        kinds.append("braces" if in_braces else "brackets" if isinstance(first, Interval | Tuple) else "")
    return set(kinds) == {"braces", "brackets"}


def _close(gold_parsed: list[Any], answer_parsed: list[Any], tolerance: float) -> bool:
    try:
        gold, answer = (float(_expressions(parsed)[0].evalf()) for parsed in (gold_parsed, answer_parsed))
    except (IndexError, TypeError, ValueError, AttributeError):
        return False
    # A little more than the tolerance: 4.2 and 4.3 are 0.1 apart only up to rounding.
    return abs(gold - answer) <= tolerance * (1 + 1e-9)


def main() -> None:
    """Say that it is ready, or why not; then answer requests until standard input ends."""
    replies, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not mix with the replies

    def reply(message: Any) -> None:
        print(json.dumps(message), file=replies, flush=True)

    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    logging.disable(logging.WARNING)  # one warning a request that there is no alarm
    try:
        _parse("1")
    except ImportError as error:
        reply(f"grading mathematics needs math-verify ({error}): pip install 'gnivo-edu[llm]'")
        return
    reply("ready")
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply(judge(**request))
        except Exception:  # whatever sympy raises on what a model wrote
            reply("wrong")


if __name__ == "__main__":
    main()
