"""Rows of data sets, from files, folders and the hub."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from gnivo_edu.tasks import get
from gnivo_edu.tasks.data_sets import field, load_rows
from tests.tasks.small_data import Words, write


@pytest.mark.parametrize("limit", [0, -7460, 2.5, True, "three"])
def test_a_limit_is_a_whole_number_from_one_on(tmp_path: Path, limit: Any) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": "?", "answer": "#### 1", "prompt": "a"}] * 4)
    for name in ("gsm8k", "math500", "stories"):
        checked = {} if name == "stories" else {"check_rows": False}
        with pytest.raises(ValueError, match=f"a whole number.*, got {limit!r}") as error:
            get(name, Words(), path, limit=limit, **checked)
        assert "\n" not in str(error.value)
        assert len(get(name, Words(), path, limit=3, **checked).prompts()) == 3


def test_rows_from_files_and_folders(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"problem": "é?", "answer": "1"}, {"problem": "b?", "answer": "2"}]
    write(tmp_path / "test.jsonl", rows)
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    data = datasets.Dataset.from_list(rows)
    data.to_parquet(tmp_path / "rows.parquet")
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": data}).save_to_disk(tmp_path / "several")
    for name in ("test.jsonl", "", "rows.json", "rows.parquet", "one", "several"):
        assert load_rows(tmp_path / name, "test") == rows, name
    with pytest.raises(ValueError, match=r"holds no train\.jsonl"):
        load_rows(tmp_path, "train")
    with pytest.raises(ValueError, match="could not be read"):
        load_rows(tmp_path / "several", "train")
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(ValueError, match=r"line 2 of .* is not JSON"):
        load_rows(tmp_path / "bad.jsonl", "train")
    (tmp_path / "bad.txt").write_text("a")
    with pytest.raises(ValueError, match="unknown kind of file"):
        load_rows(tmp_path / "bad.txt", "train")


def test_a_column_that_holds_nothing_is_passed_over() -> None:
    assert field({"A": 0, "b": None}, ("b", "a")) == 0
    assert field({"b": None}, ("b",)) is None


def test_a_hub_id_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[tuple[Any, ...]] = []

    def load_dataset(name: str, config: str | None, split: str) -> list[dict[str, str]]:
        asked.append((name, config, split))
        return [{"question": "?", "answer": "#### 3"}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    get("gsm8k", Words(), split="test", check_rows=False)
    named = {"config": "OE_TO_maths_en_COMP", "check_rows": False}
    get("olympiadbench", Words(), "Hothan/OlympiadBench", "train", **named)
    assert asked == [
        ("openai/gsm8k", "main", "test"),
        ("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train"),
    ]


def test_a_hub_that_does_not_answer_is_asked_once_and_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("datasets")
    import datasets
    from huggingface_hub import constants

    from gnivo_edu.tasks import data_sets as rows

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    monkeypatch.setattr(rows, "hub_answers", lambda name, kind: False)
    start = time.monotonic()
    with pytest.raises(ValueError, match="a hub id needs a connection"):
        rows.load_rows("owner/name", "train")
    assert time.monotonic() - start < 20  # its own retries take more than a minute
    assert before == (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": 5}, "row 2 of .* must be a text, got 5"),
        ({"prompt": ["a"]}, "row 2 of .* must be a text"),
        ({"prompt": "a\ud800"}, "row 2 of .* holds half a letter"),
        ({"prompt": None}, "row 2 of .* has no prompt, opening or text; its columns: prompt"),
        ({"prompt": ""}, "row 2 of .* has no prompt"),
        ({"\x1b[31m": 1}, r"row 2 of .*; its columns: \\x1b\[31m"),
    ],
)
def test_a_prompt_that_is_no_text_is_one_line(
    tmp_path: Path, row: dict[str, Any], says: str
) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "Once"}, row])
    with pytest.raises(ValueError, match=says) as error:
        get("stories", Words(), path)
    assert str(error.value).isprintable()


def test_an_answer_that_is_none_is_one_line(tmp_path: Path) -> None:
    for row, says in (
        ({"problem": "?", "answer": {"a": 1}}, "the answer of row 1 .* got {'a': 1}"),
        ({"problem": "?", "answer": True}, "the answer of row 1 .* got True"),
        ({"problem": "?", "answer": "1", "error": "some"}, "the error of row 1 .* got 'some'"),
        ({"problem": 3, "answer": "1"}, "row 1 .* must be a text, got 3"),
    ):
        path = write(tmp_path / "a.jsonl", [row])
        with pytest.raises(ValueError, match=says):
            get("math500", Words(), path, check_rows=False)
