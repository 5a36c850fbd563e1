"""Tasks by name: near names, other spellings, and what a task does not take."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnivo_edu.tasks import get, names
from gnivo_edu.tasks.benchmarks import BENCHMARKS
from gnivo_edu.tasks.registry import BENCHMARK_NAMES
from tests.tasks.small_data import Words, write


def test_names_and_near_names() -> None:
    assert tuple(BENCHMARKS) == BENCHMARK_NAMES
    assert {"arithmetic", "gsm8k", "stories", *BENCHMARKS} == set(names())
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


def test_other_spellings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "?", "answer": 1}] * 30)
    for name in ("AIME-2024", "aime_24", "aime24"):
        assert get(name, Words(), path).name == "aime24-30"
