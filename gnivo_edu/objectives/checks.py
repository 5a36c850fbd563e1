"""What is checked around every objective of the registry: names of settings, and a finite loss."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.names import check_keywords
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import behaviour_divergence, behaviour_logratio

# What a setting is called elsewhere.
SYNONYMS = {
    **dict.fromkeys(("beta", "tau", "temperature", "kl_coef", "kl_beta", "eta"), "alpha"),
    **dict.fromkeys(
        ("epsilon", "epsilon_low", "eps", "clip", "clip_eps", "clip_range", "cliprange",
         "clip_ratio", "clip_ratio_low", "cliprange_low"),
        "clip_low",
    ),
    **dict.fromkeys(
        ("epsilon_high", "eps_high", "clip_ratio_high", "cliprange_high"), "clip_high"
    ),
    **dict.fromkeys(("delta", "clip_ratio_c"), "dual_clip"),
    **dict.fromkeys(("lambda", "lambda_", "gae_lambda", "lmbda"), "lam"),
    **dict.fromkeys(("vf_coef", "value_coef"), "value_weight"),
    **dict.fromkeys(("cliprange_value", "vf_clip"), "value_clip"),
    **dict.fromkeys(("loss_agg_mode", "loss_type"), "normaliser"),
    **dict.fromkeys(("max_reward", "r_max"), "reward_max"),
    **dict.fromkeys(("whiten", "whiten_rewards"), "whitened"),
    **dict.fromkeys(("max_completion_length", "max_tokens"), "max_length"),
    "discount": "gamma", "scale_rewards": "scale", "depth": "depths", "c_a": "actor",
}  # fmt: skip


def checked(function: Callable[..., LossOutput]) -> Callable[..., LossOutput]:
    """The objective, with one line for a setting that it does not have and for a loss that is not
    finite; its values and gradients are untouched.
    """
    known = inspect.signature(function).parameters
    name = function.__name__

    @functools.wraps(function)
    def objective(*arguments: Any, **settings: Any) -> LossOutput:
        check_keywords(settings, known, of=name, synonyms=SYNONYMS)
        out = function(*arguments, **settings)
        if not math.isfinite(loss := float(out.loss.detach())):
            batch = arguments[0] if arguments else settings["batch"]
            raise ValueError(f"the loss of {name} is {loss:g}: {_cause(batch)}")
        return out

    return objective


def _cause(batch: GroupBatch) -> str:
    """The answer behind a loss that is not finite, and what to do about it."""
    dtype = batch.policy_logps.dtype
    ratios = {
        "the policy is {:.4g} nats from the reference": batch.logratio.detach(),
        "the policy is {:.4g} nats from the sampler": behaviour_logratio(batch).detach(),
        "the sampler is {:.4g} nats from the reference": behaviour_divergence(batch),
    }
    words, x = max(ratios.items(), key=lambda item: float(item[1].abs().max()))
    # A ratio is out of range a little before its exponential is: it is multiplied, and squared.
    if float(x.abs().max()) > math.log(torch.finfo(dtype).max) / 2:
        place = _largest(x.abs())
        return (
            f"at {place} (prompt, answer, token) {words.format(float(x[tuple(place)]))}, too far "
            f"for {dtype}; take smaller steps, a dual_clip, or float64"
        )
    place = _largest(batch.rewards.abs())
    return (
        f"the largest reward, {float(batch.rewards[tuple(place)]):.4g} at {place} (prompt, answer),"
        f" or a value is too large for {dtype} at this alpha"
    )


def _largest(x: Tensor) -> list[int]:
    return [int(i) for i in torch.unravel_index(x.argmax(), x.shape)]
