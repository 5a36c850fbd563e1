r"""How an answer is held against the gold answer of its row, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

from gnivo_edu.names import nearest, shown
from gnivo_edu.tasks.answers.patterns import NUMBER
from gnivo_edu.tasks.grading import (
    TIMEOUT,
    Extract,
    Grade,
    Problem,
    Status,
    grade_answers,
    last_box,
    marker_or_box,
)

Grader = Callable[[Sequence[str], Sequence[Problem]], list[Grade]]
Same = Callable[[str, str], bool]  # an answer and a gold one
LONGEST = 300  # characters of a number

_NUMBER = re.compile(
    rf"(?<![\w.])[-−]?[$€£]?\s*{NUMBER}(?:[eE][-+]?\d{{1,3}}|/[1-9]\d*(?:\.\d+)?)?(?!\w)"
)
_MARKED = re.compile(r"####[ \t]*(\S.*)")
_SAID = re.compile(r"\b(?i:answer|option|choice)\b(?i:\s+is)?[\s:*(]*([A-Z])\b")
_ALONE = re.compile(r"[\s*(]*([A-Z])(?:[\s*]*(?:[.):,].*)?)", re.DOTALL)


def get_grader(name: str, timeout: float = TIMEOUT) -> Grader:
    r"""A grader by name: from texts and their problems to grades.

    An answer is what stands after the last `####` or in the last box, where a text has one. In a
    text without either it is, for

    - `exact`: the whole text, without white space at its ends; equal to the gold, letter by letter;
    - `number`: the last number of the text; equal to the gold as a number: 1,018.50 is 1018.5;
    - `choice`: the letter that the text begins with, or that it calls the answer; the same letter;
    - `contains`: the whole text, marker or not; the gold is in it, as whole words in any case;
    - `regex`: the whole text, marker or not; the gold, a regular expression, is found in it;
    - `math`: none; compared by math-verify, at most `timeout` seconds an answer.

    Raises ValueError on a name that is not known.

    >>> asked = [Problem(question="How many?", gold="1,018.5")]
    >>> [grade.status for grade in get_grader("number")(["It is 9, so $1018.50."], asked)]
    ['right']
    >>> [grade.status for grade in get_grader("exact")(["It is 1,018.5"], asked)]
    ['wrong']
    """
    if name == "math":
        return partial(grade_answers, extract=marker_or_box, timeout=timeout)
    if name not in _GRADERS:
        hint = nearest(name, GRADERS, otherwise=f"known: {', '.join(GRADERS)}")
        raise ValueError(f"there is no grader {shown(name)}; {hint}")
    extract, same = _GRADERS[name]
    return partial(graded, extract=extract, same=same)


def check_gold(name: str | None, gold: str) -> None:
    """ValueError where a grader cannot read a gold answer; that of `math` is asked of the grader
    itself: see `TextTask.gradable`.

    >>> check_gold("choice", "the second")
    Traceback (most recent call last):
    ValueError: the answer 'the second' is no letter
    """
    if name == "number" and _number(gold) is None:
        raise ValueError(f"the answer {shown(gold)} is no number")
    if name == "choice" and _choice(gold) is None:
        raise ValueError(f"the answer {shown(gold)} is no letter")
    if name == "regex":
        try:
            re.compile(gold)
        except re.error as error:
            raise ValueError(
                f"the answer {shown(gold)} is no regular expression: {error}"
            ) from error


def graded(
    texts: Sequence[str], problems: Sequence[Problem], extract: Extract, same: Same
) -> list[Grade]:
    """A grade for each text: `extract` takes its answer, None for "no answer", and `same` holds it
    against the gold one.

    >>> import operator
    >>> asked = [Problem(question="?", gold="4")] * 2
    >>> grades = graded(["4", "5"], asked, extract=str.strip, same=operator.eq)
    >>> [grade.status for grade in grades]
    ['right', 'wrong']
    """
    grades = []
    for text, problem in zip(texts, problems, strict=True):
        answer = extract(text)
        status: Status = "no answer"
        if answer is not None:
            status = "right" if same(answer, problem.gold) else "wrong"
        reward = float(status == "right")
        grades.append(
            Grade(text=text, answer=answer, gold=problem.gold, status=status, reward=reward)
        )
    return grades


def _whole(text: str) -> str | None:
    return text.strip() or None


def _marked(text: str) -> str | None:
    """What stands after the last `####`, or else in the last box; None without either."""
    marked = _MARKED.findall(text)
    return marked[-1].strip() if marked else last_box(text)


def _exact(text: str) -> str | None:
    return _marked(text) or _whole(text)


def _number(text: str) -> str | None:
    """The last number of a text, for `_value`; one of hundreds of digits is none."""
    numbers = _NUMBER.findall(_marked(text) or text)
    number = re.sub(r"[,$€£\s]", "", numbers[-1].replace("−", "-")) if numbers else ""
    return number if 0 < len(number) < LONGEST else None


def _choice(text: str) -> str | None:
    """The letter that a text calls its answer."""
    text = _marked(text) or text
    if alone := _ALONE.fullmatch(text):
        return alone[1]
    said = _SAID.findall(text)
    return said[-1] if said else None


def _value(number: str) -> Fraction:
    """What `_number` found; either side of a "/" may be a decimal."""
    above, _, below = number.partition("/")
    return Fraction(above) / Fraction(below or 1)


def _same_number(answer: str, gold: str) -> bool:
    return _value(answer) == _value(str(_number(gold)))


def _contains(answer: str, gold: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(gold)}(?!\w)", answer, re.IGNORECASE) is not None


# What is taken for the answer, and whether it is the gold one.
_GRADERS: dict[str, tuple[Extract, Same]] = {
    "exact": (_exact, lambda answer, gold: answer == gold.strip()),
    "number": (_number, _same_number),
    "choice": (_choice, lambda answer, gold: answer == _choice(gold)),
    "contains": (_whole, _contains),
    "regex": (_whole, lambda answer, gold: re.search(gold, answer) is not None),
}
GRADERS = ("math", *_GRADERS)
