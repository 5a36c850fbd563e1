"""Device code as far as a CPU can see: a whole run, for each objective, on a card that is played by
the CPU (`tests.on_card`): every tensor says that it is on cuda, and an operation that mixes devices
raises.

Covered, with real numbers, so that `.item()`, indices by a mask and loops that depend on numbers
are run through: loading onto the device, the checks of a model's law, head and packed rows,
sampling with its cache and its uniforms, rewards, scoring dense and in chunks, packed rows and
apart, `GroupBatch`, every objective of the registry with its coefficients, critics of each kind,
both passes of the update, clipping, AdamW, what is measured and logged.

Not covered: kernels of a real card and their rounding, autocast and bfloat16 (which torch turns off
where there is no card), TF32, graphs and streams, peft's adapters, the hash of the weights that a
run begins with, saving and loading checkpoints and models (their tensors are moved by `.cpu()`, or
written by torch itself), several processes.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput, published
from gnivo_edu.training import loop
from gnivo_edu.training.config import load_config
from gnivo_edu.training.field_gradients import coefficients
from gnivo_edu.training.state import RunState
from tests.objectives.objective_checks import random_record
from tests.on_card import CARD, Mixed, OnCard, card
from tests.training.training_runs import SUMS


@pytest.fixture
def on_card(monkeypatch):
    """Runs take the card for their device, and write no weights."""
    accelerator = SimpleNamespace(
        device=CARD, process_index=0, num_processes=1, distributed_type="NO", trackers=[]
    )
    monkeypatch.setattr(loop, "accelerator_for", lambda *_: accelerator)
    monkeypatch.setattr(loop, "save_policy", lambda *_, **__: None)
    monkeypatch.setattr(RunState, "save", lambda *_, **__: None)
    monkeypatch.setattr(loop, "origin_of", lambda *_, **__: {"values": {}})  # hashed by threads
    with card():
        yield


def run(out, objective=None, **settings):
    """Two updates on 2 prompts with 2 answers each."""
    sizes = {"steps": 1, "inner_steps": 2, "prompts_per_step": 2, "group_size": 2}
    given = SUMS | sizes | {"report_questions": 0, "out": str(out / "run")} | settings
    changes = [f"{name}={value}" for name, value in given.items() if name != "task_options"]
    config = load_config(None, [*changes, "task_options.tiers=[2]"])
    return loop.fine_tune(config, objective=objective)


def test_a_tensor_of_the_cpu_among_those_of_the_card_raises(on_card):
    x = torch.zeros(3, device="cuda")
    assert isinstance(x, OnCard)
    assert (x.device.type, x.cpu().device.type) == ("cuda", "cpu")
    assert (x + 1)[torch.tensor([0])].item() == 1  # a number, and an index, may come from the CPU
    with pytest.raises(Mixed, match="add"):
        x + torch.zeros(3)


def test_a_planted_tensor_without_a_device_is_found(on_card, tmp_path):
    def planted(batch, alpha=1.0):
        weight = torch.ones(batch.rewards.shape[1], dtype=torch.float64)
        return LossOutput((batch.sequence_logratio * weight).mean(), {})

    with pytest.raises(Mixed, match="mul"):
        run(tmp_path, objective=planted)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in objectives.names() if name != "group_value"])
def test_a_run_leaves_no_tensor_on_the_cpu(on_card, tmp_path, name):
    setting = published.setting(name)
    options = {"level": "token"} if setting is None else {"setting": setting.name}
    trained = run(tmp_path, micro_batch=2, **{"objective": name} | options)
    assert all(isinstance(p.data, OnCard) for p in trained.policy.parameters())
    assert trained.metrics["grad_norm"] >= 0


def test_an_objective_that_moves_no_policy_is_on_the_card(on_card):
    record = random_record()
    record["prefix_values"] = record["values"]
    record = {name: x.to(CARD) for name, x in record.items() if isinstance(x, torch.Tensor)}
    taken = coefficients(objectives.group_value, GroupBatch(**record), alpha=0.5)
    assert isinstance(taken.by_field["prefix_values"], OnCard)


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["network", "head", "probe"])
def test_critics_are_on_the_card(on_card, tmp_path, critic):
    run(tmp_path, critic=critic, **{"objective": "ppo"})
