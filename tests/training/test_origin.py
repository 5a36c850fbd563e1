"""What decides a run's numbers is in its checkpoints: another one is named, and not resumed."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from functools import partial

import numpy as np
import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.policies import TabularLM
from gnivo_edu.training import origin, user_code
from tests.training.training_runs import TINY, Stop, left, run
from toy_envs import RandomTree, TokenMDP

REWARD = "def reward(tokens, lengths):\n    return tokens.mean(1) * {}\n"


def started(out, **things):
    with pytest.raises(Stop):
        run(out, stop_at=1, things=things, **TINY | {"save_every": 1})


def resumed(out, said=None, **things):
    return run(out, True, progress=said, things=things, **TINY | {"save_every": 1})


def refused(out, why, **things):
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=f"since this run began, .* has changed: .*{why}") as error:
        resumed(out, **things)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_other_data_are_refused(tmp_path):
    def asked(*last):
        return TokenMDP(2, 3, reward=rewarded, prompts=np.array([[2, first] for first in last]))

    started(tmp_path, task=asked(0, 1))
    refused(tmp_path, "the data of 'TokenMDP'", task=asked(1, 1))
    resumed(tmp_path, task=asked(0, 1))


def rewarded(tokens, lengths):
    return tokens.mean(1)


def test_other_rewards_of_the_same_environment_are_refused(tmp_path):
    started(tmp_path, task=RandomTree(2, 3, tree_seed=1))
    refused(tmp_path, "the data of", task=RandomTree(2, 3, tree_seed=2))
    resumed(tmp_path, task=RandomTree(2, 3, tree_seed=1))


def test_another_model_to_begin_from_is_refused(tmp_path):
    task = RandomTree(2, 3)
    policy = TabularLM.from_mdp(task, seed=3)
    started(tmp_path, task=task, policy=policy)
    refused(
        tmp_path, "the weights of the model", task=task, policy=TabularLM.from_mdp(task, seed=4)
    )
    resumed(tmp_path, task=task, policy=policy)


def test_the_base_under_adapters_counts():
    pytest.importorskip("peft", reason="needs peft, of the extra llm")
    from gnivo_edu.policies import load_checkpoint
    from gnivo_edu.training.config import load_config
    from gnivo_edu.training.setup import make_policy_and_task

    config = load_config(model="shipped", task="arithmetic", lora_rank=2)
    hashes = []
    for change in (0.0, 0.0, 1e-3):
        base = load_checkpoint()
        with torch.no_grad():
            base.get_output_embeddings().weight[0, 0] += change
        policy, task = make_policy_and_task(config, torch.device("cpu"), policy=base)
        now = origin.origin_of(config, policy, task, np.arange(2), objectives.gnivo)
        hashes.append(now["model"])
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write and import a module of the user's."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            return importlib.import_module(name)
        finally:
            sys.dont_write_bytecode = before

    return make


def test_another_source_of_a_reward_is_refused(tmp_path, module):
    def task(factor):
        return TokenMDP(2, 3, reward=module("prize", REWARD.format(factor)).reward)

    started(tmp_path / "run", task=task(1.0))
    refused(tmp_path / "run", r"the source of prize\.py", task=task(2.0))
    resumed(tmp_path / "run", task=task(1.0))


def test_a_reward_is_found_however_it_is_wrapped(module):
    reward = module("prize", REWARD.format(1)).reward

    class Mine(TokenMDP):
        def _score(self, tokens, lengths, prompt_index):
            return self.prize(tokens)

    wrapped = TokenMDP(2, 3, reward=lambda tokens, lengths: reward(tokens, lengths))
    held = Mine(2, 3)
    held.prize = partial(reward, lengths=None)
    for thing in (wrapped, held, partial(objectives.gnivo, weights=reward)):
        names = dict(user_code.code_of((thing,)))
        assert "prize.py" in names, thing
    assert dict(user_code.code_of((objectives.gnivo, RandomTree()))) == {}  # ours has a version


def test_another_objective_is_refused(tmp_path, module):
    text = "from gnivo_edu import objectives\n\n\ndef mine(batch, alpha=0.1):\n    return {}\n"
    first, second = "objectives.gvpo(batch, alpha)", "objectives.gvpo(batch, 2 * alpha)"
    started(tmp_path / "run", objective=module("lost", text.format(first)).mine)
    refused(
        tmp_path / "run",
        r"the source of lost\.py",
        objective=module("lost", text.format(second)).mine,
    )


def test_another_version_is_said_and_the_run_goes_on(tmp_path, monkeypatch):
    started(tmp_path / "run")
    real, said = importlib.metadata.version, []
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "9.9" if name == "numpy" else real(name)
    )
    resumed(tmp_path / "run", said.append)
    lines = [line for line in said if "numpy" in line]
    assert lines == [
        f"this run began with numpy {real('numpy')} (now 9.9): from here on its numbers may differ"
    ]
    monkeypatch.undo()
    run(tmp_path / "whole", **TINY | {"save_every": 1})
    assert left(tmp_path / "run") == left(tmp_path / "whole")


class Prize:
    """A reward that counts its calls and keeps what it has seen."""

    def __init__(self, scale):
        self.scale, self.calls, self.kept = scale, 0, {}

    def __call__(self, tokens, lengths):
        self.calls += 1
        self.kept[self.calls] = float(tokens.mean())
        return tokens.mean(1) * self.scale


class Mine(TokenMDP):
    def __init__(self, scales):
        super().__init__(2, 3, reward=rewarded)
        self._scales = scales


def closed(scale):
    return lambda tokens, lengths: tokens.mean(1) * scale


def scaled(tokens, lengths, scale):
    return tokens.mean(1) * scale


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda x: {"task": TokenMDP(2, 3, reward=closed(x))}, "the value scale of closed"),
        (
            lambda x: {"task": TokenMDP(2, 3, reward=partial(scaled, scale=x))},
            "the value scale of scaled",
        ),
        (lambda x: {"task": TokenMDP(2, 3, reward=Prize(x))}, "the value scale of Prize"),
        (lambda x: {"task": Mine([1.0, x])}, "the value _scales of Mine"),
        (lambda x: {"objective": partial(objectives.gvpo, alpha=x)}, "the value alpha of gvpo"),
    ],
    ids=["closure", "partial", "object", "task", "objective"],
)
def test_another_number_in_the_user_s_things_is_refused(make, name, tmp_path):
    started(tmp_path, **make(0.5))
    refused(tmp_path, name, **make(0.25))
    resumed(tmp_path, **make(0.5))


def test_what_a_run_has_counted_itself_is_no_change(tmp_path):
    task = TokenMDP(2, 3, reward=Prize(0.5))
    started(tmp_path, task=task)
    resumed(tmp_path, task=task)


def test_what_is_filled_in_before_the_run_is_no_change(tmp_path):
    started(tmp_path, task=Mine([1.0]))
    played = Mine([1.0])
    played.reset(seed=5)
    resumed(tmp_path, task=played)


def test_a_helper_module_of_a_reward_counts(tmp_path, module):
    def task(factor):
        module("deep", f"FACTOR = {factor}\n\n\ndef times(x):\n    return x * FACTOR\n")
        module("helper", "import deep\n\n\ndef score(x):\n    return deep.times(x)\n")
        text = (
            "from helper import score\n\n\ndef reward(tokens, lengths):\n"
            "    return score(tokens.mean(1))\n"
        )
        return TokenMDP(2, 3, reward=module("prize", text).reward)

    started(tmp_path / "run", task=task(1.0))
    refused(tmp_path / "run", r"the source of deep\.py", task=task(2.0))
    resumed(tmp_path / "run", task=task(1.0))


def test_the_configuration_of_the_model_counts_and_where_it_lies_does_not():
    from gnivo_edu.policies import load_checkpoint

    base = load_checkpoint()
    before = origin._shape(base)
    base.config._name_or_path, base.config.transformers_version = "elsewhere", "0.0"
    assert origin._shape(base) == before
    base.config.rms_norm_eps = 0.5
    assert origin._shape(base) != before
