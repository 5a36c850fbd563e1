"""What policy-gradient objectives share: baselines, KL estimates, clipping, whitening, averages."""

from __future__ import annotations

import functools
import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.batch import GroupBatch, MissingField

Normaliser = Literal[
    "seq-mean-token-mean", "token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"
]
Estimator = Literal["k1", "k2", "k3"]


def check_group(batch: GroupBatch, name: str) -> None:
    """ValueError on groups of one: `name` learns from the difference between responses."""
    if batch.rewards.shape[1] < 2:
        raise ValueError(
            f"{name} compares the responses of a group: K = 1, take groups of at least 2"
        )


def check_choice(name: str, value: str, literal: object) -> None:
    """ValueError, naming the argument, if `value` is none of the strings of a Literal."""
    choices = get_args(literal)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_clip(low: float, high: float, dual: float | None = None) -> None:
    """ValueError unless 0 <= low < 1, high >= 0 and dual > 1 (or None)."""
    if not (0 <= low < 1 and high >= 0 and (dual is None or dual > 1)):
        raise ValueError(
            f"need 0 <= clip_low < 1, clip_high >= 0, dual_clip > 1: got {low}, {high}, {dual}"
        )


def needed(batch: GroupBatch, field: str, name: str) -> Float[Tensor, "N K T"]:
    """An optional field [N, K, T] of the batch, 0 outside the mask; ValueError if it is missing."""
    x = getattr(batch, field)
    if x is None:
        raise MissingField(field, f"{name} needs {field} [N, K, T]: put it in the GroupBatch")
    return x.masked_fill(batch.outside, 0.0)


def behaviour_logratio(batch: GroupBatch) -> Float[Tensor, "N K T"]:
    """log pi_theta/pi_behaviour of each token, nats; 0 outside the mask."""
    return (batch.policy_logps - batch.behaviour_logps).masked_fill(batch.outside, 0.0)


def behaviour_divergence(batch: GroupBatch) -> Float[Tensor, "N K T"]:
    """log pi_behaviour/pi_ref of each token, nats: k1 of the behaviour policy, a constant."""
    return (batch.behaviour_logps - batch.reference_logps).masked_fill(batch.outside, 0.0)


def kl_estimate(logratio: Tensor, estimator: Estimator) -> Tensor:
    """Estimates of KL(pi || ref), nats, from x = log pi/ref of a sample.

    k1 = x, k2 = x^2/2, k3 = e^{-x} - 1 + x.

    >>> [round(float(kl_estimate(torch.tensor(0.5), k)), 4) for k in ("k1", "k2", "k3")]
    [0.5, 0.125, 0.1065]
    """
    if estimator == "k1":
        return logratio
    return logratio.square() / 2 if estimator == "k2" else torch.expm1(-logratio) + logratio


def token_kl(batch: GroupBatch, kl: Estimator | Literal["exact"]) -> Float[Tensor, "N K T"]:
    """KL(pi_theta || pi_ref) at each token, nats, exact or estimated; 0 outside the mask."""
    if kl == "exact":
        return needed(batch, "policy_kl", name="kl='exact'")
    return kl_estimate(batch.logratio, kl)


def centred(x: Float[Tensor, "N K"], leave_one_out: bool = False) -> Float[Tensor, "N K"]:
    """x_i minus the mean of its group, or minus the mean of the others: the same times K/(K - 1).

    >>> centred(torch.tensor([[1.0, 0.0]])), centred(torch.tensor([[1.0, 0.0]]), leave_one_out=True)
    (tensor([[ 0.5000, -0.5000]]), tensor([[ 1., -1.]]))
    """
    x = x - x[:, :1]  # so that equal numbers leave 0, where their mean may be off by rounding
    difference = x - x.mean(1, keepdim=True)
    return difference * (x.shape[1] / (x.shape[1] - 1)) if leave_one_out else difference


def clipped_loss(
    logratio: Tensor, advantages: Tensor, low: float, high: float, dual_clip: float | None = None
) -> Tensor:
    """PPO's loss, element by element: - min(r A, clip(r, 1 - low, 1 + high) A), r = e^{logratio}.

    With `dual_clip` c > 1 it is at most - c A where A < 0: one huge ratio cannot rule a step. Where
    clips hold, the gradient is 0, however large the log-ratio; without a dual clip the loss of a
    negative advantage grows with the ratio, and is inf where that is.
    """
    # Past log(1 + high), or log(dual_clip) where A < 0, the loss is constant. There e^x may
    # overflow, and 0 times its derivative be nan: x is held a nat beyond, where nothing changes.
    rising, falling = (_held(x, logratio.dtype) for x in (1 + high, dual_clip or math.inf))
    if math.isfinite(rising + falling):
        ratio = logratio.clamp(max=max(rising, falling)).exp()
    else:
        held = torch.full_like(advantages, rising).masked_fill_(advantages < 0, falling)
        if math.isinf(rising):  # nothing clips; 0 times any ratio is 0
            held.masked_fill_(advantages == 0, 0.0)
        ratio = logratio.clamp(max=held).exp()
    cost = -advantages
    # - min(r A, clip(r) A) is the maximum of the two with their signs changed.
    loss = torch.maximum(cost * ratio, cost * ratio.clamp(1 - low, 1 + high))
    if dual_clip is None:
        return loss
    return torch.where(advantages < 0, torch.minimum(loss, dual_clip * cost), loss)


@functools.cache
def _held(clip: float, dtype: torch.dtype) -> float:
    """A log-ratio past the one at which `clip` begins to hold, whose ratio is a finite number; inf
    if there is none.
    """
    limits = torch.finfo(dtype)
    largest = math.log(limits.max) * (1 - 4 * limits.eps)
    start = math.log(clip)
    return min(start + 1, largest) if start < largest else math.inf


def suffix_sums(x: Float[Tensor, "N K T"], discount: float) -> Float[Tensor, "N K T"]:
    """sum_{l >= t} discount^(l - t) x_l: the advantages of GAE, from its residuals.

    >>> suffix_sums(torch.tensor([[[1.0, 2.0, 4.0]]]), 0.5)
    tensor([[[3., 4., 4.]]])
    """
    sums = [torch.zeros_like(x[..., 0])]  # after the last token; then from the back to the front
    for t in reversed(range(x.shape[-1])):
        sums.append(x[..., t] + discount * sums[-1])
    return torch.stack(sums[:0:-1], -1)


def moments(batch: GroupBatch, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and variance, scalars, of x over the whole batch, or over its entries in `mask`.

    The variance has Bessel's correction; with `group_weight` the batch is a population: none.
    """
    weight, total = _weights(batch, x, mask=mask)
    mean = (weight * x).sum() / total
    # With group weights the entries of a batch are no sample: they are all that can happen.
    degrees = (total - 1).clamp(min=1) if batch.group_weight is None else total
    return mean, (weight * (x - mean).square()).sum() / degrees


def _weights(batch: GroupBatch, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """How much each entry of x counts, and their sum."""
    weight = torch.ones_like(x) if mask is None else mask.to(x.dtype)
    if batch.group_weight is not None:
        weight = weight * batch.group_weight.view(-1, *[1] * (x.dim() - 1))
    return weight, weight.sum().clamp(min=torch.finfo(x.dtype).tiny)


def whiten(batch: GroupBatch, x: Float[Tensor, "N K T"]) -> Float[Tensor, "N K T"]:
    """(x - mean)/sqrt(variance + 1e-8) over all tokens inside the mask; 0 outside it."""
    mean, variance = moments(batch, x, mask=batch.mask)
    return ((x - mean) * (variance + 1e-8).rsqrt()).masked_fill(batch.outside, 0.0)


def average(
    batch: GroupBatch,
    x: Float[Tensor, "N K T"],
    normaliser: Normaliser,
    max_length: int | None = None,
) -> Float[Tensor, ""]:
    """One number from one per token inside the mask, by verl's names; TRL's are in brackets.

    "seq-mean-token-mean" (grpo): mean over responses of the mean over their tokens. "token-mean"
    (dapo, and bnpo on an undivided batch): sum over all tokens divided by their number.
    "seq-mean-token-sum": mean over responses of the sum. "seq-mean-token-sum-norm" (dr_grpo): the
    same divided by the constant `max_length` (default 1).
    """
    check_choice("normaliser", normaliser, literal=Normaliser)
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length must be at least 1 token, got {max_length}")
    sums = x.masked_fill(batch.outside, 0.0).sum(-1)
    if normaliser == "seq-mean-token-mean":
        sums = sums / batch.lengths.clamp(min=1)
    total = batch.group_mean(sums.mean(1))
    if normaliser == "token-mean":
        # Both are means over prompts, so that their quotient is that of the two sums.
        tokens = batch.group_mean(batch.lengths.to(x.dtype).mean(1))
        return total / tokens.clamp(min=torch.finfo(x.dtype).tiny)
    return total / (max_length or 1) if normaliser == "seq-mean-token-sum-norm" else total


def response_metrics(batch: GroupBatch) -> dict[str, Float[Tensor, ""]]:
    """`reward`, mean; `logratio`, mean log pi_theta/pi_ref of responses, nats."""
    with torch.no_grad():
        return {
            "reward": batch.group_mean(batch.rewards.mean(1)),
            "logratio": batch.group_mean(batch.sequence_logratio.mean(1)),
        }


def group_metrics(batch: GroupBatch) -> dict[str, Float[Tensor, ""]]:
    """Those of `response_metrics`, and `tied_groups`, share of groups with equal rewards."""
    tied = batch.rewards.amax(1) == batch.rewards.amin(1)
    return response_metrics(batch) | {"tied_groups": batch.group_mean(tied.to(batch.rewards.dtype))}


def clipped_share(
    batch: GroupBatch, logratio: Tensor, mask: Tensor | None, low: float, high: float
) -> Float[Tensor, ""]:
    """Share of the ratios in `mask` (None: of all) outside [1 - low, 1 + high]."""
    ratio = logratio.detach().exp()
    outside = (ratio < 1 - low) | (ratio > 1 + high)
    weight, total = _weights(batch, ratio, mask=mask)
    return (weight * outside).sum() / total
