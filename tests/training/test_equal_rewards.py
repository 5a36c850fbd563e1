"""Where all answers earn the same there is nothing to learn; rounding teaches nothing either."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.policies import load_checkpoint
from gnivo_edu.training import fine_tune, load_config
from gnivo_edu.training.field_gradients import coefficients
from gnivo_edu.training.rollout import Rollouts
from tests.training.training_runs import Stop, left, run
from toy_envs import TokenMDP

# Objectives whose exact gradient is zero on the first update after a draw, where rewards are equal.
STILL = ("gnivo", "gvpo", "grpo", "dr_grpo", "rloo", "online_dpo", "vimpo", "gspo", "cispo", "dapo")
CASES = (
    {"precision": "float32"},
    {"precision": "bf16"},
    {"precision": "float32", "group_size": 3, "micro_batch": 2},
    {"precision": "bf16", "group_size": 6, "temperature": 0.7, "micro_batch": 5},
    {"level": "step", "group_size": 3},
    {"inner_steps": 3, "group_size": 3},
    {"reference": "initial", "group_size": 3, "micro_batch": 4},
    {"reference": "refreshed", "refresh_every": 2, "sampler": "reference", "precision": "bf16"},
)


def alike(reward: float = 0.3) -> TokenMDP:
    """Every answer earns `reward`; answers end when they like, or after a dozen tokens."""
    return TokenMDP(
        3, 12, reward=lambda tokens, lengths: np.full(len(tokens), reward), eos_token_id=2
    )


def moved(out, policy=None, task=None, **changes):
    """The largest change of a weight in a few steps of AdamW."""
    task = task or alike()
    settings = {
        "steps": 3,
        "prompts_per_step": 2,
        "group_size": 4,
        "learning_rate": 1e-3,
        "save_every": 1000,
        "completions_every": 1000,
        "out": str(out),
    }
    policy = policy or load_checkpoint()
    after = fine_tune(load_config(**settings | changes), policy=policy, task=task)
    weights = zip(after.policy.parameters(), after.initial.parameters(), strict=True)
    return max(float((one - two).detach().abs().max()) for one, two in weights)


def test_equal_rewards_move_nothing(tmp_path):
    assert moved(tmp_path, steps=1, objective="gnivo", group_size=3) == 0


@pytest.mark.slow
def test_nor_do_they_under_any_objective(tmp_path):
    for name, changes in zip(STILL, CASES, strict=False):
        assert moved(tmp_path / name, steps=2, objective=name, **changes) == 0, (name, changes)


@pytest.mark.parametrize("changes", CASES, ids=lambda case: "-".join(map(str, case.values())))
@pytest.mark.slow
def test_in_no_precision_level_or_group_size(changes, tmp_path):
    for name in STILL:
        assert moved(tmp_path / name, objective=name, **changes) == 0, name


@pytest.mark.slow
def test_neither_do_large_ones_nor_the_options_of_objectives(tmp_path):
    for number, (reward, objective, options) in enumerate(
        (
            (30.0, "gnivo", {"alpha": 0.2}),  # raw weights of e^150
            (1.1, "gnivo", {"weights": "softmax"}),
            (1000.1, "grpo", {"scale": "group"}),
            (1000.1, "rloo", {"normalise": True}),
            (0.1, "vimpo", {"actor": 1.0}),
        )
    ):
        settings = {"objective": objective, "objective_options": options, "group_size": 3}
        assert moved(tmp_path / str(number), task=alike(reward), **settings) == 0, settings


@pytest.mark.slow
def test_adapters_stay_as_well(tmp_path):
    pytest.importorskip("peft", reason="needs peft, of the extra llm")
    for name in STILL:
        assert moved(tmp_path / name, objective=name, lora_rank=2, group_size=3) == 0, name


@pytest.mark.slow
def test_a_reward_that_differs_still_teaches(tmp_path):
    task = TokenMDP(3, 12, reward=lambda tokens, lengths: lengths / 12, eos_token_id=2)
    for name in STILL:
        assert moved(tmp_path / name, task=task, objective=name) > 5e-4, name


@pytest.mark.parametrize("name", sorted({*objectives.names()} - {"group_value"}))
def test_in_bf16_the_sampler_s_rounding_is_no_part_of_the_gradient(name, tmp_path):
    """It is as if a float64 network had given the log-probabilities that this one gives."""
    task = alike()
    settings = {"objective": name, "precision": "bf16", "group_size": 3, "prompts_per_step": 2}
    config = load_config(**settings)
    needs = {"policy_kl", "values", "log_z"}
    policy = load_checkpoint()
    rollouts = Rollouts(config, torch.device("cpu"), policy=policy, task=task, needs=needs)
    rollouts.reference = rollouts.initial
    drawn = rollouts.draw(0, np.zeros(2, dtype=np.int64))
    with torch.no_grad():
        fields = {
            field: x.view(2, 3, -1) if field != "log_z" else x.view(2, 3)[:, 0]
            for field, x in rollouts.score(drawn, torch.arange(6)).items()
        }
    assert float((drawn["logps"] - fields["policy_logps"]).abs().max()) < 0.1
    drawn["behaviour_logps"] = fields["policy_logps"]
    batch = rollouts.record(drawn, **fields)
    assert {x.dtype for x in (batch.rewards, batch.policy_logps, batch.values)} == {torch.float64}
    assert bool((batch.logratio == 0).all())
    own = coefficients(objectives.get(name), batch, live=fields).for_fields(fields)
    assert {c.dtype for c in own.by_field.values()} == {torch.float32}
    if name in STILL:
        assert not any(bool(c.any()) for c in own.by_field.values())


def test_what_the_sampler_noted_is_still_what_is_said_of_sampling(tmp_path):
    settings = {"model": "shipped", "task": "arithmetic", "task_options": {"tiers": [2]}}
    few = {"steps": 1, "prompts_per_step": 2, "group_size": 4, "objective": "grpo"}
    _, rows = run(tmp_path, **settings, **few)
    assert 0 < rows[0]["sampling/sampling_logp_difference/max"] < 1e-3
    assert rows[0]["objective/kl"] == 0  # that of the objective itself is none


@pytest.mark.slow
def test_a_run_that_stops_between_two_updates_learns_from_the_same_numbers(tmp_path):
    settings = {
        "model": "shipped",
        "task": "arithmetic",
        "task_options": {"tiers": [2]},
        "steps": 2,
        "prompts_per_step": 2,
        "group_size": 3,
        "inner_steps": 3,
        "learning_rate": 1e-3,
        "save_every": 1,
        "keep": 100,
    }
    run(tmp_path / "whole", **settings)
    with pytest.raises(Stop):
        run(tmp_path / "cut", stop_at=0, **settings)
    for path in (tmp_path / "cut" / "checkpoints").iterdir():
        if path.name > "000000-002":
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    run(tmp_path / "cut", resume=True, **settings)
    assert left(tmp_path / "cut") == left(tmp_path / "whole")
