"""gvpo and rloo."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.gvpo import gvpo
from gnivo_edu.objectives.rloo import rloo
from tests.objectives.objective_checks import (
    Groups,
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
    for group, own in zip(live, advantages, strict=True):
        for row, a in zip(group, own, strict=True):
            ratio = math.exp(sum(row.p) - sum(row.b))
            if clip_low is None:
                total -= a * sum(row.p)
            else:
                total -= min(ratio * a, min(max(ratio, 1 - clip_low), 1.2) * a)
    return total / len(flat)


def test_gvpo_against_loops_and_finite_differences() -> None:
    check_loops(gvpo, gvpo_loops, alpha=0.3)
    record = random_record()
    record["policy_logps"].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: gvpo(GroupBatch(**record | {"policy_logps": x}), 0.3).loss, record["policy_logps"]
    )


@pytest.mark.parametrize("settings", [{}, {"normalise": True}, {"clip_low": None}], ids=str)
def test_rloo_against_loops_and_finite_differences(settings: dict[str, Any]) -> None:
    check_loops(rloo, rloo_loops, alpha=0.3, **settings)
    check_invariances(rloo, weighted="normalise" not in settings, alpha=0.3, **settings)


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


@needs_oracles
def test_rloo_gives_what_trl_gave() -> None:
    for record, outputs in oracle_batches():
        for key in (key for key in outputs if key.startswith("trl_rloo")):
            config = outputs[key]["config"]
            # without a KL term: the reference is the sampler, so that k1 is 0
            anchor = record["reference_logps" if config["beta"] else "behaviour_logps"]
            own = record | {"reference_logps": anchor}
            settings = {"alpha": config["beta"] or 1.0, "normalise": config["normalize_advantages"]}
            check_oracle(rloo, own, outputs[key], **settings)


def test_gvpo_is_stationary_at_the_optimum_under_any_sampler() -> None:
    for size, horizon, group_size in ((2, 2, 2), (2, 2, 3), (2, 3, 2), (3, 1, 4)):
        tree = make_tree(size, horizon)
        optimum, _ = tree.tilt(0.4)
        sampler = random_reference(size, horizon, 99)
        assert tree.gradient(gvpo, optimum, sampler, group_size, alpha=0.4).abs().max() < 1e-15
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
    assert torch.allclose(losses[0], losses[1], rtol=0, atol=1e-15)
    assert torch.allclose(losses[0], losses[2], rtol=0, atol=1e-15)


@pytest.mark.parametrize("clip_low", [0.2, None])
def test_rloo_on_policy_is_the_gradient_of_the_objective(clip_low: float | None) -> None:
    tree = make_tree(2, 3)
    policy = random_reference(2, 3, 8)
    for group_size in (2, 3):
        ours = tree.gradient(rloo, policy, policy, group_size, alpha=0.4, clip_low=clip_low)
        assert torch.allclose(-ours, tree.ascent(policy, 0.4), rtol=0, atol=1e-15)
    optimum, _ = tree.tilt(0.4)
    assert (
        tree.gradient(rloo, optimum, optimum, 2, alpha=0.4, clip_low=clip_low).abs().max() < 1e-15
    )
    assert tree.gradient(rloo, optimum, policy, 2, alpha=0.4, clip_low=clip_low).abs().max() > 1e-3


@pytest.mark.parametrize("objective", [gvpo, rloo])
def test_errors_and_equal_rewards(objective: Any) -> None:
    one = {name: x[:, :1] for name, x in random_record().items()}
    with pytest.raises(ValueError, match="K = 1"):
        objective(GroupBatch(**one))
    with pytest.raises(ValueError, match="alpha must be"):
        objective(GroupBatch(**random_record()), alpha=0.0)
    with pytest.raises(ValueError, match="clip_low < 1"):
        rloo(GroupBatch(**random_record()), clip_low=1.5)
    record = random_record() | {"rewards": torch.ones(3, 4, dtype=torch.float64)}
    record |= {name: record["policy_logps"] for name in ("behaviour_logps", "reference_logps")}
    out = objective(
        GroupBatch(**record | {"policy_logps": record["policy_logps"].clone().requires_grad_()})
    )
    out.loss.backward()
    assert out.loss.item() == 0.0
    assert out.metrics["tied_groups"] == 1.0
