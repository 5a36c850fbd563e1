"""dr_grpo: loops and differences, and where it stops with and without a KL term."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.dr_grpo import dr_grpo
from gnivo_edu.objectives.grpo import grpo
from tests.objectives.objective_checks import (
    Groups,
    check_equal_rewards,
    check_errors,
    check_errors_of_groups,
    check_invariances,
    check_loops,
    from_record,
    make_tree,
    random_record,
)
from tests.objectives.plain_loops import grpo_loops


def dr_loops(
    live: Groups, frozen: Groups, alpha: float, kl: str = "none", max_length: int = 1
) -> float:
    return grpo_loops(
        live, frozen, alpha, kl, "none", "seq-mean-token-sum-norm", max_length=max_length
    )


@pytest.mark.parametrize("kl", ["none", "k3", "exact", "sequence"])
def test_dr_grpo_against_loops_and_finite_differences(kl: str) -> None:
    fields = ("policy_logps", "policy_kl") if kl == "exact" else ("policy_logps",)
    check_loops(dr_grpo, dr_loops, fields, alpha=0.3, kl=kl, max_length=6)
    check_invariances(dr_grpo, alpha=0.3, kl=kl)


@pytest.mark.parametrize("group_size", [2, 3])
def test_dr_grpo_climbs_the_reward_and_with_a_kl_stops_at_a_shrunken_reward(
    group_size: int,
) -> None:
    tree = make_tree(2, 3)
    policy = random_reference(2, 3, 8)
    flat = tree.ascent(policy, 0.0)
    ours = tree.gradient(dr_grpo, policy, policy, group_size)
    assert torch.allclose(-ours, (1 - 1 / group_size) * flat, rtol=0, atol=1e-13)
    optimum, _ = tree.tilt(0.4 * group_size / (group_size - 1))
    assert (
        tree.gradient(dr_grpo, optimum, optimum, group_size, alpha=0.4, kl="sequence").abs().max()
        < 1e-13
    )
    optimum, _ = tree.tilt(0.4)
    assert (
        tree.gradient(dr_grpo, optimum, optimum, group_size, alpha=0.4, kl="sequence").abs().max()
        > 1e-3
    )


@pytest.mark.parametrize("kl", ["none", "k3", "exact", "sequence"])
def test_dr_grpo_is_grpo_without_its_divisions(kl: Any) -> None:
    batch = GroupBatch(**random_record())
    normaliser: Any = "seq-mean-token-sum-norm"
    plain = grpo(batch, alpha=0.04, kl=kl, scale="none", normaliser=normaliser)
    assert torch.equal(dr_grpo(batch, kl=kl).loss, plain.loss)


def test_errors() -> None:
    check_errors_of_groups(dr_grpo)
    check_errors(
        dr_grpo,
        ({"kl": "k1"}, "kl must be one of k3, exact"),
        ({"max_length": 0}, "max_length must be"),
    )
    with pytest.raises(ValueError, match="needs policy_kl"):
        dr_grpo(from_record(random_record(), policy_kl=None), kl="exact")


def test_equal_rewards_give_nothing() -> None:
    check_equal_rewards(dr_grpo, on_policy=False)
