"""Tasks by name, and the data sets: row counts, versions, columns and answer types."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from gnivo_edu.tasks import get, names
from gnivo_edu.tasks.benchmarks import BENCHMARKS, problem_of
from gnivo_edu.tasks.data_sets import field, load_rows
from gnivo_edu.tasks.registry import BENCHMARK_NAMES

FILES = {
    "aime24": ("aime24", 30),
    "aime25": ("aime25", 30),
    "amc23": ("amc23", 40),
    "math500": ("math500", 500),
    "minerva_math": ("minerva_math", 272),
    "olympiadbench": ("olympiadbench", 675),
}


class Words:
    """A tokenizer that reads anything as one token: loading data needs no more."""

    eos_token_id, bos_token_id, pad_token_id, chat_template = 1, None, 0, None
    all_special_ids = (0, 1)

    def __len__(self) -> int:
        return 3

    def get_vocab(self) -> dict[str, int]:
        return {"<pad>": 0, "<end>": 1, "word": 2}

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [2]}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_names_and_near_names() -> None:
    assert tuple(BENCHMARKS) == BENCHMARK_NAMES
    assert {"arithmetic", "gsm8k", "math", "stories", *FILES} == set(names())
    for name, message in {
        "gsm": "there is no task 'gsm'; did you mean 'gsm8k'",
        "arithmetics": "did you mean 'arithmetic'",
        "MATH-50": "did you mean 'math500'",
        "zzzz": "known: arithmetic",
    }.items():
        with pytest.raises(ValueError, match=message) as error:
            get(name, Words())
        assert "\n" not in str(error.value)


def test_requests_that_do_not_fit_say_so() -> None:
    for arguments, options, message in (
        (("gsm8k",), {}, "pass the tokenizer"),
        (("arithmetic", Words()), {}, "pass no tokenizer"),
        (("arithmetic",), {"tier": (2,)}, "has no option 'tier'; did you mean 'tiers'"),
        (("gsm8k", Words()), {"horizn": 3}, "did you mean 'horizon'"),
        (("gsm8k", Words()), {"split": "dev"}, "has the splits train and test, got 'dev'"),
        (("gsm8k", Words(), "/no/such/folder"), {}, "no file or folder '/no/such/folder'"),
        (("amc23", Words(), "missing.jsonl"), {}, "no file or folder 'missing.jsonl'"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            get(*arguments, **options)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("limit", [0, -7460, 2.5, True, "3"])
def test_a_limit_is_at_least_one(tmp_path: Path, limit: Any) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": "?", "answer": "#### 1", "prompt": "a"}] * 4)
    for name in ("gsm8k", "math500", "stories"):
        checked = {} if name == "stories" else {"check_rows": False}
        with pytest.raises(ValueError, match=f"a whole number from 1 on, got {limit!r}") as error:
            get(name, Words(), path, limit=limit, **checked)
        assert "\n" not in str(error.value)
        assert len(get(name, Words(), path, limit=3, **checked).prompts()) == 3


def test_other_spellings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "?", "answer": 1}] * 30)
    for name in ("AIME-2024", "aime_24", "aime24"):
        assert get(name, Words(), path).name == "aime24-30"


@pytest.mark.parametrize("name", FILES)
def test_row_counts_of_the_benchmarks(shared_data: Path, name: str) -> None:
    file, count = FILES[name]
    task = get(name, Words(), str(shared_data / "eval" / f"{file}.jsonl"))
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


def test_gsm8k(shared_data: Path) -> None:
    counts = {}
    for split in ("train", "test"):
        task = get("gsm8k", Words(), str(shared_data / "gsm8k"), split)
        counts[split] = len(task.problems)
        assert all(p.gold.removeprefix("-").isdigit() for p in task.problems)  # 1,080 is 1080
    assert counts == {"train": 7473, "test": 1319}
    assert (
        get("gsm8k", Words(), str(shared_data / "gsm8k"), "test", limit=3).problems[0].gold == "18"
    )


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
    assert (
        "Hothan"
        in get("olympiadbench", Words(), write(tmp_path / "674.jsonl", [row] * 674)).variant
    )
    gsm = write(tmp_path / "gsm.jsonl", [{"question": "?", "answer": "#### 1"}])
    with pytest.raises(ValueError, match="has 7,473 problems"):
        get("gsm8k", Words(), gsm)


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


def test_rows_without_an_answer_say_so(tmp_path: Path) -> None:
    for row, message in (
        ({"problem": "?"}, "row 4 of 'here' has no question or no answer; its columns: problem"),
        ({"answer": "1"}, "no question"),
        ({"problem": "?", "answer": ["1", "2"]}, "lists 2 answers"),
        ({"problem": "?", "solution": "no box"}, "no answer"),
    ):
        with pytest.raises(ValueError, match=message):
            problem_of(row, 4, "here")
    path = write(tmp_path / "train.jsonl", [{"question": "?", "answer": "one"}])
    with pytest.raises(ValueError, match="no answer after ####"):
        get("gsm8k", Words(), path, check_rows=False)


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
    assert field({"A": 0, "b": None}, ("b", "a")) == 0


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


def test_a_hub_id_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[tuple[Any, ...]] = []

    def load_dataset(name: str, config: str | None, split: str) -> list[dict[str, str]]:
        asked.append((name, config, split))
        return [{"question": "?", "answer": "#### 3"}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    get("gsm8k", Words(), split="test", check_rows=False)
    get(
        "olympiadbench",
        Words(),
        "Hothan/OlympiadBench",
        "train",
        config="OE_TO_maths_en_COMP",
        check_rows=False,
    )
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
