"""The benchmark sets: row counts, versions, columns and answer types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gnivo_edu.tasks import get
from gnivo_edu.tasks.benchmarks import BENCHMARKS, problem_of
from tests.tasks.small_data import Words, write

COUNTS = {
    "aime24": 30,
    "aime25": 30,
    "amc23": 40,
    "math500": 500,
    "minerva_math": 272,
    "olympiadbench": 675,
}


@pytest.mark.parametrize("name", COUNTS)
def test_row_counts_of_the_benchmarks(shared_data: Path, name: str) -> None:
    count = COUNTS[name]
    task = get(name, Words(), str(shared_data / "eval" / f"{name}.jsonl"))
    assert len(task.problems) == len(task.prompts()) == count
    assert task.name == f"{name}-{count}"
    assert task.variant == BENCHMARKS[name].variants[count]
    assert all(p.question and p.gold for p in task.problems)
    if name.startswith(("aime", "amc")):
        assert all(p.gold.removeprefix("-").isdigit() for p in task.problems)  # 27.0 stands for 27
    if name == "olympiadbench":
        assert [(p.gold, p.unit, p.tolerance) for p in task.problems if p.tolerance] == [
            ("4.2", "%", 0.1)
        ]
        assert sum(p.unit is not None for p in task.problems) == 8
    if name == "minerva_math":
        assert task.problems[0].gold == "1.6"


def test_a_wrong_number_of_rows_names_the_known_versions(tmp_path: Path) -> None:
    row = {"problem": "?", "answer": 1}
    for name, count, message in (
        ("amc23", 41, r"40 \(AMC 12A and 12B of 2023.*83 \(AMC 12 of 2022 and 2023.*has 41"),
        ("olympiadbench", 676, r"675 \(.*674 \(.*has 676"),
        ("math500", 499, r"500 \(MATH-500\)"),
    ):
        path = write(tmp_path / f"{name}.jsonl", [row] * count)
        with pytest.raises(ValueError, match=message):
            get(name, Words(), path)
        assert len(get(name, Words(), path, check_rows=False).problems) == count
    assert "2022" in get("amc23", Words(), write(tmp_path / "83.jsonl", [row] * 83)).variant
    path = write(tmp_path / "674.jsonl", [row] * 674)
    assert "Hothan" in get("olympiadbench", Words(), path).variant


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"problem": "?", "answer": 27.0}, "27"),
        ({"problem": "?", "answer": 2.5}, "2.5"),
        ({"problem": "?", "answer": 0}, "0"),
        ({"Problem": "?", "Answer": "033"}, "033"),
        ({"question": "?", "final_answer": ["$2$\n"]}, "$2$"),
        ({"problem": "?", "answer": [" 7 "]}, "7"),
        (
            {"problem": "?", "answer": None, "solution": r"\boxed{1} then \boxed{\frac{1}{2}}"},
            r"\frac{1}{2}",
        ),
        ({"problem": "?", "solution": [r"one: \boxed{1}", r"two: \boxed{2}"]}, "2"),
    ],
)
def test_answers_of_every_type(row: dict[str, Any], gold: str) -> None:
    assert problem_of(row, 0, "here").gold == gold


def test_rows_without_an_answer_say_so() -> None:
    for row, message in (
        ({"problem": "?"}, "row 5 of 'here' has no question or no answer; its columns: problem"),
        ({"answer": "1"}, "no question"),
        ({"problem": "?", "answer": ["1", "2"]}, "lists 2 answers"),
        ({"problem": "?", "solution": "no box"}, "no answer"),
    ):
        with pytest.raises(ValueError, match=message):
            problem_of(row, 4, "here")


def test_the_context_and_the_unit_of_a_problem() -> None:
    row = {
        "context": "Let x=1.",
        "question": "x?",
        "final_answer": ["1"],
        "unit": "km",
        "error": "1e-1",
        "id": 9,
    }
    problem = problem_of(row, 0, "")
    assert problem.question == "Let x=1.\nx?"
    assert (problem.unit, problem.tolerance, problem.id) == ("km", 0.1, "9")
