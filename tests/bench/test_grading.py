"""The grader is as right as is asked for, and a grader with a fault does not pass."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gnivo_edu.bench.grading import GOLDS, bench_grading, made_pairs, own_pairs, real_golds
from gnivo_edu.bench.grading_rules import MADE
from gnivo_edu.tasks.grading import Grade, Problem, last_box, marker_or_box
from tests.tasks.conftest import shared_data  # noqa: F401  # the fixture

DOMAINS = ("GSM8K", "mathematics")


def stub(right: Callable[[str, str | None], bool]) -> dict[str, object]:
    """Graders that compare texts."""

    def grader(extract: Callable[[str], str | None]) -> object:
        def grade(texts: Sequence[str], problems: Sequence[Problem]) -> list[Grade]:
            return [
                Grade(
                    text=text,
                    answer=extract(text),
                    gold=problem.gold,
                    status="right" if right(problem.gold, extract(text)) else "wrong",
                    reward=float(right(problem.gold, extract(text))),
                )
                for text, problem in zip(texts, problems, strict=True)
            ]

        return grade

    return {"GSM8K": grader(marker_or_box), "mathematics": grader(last_box)}


@pytest.mark.slow
def test_no_false_positive_and_few_false_negatives(shared_data: Path) -> None:  # noqa: F811
    rows = bench_grading(shared=shared_data.parent)
    assert [row["case"] for row in rows if row["ratio"] < 1] == []
    assert len(rows) == 6


@pytest.mark.slow
def test_our_own_pairs_alone_say_that_there_are_no_data_sets(tmp_path: Path) -> None:
    rows = bench_grading(shared=tmp_path)
    assert [row["case"] for row in rows if row["ratio"] < 1] == []
    assert sum(f"no data sets in {tmp_path}" in row["case"] for row in rows) == 4


def test_there_are_as_many_pairs_and_golds_as_asked_for(shared_data: Path) -> None:  # noqa: F811
    golds = real_golds(shared_data.parent)
    assert {domain: len(problems) for domain, problems in golds.items()} == GOLDS
    assert sum(GOLDS.values()) >= 150
    pairs = [p for d in DOMAINS for p in (*own_pairs(d), *made_pairs(d, golds[d]))]
    assert len(pairs) >= 400
    assert pairs == [p for d in DOMAINS for p in (*own_pairs(d), *made_pairs(d, golds[d]))]
    for domain in DOMAINS:
        assert {p.right for p in pairs if p.domain == domain} == {True, False}


@pytest.mark.parametrize(
    ("fault", "right"),
    [
        ("case is lost", lambda gold, answer: gold.lower() == (answer or "").lower()),
        ("a number is fished out", lambda gold, answer: gold in (answer or "")),
        ("nothing is right", lambda gold, answer: False),
        ("all is right", lambda gold, answer: True),
    ],
)
def test_a_planted_fault_is_caught(fault: str, right: Callable[..., bool], tmp_path: Path) -> None:
    rows = bench_grading(shared=tmp_path, graders=stub(right))  # type: ignore[arg-type]
    named = [row["case"] for row in rows if row["ratio"] == 0]
    kind = "false negative" if fault == "nothing is right" else "FALSE POSITIVE"
    assert any(case.startswith(kind) for case in named), fault


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_rule_makes_something_else_of_some_gold(domain: str) -> None:
    golds = ["12", "3000", r"\frac{1}{2}", "(1,2)", "1, 3, 5", r"2\sqrt{3}", "x^2 + a", "-4"]
    rng = random.Random(0)
    for rule in (*MADE[domain][0], *MADE[domain][1]):
        made = [rule(gold, rng) for gold in golds]
        assert any(made), rule.__name__
        assert all(answer != gold for answer, gold in zip(made, golds, strict=True))
