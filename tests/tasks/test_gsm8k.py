"""GSM8K: its splits, and the number after the marker."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnivo_edu.tasks import get
from tests.tasks.small_data import Words, write


def test_gsm8k(shared_data: Path) -> None:
    counts = {}
    for split in ("train", "test"):
        task = get("gsm8k", Words(), str(shared_data / "gsm8k"), split)
        counts[split] = len(task.problems)
        assert all(p.gold.removeprefix("-").isdigit() for p in task.problems)  # 1,080 is 1080
    assert counts == {"train": 7473, "test": 1319}
    first = get("gsm8k", Words(), str(shared_data / "gsm8k"), "test", limit=3).problems[0]
    assert first.gold == "18"


def test_a_split_of_another_length_or_without_answers_says_so(tmp_path: Path) -> None:
    gsm = write(tmp_path / "gsm.jsonl", [{"question": "?", "answer": "#### 1"}])
    with pytest.raises(ValueError, match="has 7,473 problems"):
        get("gsm8k", Words(), gsm)
    path = write(tmp_path / "train.jsonl", [{"question": "?", "answer": "one"}])
    with pytest.raises(ValueError, match="no answer after ####"):
        get("gsm8k", Words(), path, check_rows=False)


def test_a_question_of_white_space_is_refused_by_its_row(tmp_path: Path) -> None:
    rows = [{"question": text, "answer": "#### 1"} for text in ("?", " \n")]
    path = write(tmp_path / "train.jsonl", rows)
    with pytest.raises(ValueError, match=r"row 2 .* white space"):
        get("gsm8k", Words(), path, check_rows=False)
