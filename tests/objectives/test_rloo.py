"""rloo: loops and differences, TRL's numbers, the gradient of J on-policy."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.rloo import rloo
from tests.objectives.objective_checks import (
    Groups,
    check_equal_rewards,
    check_errors,
    check_errors_of_groups,
    check_invariances,
    check_loops,
    check_oracle,
    make_tree,
    needs_oracles,
    oracle_batches,
)


def rloo_loops(
    live: Groups,
    frozen: Groups,
    alpha: float,
    normalise: bool = False,
    clip_low: float | None = 0.2,
) -> float:
    advantages = []
    for group in frozen:
        r = [row.R - alpha * (sum(row.b) - sum(row.r)) for row in group]
        advantages.append([r[i] - sum(r[:i] + r[i + 1 :]) / (len(r) - 1) for i in range(len(r))])
    flat = [a for group in advantages for a in group]
    if normalise:
        mean = sum(flat) / len(flat)
        std = math.sqrt(sum((a - mean) ** 2 for a in flat) / (len(flat) - 1))
        advantages = [[(a - mean) / (std + 1e-4) for a in group] for group in advantages]
    total = 0.0
    for group, row_advantages in zip(live, advantages, strict=True):
        for row, a in zip(group, row_advantages, strict=True):
            ratio = math.exp(sum(row.p) - sum(row.b))
            if clip_low is None:
                total -= a * sum(row.p)
            else:
                total -= min(ratio * a, min(max(ratio, 1 - clip_low), 1.2) * a)
    return total / len(flat)


@pytest.mark.parametrize("settings", [{}, {"normalise": True}, {"clip_low": None}], ids=str)
def test_rloo_against_loops_and_finite_differences(settings: dict[str, Any]) -> None:
    check_loops(rloo, rloo_loops, alpha=0.3, **settings)
    check_invariances(rloo, weighted="normalise" not in settings, alpha=0.3, **settings)


@needs_oracles
def test_rloo_gives_what_trl_gave() -> None:
    for record, outputs in oracle_batches():
        for key in (key for key in outputs if key.startswith("trl_rloo")):
            config = outputs[key]["config"]
            # without a KL term: the reference is the sampler, so that k1 is 0
            anchor = record["reference_logps" if config["beta"] else "behaviour_logps"]
            fields = record | {"reference_logps": anchor}
            settings = {"alpha": config["beta"] or 1.0, "normalise": config["normalize_advantages"]}
            check_oracle(rloo, fields, outputs[key], **settings)


@pytest.mark.parametrize("clip_low", [0.2, None])
def test_rloo_on_policy_is_the_gradient_of_the_objective(clip_low: float | None) -> None:
    tree = make_tree(2, 3)
    policy = random_reference(2, 3, 8)
    for group_size in (2, 3):
        ours = tree.gradient(rloo, policy, policy, group_size, alpha=0.4, clip_low=clip_low)
        assert torch.allclose(-ours, tree.ascent(policy, 0.4), rtol=0, atol=1e-13)
    optimum, _ = tree.tilt(0.4)
    assert (
        tree.gradient(rloo, optimum, optimum, 2, alpha=0.4, clip_low=clip_low).abs().max() < 1e-13
    )
    assert tree.gradient(rloo, optimum, policy, 2, alpha=0.4, clip_low=clip_low).abs().max() > 1e-3


def test_errors() -> None:
    check_errors_of_groups(rloo)
    check_errors(rloo, ({"clip_low": 1.5}, "clip_low < 1"))


def test_equal_rewards_on_policy_give_nothing() -> None:
    check_equal_rewards(rloo)
