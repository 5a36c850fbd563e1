"""Drawn depths: their law, their streams, and what Algorithm 1 to the letter learns from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import training
from gnivo_edu.policies import TabularLM, token_logps
from gnivo_edu.training import rollout
from gnivo_edu.training.config import load_config
from gnivo_edu.training.depths import depths_of_step
from gnivo_edu.training.rollout import Rollouts
from tests.training.training_runs import TINY, Stop, left, run, tiny

GIVEN = TINY | {"objective_options": {"alpha": 0.5, "prefixes": "given"}}


def test_depths_are_even_on_1_to_the_horizon_and_steps_draw_apart() -> None:
    drawn = torch.cat([depths_of_step(0, step, count=50, horizon=5) for step in range(200)])
    shares = drawn.bincount(minlength=6)[1:] / len(drawn)
    assert drawn.min() == 1
    assert drawn.max() == 5
    # Five standard deviations of a share of 10,000 draws.
    assert (shares - 0.2).abs().max() < 5 * (0.16 / len(drawn)) ** 0.5
    first = depths_of_step(0, 0, count=50, horizon=1000)
    for seed, step in ((0, 1), (1, 0)):
        assert (depths_of_step(seed, step, count=50, horizon=1000) == first).sum() < 5


def test_a_place_draws_the_same_among_any_number_of_others() -> None:
    many = depths_of_step(3, 2, count=40, horizon=9)
    assert all(torch.equal(depths_of_step(3, 2, count=n, horizon=9), many[:n]) for n in range(40))


def test_depths_do_not_move_the_prompts_of_a_step() -> None:
    """The stream of prompts is made from a seed and a number as well."""
    depths = depths_of_step(0, 0, count=8, horizon=2**40)
    prompts = np.random.default_rng([0, 0]).random(8)
    assert not np.isclose(depths.numpy() / 2**40, prompts, atol=1e-3).any()


def rollouts(**changes: Any) -> Rollouts:
    config = load_config(**GIVEN | changes)
    task = toy_envs.ArithmeticChain()
    policy = TabularLM.from_mdp(task, seed=0)
    return Rollouts(config, torch.device("cpu"), policy=policy, task=task, needs={"depths"})


def test_a_share_has_the_depths_that_it_would_have_among_all() -> None:
    prompts = np.array([0, 1, 2, 3])
    whole = rollouts().draw(5, prompts)["depths"]
    halves = [rollouts().draw(5, prompts, share=slice(a, a + 2))["depths"] for a in (0, 2)]
    assert torch.equal(torch.cat(halves), whole)
    assert whole.max() <= toy_envs.ArithmeticChain().horizon


def test_the_horizon_of_the_objective_bounds_the_depths() -> None:
    """As for steps, of which there are fewer than tokens."""
    options = {"alpha": 0.5, "prefixes": "given", "horizon": 2}
    held = rollouts(objective_options=options, level="step")
    depths = torch.cat([held.draw(step, np.arange(4))["depths"] for step in range(10)])
    assert depths.unique().tolist() == [1, 2]


LETTER = GIVEN | {
    "model": "table",
    "task": "toy_envs/RandomTree-v0",
    "task_options": {"vocab_size": 2, "horizon": 3},
    "optimizer": "sgd",
    "steps": 1,
    "prompts_per_step": 1,
    "learning_rate": 0.1,
    "max_grad_norm": 1e9,
}


@pytest.mark.parametrize("reference", ["sampler", "refreshed"])
def test_a_step_to_the_letter_is_a_policy_gradient(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step of every depth, averaged: token l weighs T - l + 1; either way to keep rho = 0."""
    changes: dict[str, Any] = {"reference": reference, "refresh_every": 1}
    steps, drawn, draw = [], [], Rollouts.draw

    def note(self: Rollouts, *args: Any, **kwargs: Any) -> Any:
        drawn.append(draw(self, *args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(Rollouts, "draw", note)
    for t in (1, 2, 3):
        monkeypatch.setattr(rollout, "depths_of_step", lambda *a, t=t, **k: torch.tensor([t]))
        done, rows = run(tmp_path / str(t), **LETTER | changes)
        pairs = zip(done.policy.parameters(), done.initial.parameters(), strict=True)
        steps.append(torch.cat([(a - b).detach().flatten() for a, b in pairs]))
        assert rows[0]["logratio"] == 0
    mean = sum(steps) / 3

    answers = drawn[0]
    w = (answers["rewards"] / 0.5).exp()
    advantage = (w - w.mean(1, keepdim=True))[..., None]
    policy = TabularLM.from_mdp(done.task)
    rows_of = (answers["tokens"][0], answers["lengths"][0], torch.zeros(4, dtype=torch.int64))
    weights = advantage[0] * torch.tensor([3, 2, 1]) / 3
    (weights * token_logps(policy, done.task, *rows_of)).sum().backward()
    expected = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    assert mean.norm() > 1e-3
    assert torch.allclose(mean, 0.1 * expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("level", ["token", "step"])
@pytest.mark.slow
def test_a_run_with_drawn_depths_that_stops_goes_on_bit_for_bit(level: str, tmp_path: Path) -> None:
    changes = GIVEN | {"level": level, "inner_steps": 2, "save_every": 1, "steps": 4}
    whole = tiny(tmp_path / "whole", **changes)
    with pytest.raises(Stop):
        tiny(tmp_path / "stopped", stop_at=1, **changes)
    tiny(tmp_path / "stopped", resume=True, **changes)
    assert left(tmp_path / "stopped") == left(tmp_path / "whole")
    every = {"alpha": 0.5, "prefixes": "all"}
    assert tiny(tmp_path / "all", **changes | {"objective_options": every}) != whole


@pytest.mark.slow
def test_the_table_of_algorithm_1_draws_them_too() -> None:
    settings: dict[str, Any] = {"alpha": 0.5, "steps": 40, "prefixes": "given", "seed": 1}
    one, two, summed = (
        training.train(toy_envs.RandomTree(2, 3), **settings | changes).records[-1].kl
        for changes in ({}, {}, {"prefixes": "all"})
    )
    assert one == two
    assert one != summed
    assert one < 0.2
