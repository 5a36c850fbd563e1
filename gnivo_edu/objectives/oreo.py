"""OREO: offline reasoning optimisation, the soft Bellman equation at every step."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import (
    average,
    check_choice,
    needed,
    response_metrics,
    suffix_sums,
    token_kl,
)

Level = Literal["token", "step", "response"]
RegularKL = Literal["exact", "k3"]


def oreo(
    batch: GroupBatch,
    alpha: float = 0.03,
    level: Level = "token",
    kl_weight: float = 0.0,
    kl: RegularKL = "exact",
) -> LossOutput:
    r"""OREO: value and policy both fit V(s_t) = R - alpha sum_{l >= t} log pi/pi_ref(a_l|s_l).

        x_t = log pi_theta/pi_ref(a_t|s_t),
        means over the T_i states of a response, then over responses,
        L_V  = mean ( V(s_t) - R + alpha sg[ sum_{l >= t} x_l ] )^2,
        L_pi = mean ( sg[ V(s_t) - R + alpha sum_{l > t} x_l ] + alpha x_t )^2,
        L = L_V + L_pi + kl_weight mean KL(pi_theta || pi_ref)(s_t),      sg: no gradient.

    V is `values`, the critic before each action, reward units. `alpha`: reward per nat (the paper's
    beta). `level`: an action a_t is a "token"; a "step" (needs `step_ids`: the batch is
    `batch.by_step()`, V before its first token); or the "response": L_pi at the first state only,
    with all x_l in its gradient, and L_V at every token, as the code has it. `kl_weight`,
    reward^2/nat (the paper's alpha); `kl`: "exact" (`policy_kl`) or "k3", both differentiated. No
    group is needed: K = 1 is allowed.

    Population minimiser: with kl_weight = 0 the residuals are 0 at pi* = pi_ref e^{R/alpha}/Z and
    its soft value V*, and nowhere else if the sampler covers all states and actions. With an
    inexact V, or kl_weight > 0, it moves: at (pi*, V*) the residuals vanish and the gradient of the
    KL does not.

    Source: arXiv 2412.16145 (read) and jwhj/OREO `PCLTrainer.fit` (run). No 1/2, as there.
    Departures: kl_weight defaults to 0, where the published runs have 0.01 (token), 0.1 (step), 0.3
    (response); the two losses are added, where the code steps the critic first and the policy on
    values from before that step: one and the same update, unless the two share weights (a critic
    that is a head on the policy's body mixes the two gradients). By steps, the regulariser sums the
    KL over a step.

    Metrics: `reward`, mean; `logratio`, mean log-ratio of responses, nats; `value_loss`,
    `policy_loss`, reward^2; `kl`, nats, if weighted. Raises ValueError without `values`, on alpha
    <= 0, kl_weight < 0, unknown names, missing `step_ids` or `policy_kl`.

    >>> import torch
    >>> half = torch.full((1, 1, 2), 0.5).log()
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=torch.ones(1, 1),
    ...     mask=half < 0, values=torch.tensor([[[0.5, 1.0]]]),
    ... )
    >>> oreo(batch).loss  # (0.25 + 0)/2, twice
    tensor(0.2500)
    """
    check_alpha(alpha)
    check_choice("level", level, literal=Level)
    check_choice("kl", kl, literal=RegularKL)
    if not (math.isfinite(kl_weight) and kl_weight >= 0):
        raise ValueError(f"kl_weight must be a number >= 0, got {kl_weight}")
    if level == "step":
        batch = batch.by_step()
    value_loss = squared(batch, alpha, live="value")
    actions = batch
    if level == "response":
        # The response is a single step: one residual, at its first state, with all x_l.
        actions = replace(batch, step_ids=batch.mask.int() * 0).by_step()
    policy_loss = squared(actions, alpha, live="policy")
    loss = value_loss + policy_loss
    metrics = response_metrics(batch) | {
        "value_loss": value_loss.detach(),
        "policy_loss": policy_loss.detach(),
    }
    if kl_weight:
        divergence = average(batch, token_kl(batch, kl), normaliser="seq-mean-token-mean")
        loss = loss + kl_weight * divergence
        metrics["kl"] = divergence.detach()
    return LossOutput(loss, metrics)


def squared(batch: GroupBatch, alpha: float, live: Literal["value", "policy"]) -> Float[Tensor, ""]:
    """Mean of (V(s_t) - R + alpha sum_{l >= t} x_l)^2; gradient to V alone, or to x_t alone."""
    values = needed(batch, "values", name="oreo")
    x = batch.logratio
    later = (suffix_sums(x, 1.0) - x).detach()  # sum_{l > t} x_l: a constant for both
    if live == "value":
        x = x.detach()
    else:
        values = values.detach()
    residual = values - batch.rewards[..., None] + alpha * (x + later)
    return average(batch, residual.square(), normaliser="seq-mean-token-mean")
