"""gvpo: loops and differences, its code's numbers, the optimum under any sampler."""

from __future__ import annotations

import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.gvpo import gvpo
from tests.objectives.objective_checks import (
    Groups,
    check_equal_rewards,
    check_errors_of_groups,
    check_invariances,
    check_loops,
    check_oracle,
    make_tree,
    needs_oracles,
    oracle_batches,
    random_record,
)


def gvpo_loops(live: Groups, _: Groups, alpha: float) -> float:
    total = 0.0
    for group in live:
        size = len(group)
        mean = sum(row.R for row in group) / size
        h = [sum(row.p) - sum(row.r) for row in group]
        for i, row in enumerate(group):
            total += ((row.R - mean) - alpha * (h[i] - sum(h) / size)) ** 2 / (2 * (size - 1))
    return total / len(live)


def test_gvpo_against_loops_and_finite_differences() -> None:
    check_loops(gvpo, gvpo_loops, alpha=0.3)
    record = random_record()
    record["policy_logps"].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: gvpo(GroupBatch(**record | {"policy_logps": x}), 0.3).loss, record["policy_logps"]
    )


def test_gvpo_invariances() -> None:
    check_invariances(gvpo, alpha=0.3)


@needs_oracles
def test_gvpo_gives_what_its_code_gave() -> None:
    for record, outputs in oracle_batches():
        count = len(record["rewards"])
        for key, alpha in (("gvpo", 0.1), ("gvpo_beta0.5", 0.5)):
            anchors = {
                "old": record["behaviour_logps"],
                "ref": record["reference_logps"],
                "onpolicy": record["policy_logps"],
            }
            for name, anchor in anchors.items():
                expected = outputs[key][f"{name}_anchor"]
                check_oracle(
                    gvpo, record | {"reference_logps": anchor}, expected, times=count, alpha=alpha
                )


def test_gvpo_is_stationary_at_the_optimum_under_any_sampler() -> None:
    for size, horizon, group_size in ((2, 2, 2), (2, 2, 3), (2, 3, 2), (3, 1, 4)):
        tree = make_tree(size, horizon)
        optimum, _ = tree.tilt(0.4)
        sampler = random_reference(size, horizon, 99)
        assert tree.gradient(gvpo, optimum, sampler, group_size, alpha=0.4).abs().max() < 1e-13
        assert (
            tree.gradient(gvpo, tree.reference, sampler, group_size, alpha=0.4).abs().max() > 1e-3
        )
        assert (
            tree.gradient(gvpo, tree.tilt(0.5)[0], sampler, group_size, alpha=0.4).abs().max()
            > 1e-4
        )


def test_gvpo_estimates_half_the_variance_without_bias() -> None:
    tree = make_tree(2, 2)
    policy = random_reference(2, 2, 8)
    losses = [tree.gradient(gvpo, policy, tree.reference, size, alpha=0.4) for size in (2, 3, 4)]
    assert torch.allclose(losses[0], losses[1], rtol=0, atol=1e-13)
    assert torch.allclose(losses[0], losses[2], rtol=0, atol=1e-13)


def test_errors() -> None:
    check_errors_of_groups(gvpo)


def test_equal_rewards_on_policy_give_nothing() -> None:
    check_equal_rewards(gvpo)
