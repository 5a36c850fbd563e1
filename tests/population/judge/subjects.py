"""Objectives that a reader might write, right and wrong, and how the judge takes them."""

from __future__ import annotations

from gnivo_edu import objectives
from gnivo_edu.population.judge.contract import examine


def reinforce(batch, alpha):
    advantage = batch.rewards - batch.rewards.mean(1, keepdim=True)
    return -(advantage * batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)).mean()


def turned_sign(batch, alpha):
    r = batch.rewards - alpha * batch.sequence_logratio.detach()
    advantage = r - r.mean(1, keepdim=True)
    return (advantage * batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)).mean()


def leaks_padding(batch, alpha):
    h = (batch.policy_logps - batch.reference_logps).sum(-1)
    return batch.group_mean((batch.rewards - alpha * h).var(1))


def mean_over_padding(batch, alpha):
    return batch.group_mean((batch.rewards - alpha * batch.logratio.mean(-1)).var(1))


def mean_over_length(batch, alpha):
    return batch.group_mean(
        (batch.rewards - alpha * batch.sequence_logratio / batch.lengths).var(1)
    )


def first_two(batch, alpha, power=2):
    r = batch.rewards - alpha * batch.sequence_logratio
    return batch.group_mean((r[:, 0] - r[:, 1]).abs() ** power)


def token_mean(batch, alpha):
    r = batch.rewards - alpha * batch.sequence_logratio.detach()
    advantage = (r - r.mean(1, keepdim=True))[..., None]
    return -(advantage * batch.policy_logps).masked_fill(~batch.mask, 0.0).sum() / batch.mask.sum()


def wrong_alpha(batch, alpha):
    return objectives.gvpo(batch, alpha=2 * alpha)


def lines(report):
    return {line.question: line for line in report.lines}


def subject_of(function, name="f", alpha=0.5, **settings):
    return examine(function, name, alpha, settings)[0]


def pairs_only(batch, alpha):
    if batch.rewards.shape[1] != 2:
        raise ValueError("pairs only")
    return first_two(batch, alpha)
