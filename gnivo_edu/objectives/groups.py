"""What `gnivo` and `group_value` share: weights of rewards, coefficients of depths, metrics."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gnivo_edu.batch import GroupBatch, group_log_softmax
from gnivo_edu.objectives.surrogate import check_choice

Weights = Literal["raw", "softmax"]
# Times what the reference, rather than the writer, gives the rest of the answer.
CompletionWeights = Literal["raw", "softmax", "completion", "completion_softmax"]
Prefixes = Literal["all", "given", "last"]
Lengths = Literal["sum_max", "sum_min", "horizon", "mean_max", "mean_min", "own"]
LONGEST = 1_000_000  # tokens of a response; float32 counts no further than 16 times as many


def check_alpha(alpha: float) -> float:
    """alpha, if it is a positive finite number of rewards per nat; else ValueError."""
    try:
        number = float(alpha)
    except (TypeError, ValueError):
        number = math.nan
    # Neither True nor text is meant as a number.
    if isinstance(alpha, bool | str) or not (math.isfinite(number) and number > 0):
        raise ValueError(f"alpha must be a positive number (reward per nat), got {alpha!r}")
    return number


def reward_weights(
    batch: GroupBatch, alpha: float, weights: CompletionWeights = "raw", reward_max: float = 0.0
) -> Float[Tensor, "N K T"] | Float[Tensor, "N K 1"]:
    """w_i^t: exp((R_i - reward_max)/alpha) ("raw"), or softmax(R/alpha) within the group
    ("softmax"), both one number [N, K, 1] for all depths. With "completion" e^{R/alpha} is first
    multiplied by pi_ref/mu of the tokens after t, mu = `behaviour_logps`: [N, K, T].

    `reward_max`, reward units, is one number for the whole task. Raises ValueError on groups of one
    and if a weight that is not normalised overflows.
    """
    if batch.rewards.shape[1] < 2:
        raise ValueError(
            "the group softmax of a single response is constant: take groups of at least 2"
        )
    check_alpha(alpha)
    check_choice("weights", weights, literal=CompletionWeights)
    # A softmax does not see reward_max.
    shift = 0.0 if weights.endswith("softmax") else reward_max
    log_w = ((batch.rewards - shift) / alpha)[..., None]
    if weights.startswith("completion"):
        log_w = log_w + _completion_logratio(batch)
    if weights.endswith("softmax"):
        return group_log_softmax(log_w).exp()
    w = log_w.exp()
    # The gradient holds their sum over the group too.
    if not bool(w.sum(1).isfinite().all()):
        largest = f"R = {float(batch.rewards.max()):g}, alpha = {alpha:g}"
        if weights == "completion":
            raise ValueError(
                f"exp((R - reward_max)/alpha) pi_ref/mu of a completion overflows {w.dtype} at "
                f"{largest}, reward_max = {reward_max:g}: pass a larger reward_max (it scales the "
                f"loss: here {alpha * float(log_w.max()):g} more), or weights='completion_softmax'"
            )
        raise ValueError(
            f"exp((R - reward_max)/alpha) overflows {w.dtype} at "
            f"{largest}, reward_max = {reward_max:g}: "
            "pass reward_max, the largest reward the task can give"
        )
    return w


def _completion_logratio(batch: GroupBatch) -> Float[Tensor, "N K T"]:
    """log pi_ref(y_{>t}|s_t) - log mu(y_{>t}|s_t), nats, mu the writer; 0 once an answer is
    complete. Without gradient: the fields are constants.
    """
    each = (batch.reference_logps - batch.behaviour_logps).masked_fill(batch.outside, 0.0)
    # The sum over the tokens after t; from the end, so that after the last it is 0 exactly.
    return each.flip(-1).cumsum(-1).flip(-1) - each


def prefix_coefficients(
    batch: GroupBatch,
    prefixes: Prefixes = "all",
    lengths: Lengths = "sum_max",
    depths: Int[Tensor, " N"] | None = None,
    horizon: int | None = None,
) -> Float[Tensor, "N K T"]:
    """Coefficient c_t of the term of response i at depth t (column t - 1).

    Finished responses are absorbing. A depth beyond the padded length is the last column's: there
    every response is complete.
    """
    check_choice("prefixes", prefixes, literal=Prefixes)
    check_choice("lengths", lengths, literal=Lengths)
    T = batch.policy_logps.shape[-1]
    t = torch.arange(1, T + 1, device=batch.mask.device)
    length = batch.lengths[..., None]
    longest = length.amax(1, keepdim=True)
    shortest = length.amin(1, keepdim=True)
    if horizon is not None and horizon < int(longest.max()):
        raise ValueError(f"horizon is {horizon}, but a response has {int(longest.max())} tokens")
    if horizon is not None and horizon > LONGEST:
        raise ValueError(f"horizon is {horizon:,} tokens: it can be at most {LONGEST:,}")
    if horizon is None and (prefixes, lengths) == ("all", "horizon"):
        raise ValueError(
            "lengths='horizon' needs horizon, the longest response the task allows, in tokens"
        )

    end = horizon or T
    depth: int | Tensor = T
    if prefixes == "given":
        depth = _checked_depths(depths, batch, horizon=horizon).clamp(max=T)[:, None, None]
    # How often the term at depth t is counted, under each convention for "all" depths.
    counts = {
        "sum_max": t <= longest,
        "sum_min": t <= shortest,
        "horizon": (t <= end) + (t == T) * max(end - T, 0),
        "mean_max": t <= longest,
        "mean_min": t <= shortest,
        "own": t <= length,
    }
    c = counts[lengths] if prefixes == "all" else t == depth
    c = c.to(batch.policy_logps.dtype).expand_as(batch.policy_logps)
    if prefixes == "all" and lengths not in ("sum_max", "sum_min"):
        # These are means: they divide by the number of depths. Unless it is a fixed horizon, that
        # number depends on how a response goes on after the prefix: hence the bias.
        c = c / c.sum(-1, keepdim=True).clamp(min=1)
    return c


def softmax_metrics(
    batch: GroupBatch, scores: Float[Tensor, "N K T"], alpha: float
) -> dict[str, Float[Tensor, ""]]:
    """Rewards of the groups, and how far the softmax of the last scores is from that of R/alpha."""
    with torch.no_grad():
        # The last column is the whole response: there the exact scores are R/alpha and a constant.
        target = group_log_softmax(batch.rewards / alpha)
        misfit = (target.exp() * (target - group_log_softmax(scores[..., -1]))).sum(1)
        tied = batch.rewards.amax(1) == batch.rewards.amin(1)
        return {
            "reward": batch.group_mean(batch.rewards.mean(1)),
            "misfit": batch.group_mean(misfit),
            "effective_size": batch.group_mean(1 / (2 * target).exp().sum(1)),
            "tied_groups": batch.group_mean(tied.to(target.dtype)),
        }


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
