"""What check-task says of questions of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gnivo_edu.tasks.checkup import check_task, text_of
from tests.tasks.small_data import write


def rows(count: int = 4) -> list[dict[str, Any]]:
    return [{"prompt": f"What is {n} + 1?", "answer": n + 1} for n in range(count)]


def test_good_questions_pass(tmp_path: Path, shared_model: str) -> None:
    file = write(tmp_path / "sums.jsonl", rows())
    report = check_task(file, shared_model, {"grade": "number"})
    assert report["passed"]
    assert (report["problems"], report["gold"], report["odd"]) == (4, {"right": 4}, [])
    assert len(report["prompts"]) == 4
    assert "What is 3 + 1?" in report["prompts"][3]
    assert "nothing is odd" in text_of(report)


def test_what_is_odd_is_said(tmp_path: Path, shared_model: str) -> None:
    bad = [{"prompt": "", "answer": 1}, {"prompt": "What is 1 + 1?", "answer": 2}]
    turn = [{"prompt": "<|im_start|>user Hi", "answer": 1}, {"prompt": "<s> Hi", "answer": 1}]
    file = write(tmp_path / "sums.jsonl", [*rows(), *bad, *turn])
    report = check_task(file, shared_model, {"grade": "number", "horizon": 5000})
    assert not report["passed"]
    assert list(report["left_out"]) == ["5"]
    said = "\n".join(report["odd"])
    for words in (
        "row 6 asks what row 2 asks",
        "row 7: holds <|im_start|>, which this tokenizer reads as",
        "row 8: begins with two BOS tokens",
    ):
        assert words in said
    assert "left out: row 5" in text_of(report)


def test_a_gold_that_its_own_grader_calls_wrong_is_named(tmp_path: Path) -> None:
    odd = [{"prompt": "Which?", "answer": "B or C"}, {"prompt": "Why?", "answer": "(A)"}]
    file = write(tmp_path / "choices.jsonl", odd)
    report = check_task(file, options={"grade": "choice"})
    assert report["left_out"] == {"1": "the answer 'B or C' is no letter"}
    report = check_task(write(tmp_path / "m.jsonl", [{"prompt": "?", "answer": "hm, x?"}]))
    assert not report["passed"]
    assert report["wrong_gold"] == {"row 1": "hm, x?"}


def test_questions_of_the_test_split_are_found_among_the_others(tmp_path: Path) -> None:
    for split, some in (("train", rows(4)), ("test", rows(5)[3:])):
        write(tmp_path / f"{split}.jsonl", some)
    report = check_task(str(tmp_path), options={"grade": "number"})
    assert report["odd"] == ["row 4 is in the test split too"]
    assert not check_task(str(tmp_path), options={"grade": "number", "split": "test"})["odd"]


def test_a_file_without_splits_shares_nothing_with_a_test_split(tmp_path: Path) -> None:
    file = write(tmp_path / "sums.jsonl", rows(6))
    report = check_task(file, options={"grade": "number", "limit": 2})
    assert report["odd"] == []
    report = check_task(file, options={"grade": "number", "held_out": 0.5})
    assert report["odd"] == []
    write(tmp_path / "sums.jsonl", [*rows(3), *rows(3)])
    report = check_task(file, options={"grade": "number", "held_out": 0.5})
    assert report["odd"][0] == "row 1 is in the test split too"


def test_letters_that_nobody_sees_are_odd(tmp_path: Path) -> None:
    odd = [{"prompt": "one\ntwo\tthree?", "answer": 1}, {"prompt": "What\u202e?", "answer": 1}]
    file = write(tmp_path / "odd.jsonl", odd)
    report = check_task(file, options={"grade": "number"})
    assert report["odd"] == ["row 2: its question holds '\\u202e', which nobody sees"]


def test_a_task_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    file = write(tmp_path / "sums.jsonl", rows())
    with pytest.raises(ValueError, match="no option 'promt'"):
        check_task(file, options={"promt": "question"})
