"""Completion weights of gnivo: a plain loop, finite differences, what is held fixed, overflow."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import reward_weights
from tests.objectives.objective_checks import Groups, random_record, rows

NAMES = ("completion", "completion_softmax")


def loops(groups: Groups, alpha: float, weights: str, reward_max: float = 0.0) -> float:
    """The loss over all depths up to the longest, one answer and one depth at a time."""
    total = 0.0
    for group in groups:
        for t in range(1, max(len(row.p) for row in group) + 1):
            later = [sum(row.r[t:]) - sum(row.b[t:]) for row in group]
            w = [
                math.exp((row.R - reward_max) / alpha + x)
                for row, x in zip(group, later, strict=True)
            ]
            if weights == "completion_softmax":
                w = [x / sum(w) for x in w]
            rho = [sum(row.p[:t]) - sum(row.r[:t]) for row in group]
            log_sum = math.log(sum(math.exp(x) for x in rho))
            total -= sum(x * (r - log_sum) for x, r in zip(w, rho, strict=True))
    return total / len(groups)


@pytest.mark.parametrize("weights", NAMES)
def test_against_loops_and_finite_differences(weights: str) -> None:
    record = random_record()
    out = objectives.gnivo(GroupBatch(**record), alpha=0.7, weights=weights, reward_max=0.3)
    expected = loops(rows(record), alpha=0.7, weights=weights, reward_max=0.3)
    assert out.loss.item() == pytest.approx(expected, rel=1e-12)

    def loss(logps: Tensor) -> Tensor:
        batch = GroupBatch(**record | {"policy_logps": logps})
        return objectives.gnivo(batch, alpha=0.7, weights=weights).loss

    live = record["policy_logps"].requires_grad_()
    assert torch.autograd.gradcheck(loss, live, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("weights", NAMES)
def test_no_gradient_passes_through_the_weights(weights: str) -> None:
    """Of an answer that the policy has just written, mu is the policy, held fixed."""
    record = random_record()
    logps = record["policy_logps"].clone().requires_grad_()
    gradients = []
    for writer in (logps, logps.detach()):
        batch = GroupBatch(**record | {"policy_logps": logps, "behaviour_logps": writer})
        loss = objectives.gnivo(batch, alpha=0.7, weights=weights).loss
        gradients.append(torch.autograd.grad(loss, logps)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize(("weights", "plain"), list(zip(NAMES, ("raw", "softmax"), strict=True)))
def test_where_the_reference_wrote_the_answers_they_are_the_published_weights(
    weights: str, plain: str
) -> None:
    record = random_record()
    del record["reference_logps"]
    batch = GroupBatch(**record)
    ours, published = (
        objectives.gnivo(batch, alpha=0.7, weights=name, reward_max=0.2).loss
        for name in (weights, plain)
    )
    assert torch.equal(ours, published)
    # At complete answers nothing is left to complete, whoever wrote them.
    batch = GroupBatch(**random_record())
    ours, published, early = (
        objectives.gnivo(batch, alpha=0.7, weights=name, prefixes=prefixes).loss
        for name, prefixes in ((weights, "last"), (plain, "last"), (weights, "all"))
    )
    assert torch.equal(ours, published)
    assert not torch.isclose(early, objectives.gnivo(batch, alpha=0.7, weights=plain).loss)


def test_what_stands_after_the_end_does_not_count() -> None:
    record = random_record()
    spoiled = {
        name: x.where(record["mask"], torch.nan)
        for name, x in record.items()
        if name.endswith("logps")
    }
    for weights in NAMES:
        losses = [
            objectives.gnivo(GroupBatch(**fields), alpha=0.7, weights=weights).loss
            for fields in (record, record | spoiled)
        ]
        assert torch.equal(*losses)


def test_the_log_weights_of_the_policys_own_answers_are_r_less_what_later_tokens_took() -> None:
    """log w^t = R/alpha - (h - rho^t) where mu = pi; at pi* it would be log Z + rho^t."""
    record = random_record()
    batch = GroupBatch(**record | {"behaviour_logps": record["policy_logps"]})
    expected = (batch.rewards / 0.7 - batch.sequence_logratio)[..., None] + batch.prefix_logratio
    got = reward_weights(batch, 0.7, weights="completion").log()
    assert torch.allclose(got, expected, rtol=0, atol=1e-12)
    normalised = reward_weights(batch, 0.7, weights="completion_softmax")
    assert torch.allclose(normalised, expected.softmax(1), rtol=0, atol=1e-14)


def far(shift: float) -> GroupBatch:
    """Answers whose later tokens the reference likes better than their writer, by `shift` nats."""
    record = random_record()
    record["behaviour_logps"] = record["behaviour_logps"] - shift
    return GroupBatch(**record)


def test_overflow_is_an_error_that_says_what_to_do_and_softmax_weights_have_none() -> None:
    batch = far(300.0)
    with pytest.raises(
        ValueError, match=r"pi_ref/mu of a completion overflows .*: pass a"
    ) as error:
        objectives.gnivo(batch, alpha=1.0, weights="completion")
    assert "\n" not in str(error.value)
    losses = [
        objectives.gnivo(batch, alpha=1.0, weights=weights, reward_max=1_000.0).loss
        for weights in NAMES
    ]
    assert all(bool(loss.isfinite()) for loss in losses)
    assert torch.equal(losses[1], objectives.gnivo(batch, alpha=1.0, weights=NAMES[1]).loss)


def test_reward_max_scales_the_loss_alone() -> None:
    batch = GroupBatch(**random_record())
    plain, lowered = (
        objectives.gnivo(batch, alpha=0.5, weights="completion", reward_max=x).loss
        for x in (0.0, 1.0)
    )
    assert lowered.item() == pytest.approx(plain.item() * math.exp(-2.0), rel=1e-12)


def test_by_step_a_completion_is_the_sum_over_later_steps() -> None:
    batch = GroupBatch(**random_record()).by_step()
    each = (batch.reference_logps - batch.behaviour_logps) * batch.mask
    log_w = batch.rewards[..., None] / 0.7 + each.sum(-1, keepdim=True) - each.cumsum(-1)
    assert torch.allclose(reward_weights(batch, 0.7, weights="completion").log(), log_w)


def test_precision_stays(random_batch: dict[str, Tensor]) -> None:
    half: dict[str, Any] = {
        name: x.float() if x.is_floating_point() else x for name, x in random_batch.items()
    }
    batch = GroupBatch(**half)
    batch = replace(batch, reference_logps=batch.policy_logps)
    for weights in NAMES:
        assert objectives.gnivo(batch, alpha=1.0, weights=weights).loss.dtype == torch.float32
