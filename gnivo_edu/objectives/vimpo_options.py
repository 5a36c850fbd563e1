"""What VIMPO's code offers beside its method: which options there are, which go together, and the
actor's weight that makes two gradients alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.surrogate import (
    average,
    behaviour_divergence,
    check_choice,
    kl_estimate,
    token_kl,
)

Value = Literal["raw", "soft"]
Baseline = Literal["mean", "leave_one_out"]
TokenKL = Literal["exact", "k1", "k2", "k3"]
Advantages = Literal["implicit", "group"]


def check_options(
    value: Value,
    kl: TokenKL,
    baseline: Baseline,
    advantages: Advantages,
    actor: float,
    actor_ratio: float | None,
    value_weight: float,
    huber: float | None,
    cap: float | None,
) -> None:
    """ValueError, in one line, on options that do not exist, are out of range, or exclude each
    other.
    """
    check_choice("value", value, literal=Value)
    check_choice("baseline", baseline, literal=Baseline)
    check_choice("advantages", advantages, literal=Advantages)
    weights = {"actor": actor, "actor_ratio": actor_ratio, "value_weight": value_weight}
    for name, weight in weights.items():
        if weight is not None and not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"{name} must be a number >= 0, got {weight}")
    if huber is not None and not huber > 0:
        raise ValueError(f"huber must be a positive reward, or None for the square, got {huber}")
    if cap is not None and not math.isfinite(cap):
        raise ValueError(f"cap must be a finite reward, or None for no cap, got {cap}")
    if value == "soft" and (actor or actor_ratio):
        raise ValueError("value='soft' has no implicit advantages to advise an actor: set actor=0")
    check_token_kl(kl, value=value)


def check_token_kl(kl: TokenKL, value: Value = "raw") -> None:
    """ValueError unless `kl` is an estimator of the KL that this value loss can take."""
    if kl == "k1" and value == "raw":
        raise ValueError(
            "kl='k1' makes rho - kappa zero at every token: take 'exact' (policy_kl), 'k2' or 'k3'"
        )
    check_choice("kl", kl, literal=TokenKL)


def sampler_kl(batch: GroupBatch, kl: TokenKL) -> Float[Tensor, "N K T"]:
    """KL(pi_b || pi_ref) at each token, nats: a constant, 0 outside the mask. "exact" is
    `policy_kl`, which is the sampler's until the policy moves.
    """
    if kl == "exact":
        return token_kl(batch, kl).detach()
    return kl_estimate(behaviour_divergence(batch), kl)


def matching_weight(
    batch: GroupBatch,
    pull: Float[Tensor, "N K"],
    loss: Callable[[Tensor], Tensor],
    logratio: Float[Tensor, "N K T"],
) -> Float[Tensor, ""]:
    """c at which c L_A, the token mean of `loss(logratio)`, has a gradient by log-probabilities of
    the same root mean square over tokens as the value loss; 0 where L_A has none. A constant.

    `pull`: slope of a response's value loss by the log-probability of each of its tokens, reward.
    """
    with torch.enable_grad():
        leaf = logratio.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(leaf).sum(), leaf)
    # The value loss is a mean over responses and L_A one over tokens: per token the second counts
    # less by the mean length.
    length = batch.group_mean(batch.lengths.to(pull.dtype).mean(1))
    pulls = pull[..., None].expand_as(slope).square()
    ours, theirs = (average(batch, x, normaliser="token-mean") for x in (pulls, slope.square()))
    quotient = length * (ours / theirs.clamp(min=torch.finfo(theirs.dtype).tiny)).sqrt()
    return quotient.masked_fill(theirs == 0, 0.0)
