r"""Grading on the real sets: every gold answer is right, a changed one wrong, a thousand take
seconds, none hangs.
"""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from gnivo_edu.tasks.benchmarks import problem_of
from gnivo_edu.tasks.data_sets import load_rows
from gnivo_edu.tasks.grading import (
    Extract,
    Grade,
    Problem,
    after_marker,
    grade_answers,
    last_box,
    marker_or_box,
    unparsable_golds,
)

pytestmark = pytest.mark.slow
TIMEOUT = 60.0  # seconds: the machine may be busy
SETS = ("aime24", "aime25", "amc23", "math500", "minerva_math", "olympiadbench")


@pytest.fixture(scope="module")
def golds(shared_data: Path) -> dict[str, list[Problem]]:
    """The problems of the six benchmark sets and of the test split of GSM8K."""
    problems = {}
    for name in SETS:
        rows = load_rows(shared_data / "eval" / f"{name}.jsonl", "test")
        problems[name] = [problem_of(row, number, name) for number, row in enumerate(rows)]
    rows = load_rows(shared_data / "gsm8k", "test")
    answers = [after_marker(row["answer"]) or "" for row in rows]
    problems["gsm8k"] = [Problem(question="?", gold=answer) for answer in answers]
    return problems


@dataclass
class Graded:
    """Every gold as an answer to its own problem, graded once, and the seconds of each set."""

    grades: dict[str, list[Grade]]
    seconds: dict[str, float]


@pytest.fixture(scope="module")
def graded(golds: dict[str, list[Problem]]) -> Graded:
    """The golds, graded by workers that had started."""
    boxed(["1"], [Problem(question="?", gold="1")])
    graded = Graded(grades={}, seconds={})
    for name, problems in golds.items():
        start = time.monotonic()
        graded.grades[name] = boxed([p.gold for p in problems], problems, extract_of(name))
        graded.seconds[name] = time.monotonic() - start
    return graded


def extract_of(name: str) -> Extract:
    return marker_or_box if name == "gsm8k" else last_box


def boxed(answers: list[str], problems: list[Problem], extract: Extract = last_box) -> list[Grade]:
    return grade_answers(
        [rf"\boxed{{{answer}}}" for answer in answers],
        problems,
        extract,
        timeout=TIMEOUT,
        workers=2,
    )


def test_every_gold_is_right_against_itself_but_for_the_unreadable(
    golds: dict[str, list[Problem]], graded: Graded
) -> None:
    unreadable = {}
    for name, grades in graded.grades.items():
        numbers = [number for number, grade in enumerate(grades) if grade.status != "right"]
        unreadable[name] = [golds[name][number].gold for number in numbers]
        grader = partial(grade_answers, timeout=TIMEOUT, workers=2)
        assert numbers == unparsable_golds(golds[name], grader), name
    counts = {name: len(texts) for name, texts in unreadable.items() if texts}
    assert counts == {"minerva_math": 2, "olympiadbench": 2}
    # A program, a sun as a subscript, a family of functions, an interval behind a letter.
    texts = [gold for texts in unreadable.values() for gold in texts]
    for text, part in zip(texts, ("np.arcsin", r"\odot", "arbitrary", "t(0,4]"), strict=True):
        assert part in text


def test_a_gold_with_an_exponent_means_a_power_of_ten(golds: dict[str, list[Problem]]) -> None:
    parts = [re.fullmatch(r"(-?[\d.]+)e([+-]?\d+)", p.gold) for p in golds["minerva_math"]]
    matches = [match for match in parts if match]
    assert len(matches) == 58
    problems = [Problem(question="?", gold=match[0]) for match in matches]
    for shift in (-1, 0, 1):
        answers = [rf"{match[1]} \times 10^{{{int(match[2]) + shift}}}" for match in matches]
        grades = boxed(answers, problems)
        assert {grade.status for grade in grades} == {"wrong" if shift else "right"}, shift


def test_a_gold_with_one_digit_changed_is_wrong(golds: dict[str, list[Problem]]) -> None:
    rng, taken_for_right = random.Random(0), []
    for name, problems in golds.items():
        # Not of the one problem that allows an error: there the next digit may be right.
        digits = [p for p in problems if re.search(r"\d", p.gold) and p.tolerance is None]
        answers = []
        for p in digits:
            digit = rng.choice(list(re.finditer(r"\d", p.gold)))
            other = (int(digit[0]) + rng.randint(1, 9)) % 10
            answers.append(p.gold[: digit.start()] + str(other) + p.gold[digit.end() :])
        grades = boxed(answers, digits, extract_of(name))
        assert {grade.status for grade in grades} <= {"wrong", "right", "unparsable gold"}
        right = [grade for grade in grades if grade.status == "right"]
        taken_for_right += [(grade.gold, grade.answer) for grade in right]
    assert taken_for_right == []


def test_a_thousand_answers_take_less_than_a_minute_on_two_cores(graded: Graded) -> None:
    grades = [grade for name in SETS for grade in graded.grades[name]]
    assert len(grades) > 1000
    assert sum(graded.seconds[name] for name in SETS) / len(grades) * 1000 < 60
    assert sum(grade.status == "right" for grade in grades) > 0.98 * len(grades)


HOSTILE = {
    "deep braces": r"\boxed{" + "{" * 20_000 + "1" + "}" * 20_000 + "}",
    "deep fractions": r"\boxed{" + r"\frac{1}{" * 3000 + "1" + "}" * 3000 + "}",
    "deep roots": r"\boxed{" + r"\sqrt{" * 2000 + "2" + "}" * 2000 + "}",
    "deep parentheses": r"\boxed{" + "(" * 5000 + "1" + ")" * 5000 + "}",
    "100 kB of digits": r"\boxed{" + "9" * 100_000 + "}",
    "100 kB after the marker": "#### " + "9" * 100_000,
    "never closed": r"\boxed{" * 20_000,
    "a long sum": r"\boxed{" + "1+" * 20_000 + "1}",
    "a tower": r"\boxed{9^{9^{9^9}}}",
    "a large exponent": r"\boxed{1e999999999}",
    "an exponent of 100 kB": r"\boxed{1e" + "9" * 100_000 + "}",
    "a factorial": r"\boxed{100000!}",
    "a long matrix": r"\boxed{\begin{pmatrix}" + "1&" * 5000 + r"1\end{pmatrix}}",
    "no text": "\\boxed{\x00\ud800}",
    "spaces": r"\boxed" + " " * 100_000 + "{1}",
    "digits and spaces": r"\boxed{" + "1 " * 50_000 + "}",
}


@pytest.mark.parametrize(
    ("extract", "names"),
    [
        (last_box, tuple(HOSTILE)),
        (marker_or_box, ("100 kB after the marker", "100 kB of digits", "never closed")),
    ],
)
def test_hostile_answers_do_not_hang_and_are_not_rewarded(
    extract: Extract, names: tuple[str, ...]
) -> None:
    problem = Problem(question="?", gold="5")
    grade_answers([r"\boxed{1}"], [problem], workers=2)  # the workers start
    start = time.monotonic()
    texts = [*(HOSTILE[name] for name in names), r"\boxed{5}"]
    grades = grade_answers(texts, [problem] * len(texts), extract, workers=2)
    # Five seconds each at most, and a worker to start anew.
    assert time.monotonic() - start < 10 * len(names)
    assert [grade.reward for grade in grades] == [0.0] * len(names) + [1.0]
