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
from gnivo_edu.training import origin
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
        names = dict(origin._code((thing,)))
        assert "prize.py" in names, thing
    assert dict(origin._code((objectives.gnivo, RandomTree()))) == {}  # ours has a version


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
