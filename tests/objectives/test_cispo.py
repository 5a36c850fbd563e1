"""cispo: loops and differences, every token keeps its gradient, and where it stops."""

from __future__ import annotations

import math

import pytest
import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.cispo import cispo
from gnivo_edu.objectives.grpo import grpo
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


def cispo_loops(
    live: Groups, frozen: Groups, alpha: float = 1.0, scale: str = "group", clip_high: float = 4.0
) -> float:
    """The weight is read from `frozen`: it is detached."""
    total, tokens = 0.0, 0
    for group, fixed, advantages in zip(live, frozen, advantages_loops(live, scale), strict=True):
        for row, constant, a in zip(group, fixed, advantages, strict=True):
            for p, q, b in zip(row.p, constant.p, row.b, strict=True):
                total -= min(math.exp(q - b), 1 + clip_high) * a * p
                tokens += 1
    return total / tokens


@pytest.mark.parametrize("settings", [{}, {"scale": "none"}, {"clip_high": 0.1}])
def test_cispo_against_loops_and_finite_differences(settings: dict[str, float]) -> None:
    check_loops(cispo, cispo_loops, **settings)
    check_invariances(cispo, **settings)


def test_every_token_keeps_its_gradient_where_ppos_clip_drops_it() -> None:
    record = random_record()
    _, gradient = gradients(cispo, record, clip_high=0.1)
    _, clipped = gradients(grpo, record, kl="none", normaliser="token-mean", clip_high=0.1)
    inside = record["mask"]
    assert (gradient[0][inside] != 0).all()
    assert (clipped[0][inside] == 0).any()
    assert cispo(GroupBatch(**record), clip_high=0.1).metrics["clipped"] > 0


def test_on_policy_it_is_grpo_without_a_kl_over_all_tokens() -> None:
    record = random_record()
    record["behaviour_logps"] = record["policy_logps"]
    _, gradient = gradients(cispo, record)
    _, same = gradients(grpo, record, kl="none", normaliser="token-mean")
    assert torch.allclose(gradient, same, rtol=1e-12, atol=1e-14)
    _, other = gradients(grpo, record, kl="none")
    assert (gradient - other).abs().max() > 1e-3


def test_it_collapses_on_the_best_response() -> None:
    tree = make_tree(2, 2)
    optimum, _ = tree.tilt(0.4)
    for policy in (random_reference(2, 2, 8), optimum):
        step = -tree.gradient(cispo, policy, policy, 3, scale="none")
        assert (step * tree.ascent(policy, 0.0)).sum() > 1e-4


def test_errors_and_ties() -> None:
    check_errors_of_groups(cispo)
    check_errors(
        cispo,
        ({"scale": "k1"}, "scale must be one of group"),
        ({"clip_high": -1.0}, "clip_high"),
    )
    check_equal_rewards(cispo, on_policy=False)
