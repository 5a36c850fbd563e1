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

from gnivo_edu.tasks.answers.patterns import SUBSCRIPT
from gnivo_edu.tasks.answers.reading import Reading, read
from gnivo_edu.tasks.answers.symbols import letters, word
from gnivo_edu.tasks.answers.text import clean
from gnivo_edu.tasks.answers.units import unit_name

__all__ = ["MEMORY_LIMIT", "clean", "judge", "prepare", "reply"]

MEMORY_LIMIT = 4 * 2**30  # bytes; an answer that needs more is wrong

_BASE = re.compile(r"\d\s*_\s*\{?\s*(\d+)\s*\}?$")
_WORDS = re.compile(rf"\\(?:text[a-z]*|mbox|math[a-z]+)\s*\{{[^{{}}]*\}}|\\[A-Za-z]+|{SUBSCRIPT}")


def judge(
    gold: str, answer: str | None, unit: str | None = None, tolerance: float | None = None
) -> str:
    """ "right", "wrong", "no answer" (where `answer` is None) or "unparsable gold", by math-verify.

    Gold and answer are read whole or not at all: a gold that is not read is unparsable, whatever
    the answer; an answer that is not read is wrong. `unit` may follow the answer; a number within
    `tolerance` of the gold is right. An answer with the base of its digits must name that of the
    gold (ten where the gold names none); one without is taken to be in the base that was asked for.
    Of words after a number the powers of units are compared, and common units (18 km is not 18 m),
    where both have them. A gold that names a modulus is its residue: 7 is right for 7 (mod 12).
    """
    imaginary = _has_imaginary(gold)
    gold_reading = read(gold, unit=unit, imaginary=imaginary)
    gold_words = _words(gold_reading.latex)
    if gold_reading.expression is None and gold_words is None:
        return "unparsable gold"
    if answer is None:
        return "no answer"
    if unit and clean(unit) in ("%", "\\%"):
        answer = answer.replace("\\%", "").replace("%", "")
    unit = unit or gold_reading.unit
    scientific = not _has_euler(gold_reading.expression)
    rows = not getattr(gold_reading.expression, "is_Integer", False)
    answer_reading = read(answer, scientific=scientific, unit=unit, imaginary=imaginary, rows=rows)
    if gold_words is not None:
        return "right" if _same_words(gold_words, answer_reading.latex) else "wrong"
    units = {unit_name(unit or ""), gold_reading.unit, answer_reading.unit} - {""}
    if len(units) > 1:
        return "wrong"
    return _verdict(gold_reading, answer_reading, tolerance)


def _verdict(gold: Reading, answer: Reading, tolerance: float | None) -> str:
    """Right or wrong, of an answer in mathematics."""
    from gnivo_edu.tasks.answers.equations import (
        equally_often,
        same_residue,
        verifier,
    )
    from gnivo_edu.tasks.answers.inequalities import same_inequalities
    from gnivo_edu.tasks.answers.numbers import contradicts_itself, distance

    # A common unit without a power has the first.
    powers = {r.unit_power or ("1" if r.unit else "") for r in (gold, answer)} - {""}
    base = _base(answer.latex)
    if (
        answer.expression is None
        or len(powers) > 1
        or base not in ("", _base(gold.latex) or "10")
        or _braces_against_brackets(gold, answer)
        or answer.modulus not in ("", gold.modulus)
        or contradicts_itself(answer.expression)
        or not (_both_sets(gold, answer) or equally_often(gold.expression, answer.expression))
    ):
        return "wrong"
    same = same_inequalities(gold.expression, gold.latex, answer.expression, answer.latex)
    if same is not None:
        return "right" if same else "wrong"
    # Gold first: verify is not symmetric. Relations and intervals are compared both ways round.
    if verifier()(
        gold.expression, answer.expression, timeout_seconds=None, allow_set_relation_comp=True
    ):
        return "right"
    if int(answer.modulus or 0) and same_residue(
        gold.expression, answer.expression, modulus=int(answer.modulus)
    ):
        return "right"
    if tolerance:
        apart = distance(gold.expression, answer.expression)
        # A little more than the tolerance: 4.2 and 4.3 are 0.1 apart only up to rounding.
        if apart is not None and apart <= tolerance * (1 + 1e-9):
            return "right"
    return "wrong"


def _words(latex: str) -> list[str] | None:
    """The words of an answer in words, on either side of its equals signs; None where it is
    mathematics.
    """
    parts = [part.strip() for part in latex.split("=")]
    words = [word(part) for part in parts]
    if not any(words):
        return None
    # Beside a word, two capitals are a word as well: MR = SRMC.
    words = [
        known or (part if part.isupper() else None)
        for known, part in zip(words, parts, strict=True)
    ]
    return [known for known in words if known] if all(words) else None


def _same_words(words: list[str], answer: str) -> bool:
    parts = answer.split("=")
    if len(parts) != len(words):
        return False
    return sorted(letters(part, like=words[0]) for part in parts) == sorted(words)


def _has_imaginary(gold: str) -> bool:
    """Whether the letter i is the root of -1: beside it no letter but e, or e to a power of it."""
    names = set(re.findall("[A-Za-z]", _WORDS.sub("", gold)))
    return "i" in names and (
        names <= {"i", "e"} or re.search(r"e\s*\^\s*\{[^{}]*i", gold) is not None
    )


def _has_euler(expression: Any) -> bool:
    """Whether e is a number here: then 2e-2 may be twice e less two."""
    from sympy import E, exp

    return expression is not None and bool(expression.has(E, exp))


def _base(latex: str) -> str:
    """The base that a numeral names, as 8 in 52_8 or 52_{8}; "" where it names none."""
    match = _BASE.search(latex)
    return match[1] if match else ""


def _both_sets(*readings: Reading) -> bool:
    """Whether all are sets in braces, which say nothing twice."""
    return all(reading.latex.startswith("\\{") for reading in readings)


def _braces_against_brackets(gold: Reading, answer: Reading) -> bool:
    """Whether one is a set in braces and the other a pair or an interval, or a pair stands in other
    brackets: math-verify takes these for equal.
    """
    from sympy import FiniteSet, Interval, Tuple

    kinds = set()
    for reading in (gold, answer):
        if isinstance(reading.expression, FiniteSet) and reading.latex.startswith("\\{"):
            kinds.add("braces")
        elif isinstance(reading.expression, Interval | Tuple):
            kinds.add("brackets")
    pairs = [r.latex for r in (gold, answer) if isinstance(r.expression, Tuple)]
    # So with three and more: a row in square brackets may be a permutation, and a cycle in round.
    if len(pairs) == 2 and "[" in (pairs[0][0], pairs[1][0]):
        return pairs[0][0] != pairs[1][0] or pairs[0][-1] != pairs[1][-1]
    return kinds == {"braces", "brackets"}


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
        judge("x+1", "1+x")


def reply(request: dict[str, Any]) -> str:
    """The verdict of `judge`; where sympy raises, "unparsable gold" if the gold alone makes it do
    so, else "wrong". ImportError without math-verify.
    """
    import math_verify  # noqa: F401  # that it is missing is no fault of the answer

    try:
        return judge(**request)
    except Exception:  # whatever sympy raises on what a model wrote
        pass
    try:
        verdict = judge(**request | {"answer": None})
    except Exception:
        return "unparsable gold"
    return "unparsable gold" if verdict == "unparsable gold" else "wrong"
