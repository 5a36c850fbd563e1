"""gspo: loops and differences, one ratio a response, and where it stops."""

from __future__ import annotations

import math

import pytest
import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.grpo import grpo
from gnivo_edu.objectives.gspo import gspo
from tests.objectives.objective_checks import (
    Groups,
    check_equal_rewards,
    check_errors,
    check_errors_of_groups,
    check_invariances,
    check_loops,
    gradients,
    make_tree,
    random_record,
)
from tests.objectives.plain_loops import advantages_loops


def gspo_loops(
    live: Groups, _: Groups, scale: str = "group", low: float = 3e-4, high: float = 4e-4
) -> float:
    total, responses = 0.0, 0
    for group, advantages in zip(live, advantages_loops(live, scale), strict=True):
        for row, a in zip(group, advantages, strict=True):
            u = math.exp(sum(row.p) - sum(row.b)) ** (1 / len(row.p))
            total -= min(u * a, max(1 - low, min(u, 1 + high)) * a)
            responses += 1
    return total / responses


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_gspo_against_loops_and_finite_differences(scale: str) -> None:
    check_loops(gspo, gspo_loops, scale=scale)
    check_invariances(gspo, weighted=scale != "batch", scale=scale)


def test_the_clip_drops_whole_responses() -> None:
    record = random_record()
    _, gradient = gradients(gspo, record)
    tokens = gradient[0].masked_fill(~record["mask"], torch.nan)
    silent = (tokens == 0).sum(-1)
    assert set((silent / record["mask"].sum(-1)).flatten().tolist()) == {0.0, 1.0}
    assert gspo(GroupBatch(**record)).metrics["clipped"] > 0.5


def test_on_policy_it_is_grpo_without_a_kl() -> None:
    record = random_record()
    record["behaviour_logps"] = record["policy_logps"]
    _, gradient = gradients(gspo, record)
    _, same = gradients(grpo, record, kl="none")
    assert torch.allclose(gradient, same, rtol=1e-12, atol=1e-14)
    _, other = gradients(grpo, record, kl="none", normaliser="token-mean")
    assert (gradient - other).abs().max() > 1e-3


def test_it_collapses_on_the_best_response() -> None:
    """Its step from any policy raises E[R], also from pi*, where a regularised one would rest."""
    tree = make_tree(2, 2)
    optimum, _ = tree.tilt(0.4)
    for policy in (random_reference(2, 2, 8), optimum):
        step = -tree.gradient(gspo, policy, policy, 3, scale="none")
        assert (step * tree.ascent(policy, 0.0)).sum() > 1e-4


def test_errors_and_ties() -> None:
    check_errors_of_groups(gspo)
    check_errors(
        gspo, ({"scale": "k1"}, "scale must be one of group"), ({"clip_low": 1.0}, "clip_low < 1")
    )
    check_equal_rewards(gspo, on_policy=False)
