"""The cross-entropy between two group softmaxes, shared by the objectives that differ in what is
scored.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gnivo_edu.batch import GroupBatch, group_log_softmax
from gnivo_edu.objectives.output import LossOutput

Weights = Literal["raw", "softmax"]
Prefixes = Literal["all", "given", "last"]
Lengths = Literal["sum_max", "sum_min", "horizon", "mean_max", "mean_min", "own"]


def check_alpha(alpha: float) -> float:
    """alpha, if it is a positive finite number of rewards per nat; else ValueError."""
    if not (math.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha must be a positive number (reward per nat), got {alpha}")
    return float(alpha)


def reward_weights(
    batch: GroupBatch, alpha: float, weights: Weights = "raw", reward_max: float = 0.0
) -> Float[Tensor, "N K"]:
    """w_i: exp((R_i - reward_max)/alpha) ("raw"), or softmax(R/alpha) within the group ("softmax").

    `reward_max`, reward units, is one number for the whole task. Raises ValueError if a raw weight
    overflows."""
    check_alpha(alpha)
    if weights == "softmax":
        return group_log_softmax(batch.rewards / alpha).exp()
    if weights != "raw":
        raise ValueError(f"weights must be 'raw' or 'softmax', got {weights!r}")
    w = ((batch.rewards - reward_max) / alpha).exp()
    if not bool(w.isfinite().all()):
        raise ValueError(
            f"exp((R - reward_max)/alpha) overflows {w.dtype} at R = "
            f"{float(batch.rewards.max()):g}, "
            f"alpha = {alpha:g}, reward_max = {reward_max:g}: pass reward_max, the largest reward "
            "the task can give"
        )
    return w


def prefix_coefficients(
    batch: GroupBatch,
    prefixes: Prefixes = "all",
    lengths: Lengths = "sum_max",
    depths: Int[Tensor, " N"] | None = None,
    horizon: int | None = None,
) -> Float[Tensor, "N K T"]:
    """Coefficient of the term of response i at depth t (column t - 1); finished responses are
    absorbing.

    A depth beyond the padded length is the last column's: there every response is complete.
    """
    T, dtype = batch.policy_logps.shape[-1], batch.policy_logps.dtype
    t = torch.arange(1, T + 1, device=batch.mask.device)
    own = batch.lengths[..., None]
    longest, shortest = own.amax(1, keepdim=True), own.amin(1, keepdim=True)
    if horizon is not None and horizon < int(longest.max()):
        raise ValueError(f"horizon is {horizon}, but a response has {int(longest.max())} tokens")

    if prefixes == "last":
        c = t == T
    elif prefixes == "given":
        c = t == _checked_depths(depths, batch, horizon).clamp(max=T)[:, None, None]
    elif prefixes != "all":
        raise ValueError(f"prefixes must be 'all', 'given' or 'last', got {prefixes!r}")
    elif lengths in ("sum_max", "mean_max"):
        c = t <= longest
    elif lengths in ("sum_min", "mean_min"):
        c = t <= shortest
    elif lengths == "own":
        c = t <= own
    elif lengths == "horizon":
        if horizon is None:
            raise ValueError(
                "lengths='horizon' needs horizon, the longest response the task allows, in tokens"
            )
        c = ((t <= horizon) + (t == T) * max(horizon - T, 0)).to(dtype) / horizon
    else:
        raise ValueError(
            f"lengths must be sum_max, sum_min, horizon, mean_max, mean_min or own, got {lengths!r}"
        )
    c = c.to(dtype).expand_as(batch.policy_logps)
    divisors = {"mean_max": longest, "mean_min": shortest, "own": own}
    return c / divisors[lengths].clamp(min=1) if prefixes == "all" and lengths in divisors else c


def group_cross_entropy(
    scores: Float[Tensor, "N K T"],
    weights: Float[Tensor, "N K"],
    coefficients: Float[Tensor, "N K T"],
) -> Float[Tensor, " N"]:
    """- sum_t sum_i c_it w_i log softmax_i(score_i^t), one number per group."""
    return -(coefficients * weights[..., None] * group_log_softmax(scores)).sum((1, 2))


def group_objective(
    batch: GroupBatch,
    scores: Float[Tensor, "N K T"],
    alpha: float,
    weights: Weights,
    prefixes: Prefixes,
    lengths: Lengths,
    depths: Int[Tensor, " N"] | None,
    horizon: int | None,
    reward_max: float,
) -> LossOutput:
    """The objective of `gnivo` and of `group_value` on absorbing scores of prefixes, nats."""
    if batch.rewards.shape[1] < 2:
        raise ValueError(
            "the group softmax of a single response is constant: take groups of at least 2"
        )
    w = reward_weights(batch, alpha, weights, reward_max)
    c = prefix_coefficients(batch, prefixes, lengths, depths, horizon)
    loss = batch.group_mean(group_cross_entropy(scores, w, c))
    with torch.no_grad():
        target = group_log_softmax(batch.rewards / alpha)
        misfit = (target.exp() * (target - group_log_softmax(scores[..., -1]))).sum(1)
        tied = batch.rewards.amax(1) == batch.rewards.amin(1)
        metrics = {
            "reward": batch.group_mean(batch.rewards.mean(1)),
            "misfit": batch.group_mean(misfit),
            "effective_size": batch.group_mean(1 / (2 * target).exp().sum(1)),
            "tied_groups": batch.group_mean(tied.to(w.dtype)),
        }
    return LossOutput(loss, metrics)


def _checked_depths(
    depths: Tensor | None, batch: GroupBatch, horizon: int | None
) -> Int[Tensor, " N"]:
    N = batch.rewards.shape[0]
    if depths is None or depths.shape != (N,) or depths.is_floating_point():
        raise ValueError(
            f"prefixes='given' needs depths, {N} integers, one per prompt, drawn from 1..horizon"
        )
    if bool((depths < 1).any()) or (horizon is not None and bool((depths > horizon).any())):
        raise ValueError(
            f"depths must lie in 1..{horizon or 'horizon'}: a prefix of depth t has t tokens"
        )
    return depths.to(batch.mask.device)
