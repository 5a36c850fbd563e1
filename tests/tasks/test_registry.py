"""Tasks by name: near names, other spellings, and what a task does not take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from gnivo_edu.policies import TabularLM
from gnivo_edu.tasks import check_options, get, load, names, with_demonstrations
from gnivo_edu.tasks.benchmarks import BENCHMARKS
from gnivo_edu.tasks.registry import BENCHMARK_NAMES
from gnivo_edu.training.demonstrations import demonstrating
from tests.tasks.small_data import Words, write
from toy_envs import Brackets


def test_names_and_near_names() -> None:
    assert tuple(BENCHMARKS) == BENCHMARK_NAMES
    assert {"arithmetic", "sums", "gsm8k", "stories", "dataset", *BENCHMARKS} == set(names())
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


MODULE = """
import numpy as np
import gymnasium
from toy_envs import TokenMDP

class Mine(TokenMDP):
    def __init__(self, horizon=3, render_mode=None):
        super().__init__(2, horizon, eos_token_id=1, render_mode=render_mode)

    def _score(self, tokens, lengths, prompt_index):
        return lengths / self.horizon

    def demonstration(self, prompt_index):
        return np.array([0, 1])

gymnasium.register("Mine-v0", entry_point=Mine)
gymnasium.register("Else-v0", entry_point="gymnasium.envs.toy_text.taxi:TaxiEnv")
"""


@pytest.fixture
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the current folder that registers an environment; gone from Python afterwards."""
    name = "module_of_my_own"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "broken_module_of_my_own.py").write_text("raise RuntimeError('two\\nlines')")
    monkeypatch.chdir(tmp_path)
    before = dict(gymnasium.registry)
    yield name
    sys.modules.pop(name, None)
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


@pytest.mark.parametrize("name", ["toy_envs/Brackets-v0", "Brackets"])
def test_a_toy_environment_by_its_id_or_its_short_name(name: str) -> None:
    task = get(name, horizon=4)
    assert isinstance(task, Brackets)
    assert (task.name, task.horizon) == ("toy_envs/Brackets-v0", 4)


def test_an_environment_of_ones_own_from_the_current_folder(my_module: str) -> None:
    task = get(f"{my_module}:Mine-v0", horizon=5)
    assert (task.name, task.horizon) == (f"{my_module}:Mine-v0", 5)
    assert task.reward(np.array([[0, 1]]), [2]).tolist() == [0.4]
    policy, same = load("table", f"{my_module}:Mine-v0", torch.float64, {"horizon": 2})
    assert (same.horizon, policy.logits.dtype) == (2, torch.float64)
    assert get(f"{my_module}.py:Mine-v0").name == task.name
    # Writes demonstrations, and is in no list: a name suffices to learn from it.
    assert demonstrating(f"{my_module}:Mine-v0").name == task.name


def test_environments_that_cannot_be_made_say_why_in_one_line(my_module: str) -> None:
    for name, options, message in (
        ("toy_envs/Bracket-v0", {}, "did you mean 'toy_envs/Brackets-v0'"),
        ("Bracket", {}, "did you mean 'Brackets'"),
        (f"{my_module}:Else-v0", {}, "is no token MDP: derive it from toy_envs.TokenMDP"),
        (f"{my_module}:Mine-v1", {}, f"cannot be made: name it {my_module}:Mine-v0, as"),
        (f"{my_module}:Mine", {}, f"cannot be made: name it {my_module}:Mine-v0, as"),
        (f"{my_module}.py", {}, f"cannot be made: name it {my_module}:Mine-v0, as"),
        ("json:Mine", {}, r"name it json:Id-v0, the id that the module registers \(here none is"),
        ("zzzz", {}, "there is no task .zzzz.; known: .*; your own: module:Id-v0"),
        ("no_such_module_at_all:Mine-v0", {}, "No module named 'no_such_module_at_all'"),
        (f"broken_{my_module}:Mine-v0", {}, "cannot be made: two lines"),
        ("Brackets", {"horizn": 3}, "has no option 'horizn'; did you mean 'horizon'"),
        ("Brackets", {"split": "test"}, "has no option 'split'"),
        ("Brackets", {"max_episode_steps": 3}, "has no option 'max_episode_steps'"),
        (f"{my_module}:Mine-v0", {"size": 3}, "has no option 'size'"),
        ("Brackets", {"horizon": 0}, "horizon must be at least 3"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            get(name, **options)
        assert "\n" not in str(error.value)


def test_a_policy_and_a_task_are_loaded_for_one_another() -> None:
    policy, task = load("table", "Brackets", options={"horizon": 3})
    assert (type(policy), policy.logits.dtype) == (TabularLM, torch.float32)
    assert (task.name, task.horizon) == ("toy_envs/Brackets-v0", 3)
    policy, task = load("shipped", "arithmetic", torch.float64, {"tiers": [2], "num_prompts": 3})
    assert (next(policy.parameters()).dtype, len(task.prompts())) == (torch.float64, 3)
    with pytest.raises(ValueError, match="comes without a tokenizer"):
        load("shipped", "gsm8k")


def test_who_writes_demonstrations() -> None:
    assert with_demonstrations() == ["arithmetic", "toy_envs/ArithmeticChain-v0"]
    assert demonstrating("ArithmeticChain").name == "toy_envs/ArithmeticChain-v0"
    for name, message in {
        "RandomTree": "writes no demonstrations; these do: arithmetic, toy_envs/Arith",
        "gsm8k": "answered in words.*; these write demonstrations: arithmetic, toy_envs/Arith",
        "gsm": "there is no task 'gsm'; did you mean 'gsm8k'.*; these write demonstrations",
    }.items():
        with pytest.raises(ValueError, match=message):
            demonstrating(name)


@pytest.mark.parametrize(
    ("name", "options", "meant"),
    [
        ("stories", {"stop": "###", "openings": "Once"}, {"stop": ["###"], "openings": ["Once"]}),
        ("stories", {"chat": False, "limit": 3.0}, {"chat": False, "limit": 3}),
        (
            "gsm8k",
            {"check_rows": 0, "grader_timeout": 5},
            {"check_rows": False, "grader_timeout": 5.0},
        ),
        ("math500", {"config": "a", "horizon": 8}, {"config": "a", "horizon": 8}),
        ("arithmetic", {"tiers": [2.0], "split": "test"}, {"tiers": [2], "split": "test"}),
        ("RandomTree", {"horizon": 3.0}, {"horizon": 3}),
    ],
)
def test_options_have_the_type_of_what_they_set(name: str, options: dict, meant: dict) -> None:
    assert repr(check_options(name, options)) == repr(meant)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("stories", {"chat": "False"}, "chat must be true or false, got 'False'"),
        ("stories", {"reward": 5}, "reward must be text, got 5"),
        ("stories", {"openings": [1]}, "the entries of openings must be text, got 1"),
        ("stories", {"path_or_id": 2024}, "path_or_id must be text, got 2024"),
        ("stories", {"tokenizer": 1}, "has no option 'tokenizer'"),
        ("arithmetic", {"split": "dev"}, "split must be one of train, test, got 'dev'"),
        ("arithmetic", {"segmenter": "line"}, "has no option 'segmenter'"),
        ("Brackets", {"horizon": True}, "horizon must be a whole number, got True"),
        ("no_such_module_at_all:X-v0", {}, "No module named 'no_such_module_at_all'"),
    ],
)
def test_options_of_another_type_are_one_line(name: str, options: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_options(name, options)
