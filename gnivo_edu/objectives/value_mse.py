"""Squared error on the implicit value, with log Z written out: what GN-IVO does without."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.batch import GroupBatch, MissingField
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import check_choice, response_metrics

Depths = Literal["all", "last"]


def value_mse(
    batch: GroupBatch,
    alpha: float = 0.2,
    prefixes: Depths = "all",
    targets: Float[Tensor, "N K T"] | None = None,
) -> LossOutput:
    """Squared error of the implicit value V_theta(s_t) = log Z + rho_t, with an explicit log Z.

        L = mean over prompts of (1/K) sum_i sum_{t <= T_i} ( log Z + rho_i^t - target_i^t )^2.

    `batch.log_z` [N], nats, may be known or a parameter: a gradient flows to it. `prefixes`: "all"
    depths of each response, or its "last" one. `targets` [N, K, T], nats: soft values V(s_t), read
    inside the mask; by default R_i/alpha at every depth.

    Population minimiser. With the true soft values, or with "last": zero loss, at pi* = pi_ref
    e^{R/alpha}/Z and the true log Z, for any sampler that covers the reference. With the default
    targets and log Z a parameter, one depth t < T is fitted by the conditional *mean* of R/alpha
    given s_t, where the soft value is its log-mean-exp: V is missed from below (Jensen), and "all"
    is a compromise between such depths. A log Z that is known is too large for these means (the
    probabilities of prefixes sum to one), so that they are missed as well.

    Source: the poster of GN-IVO (ICLR 2026) starts from this and removes log Z; a teaching
    objective, not published as an algorithm. "last" is the sequence form of DRO with a free V(x) =
    alpha log Z, in nats. Departures: the poster draws one depth t; here all depths of a response
    are summed.

    Metrics: `reward`, mean; `logratio`, mean log pi_theta/pi_ref of responses, nats; `log_z`, mean,
    nats; `residual`, root mean square over the terms, nats. Raises ValueError without `log_z`, on
    alpha <= 0 and on targets that do not fit or are not finite.

    >>> half = torch.full((1, 2, 1), 0.5).log()
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=torch.tensor([[1.0, 0.0]]),
    ...     mask=half < 0, log_z=torch.tensor([0.5]),
    ... )
    >>> value_mse(batch, alpha=1.0).loss  # ((0.5 - 1)^2 + 0.5^2) / 2
    tensor(0.2500)
    """
    check_alpha(alpha)
    if batch.log_z is None:
        raise MissingField(
            "log_z", "value_mse needs log_z [N], nats; objectives without log Z: gnivo, group_value"
        )
    check_choice("prefixes", prefixes, literal=Depths)
    if targets is None:
        targets = (batch.rewards / alpha)[..., None].expand_as(batch.policy_logps)
    if targets.shape != batch.policy_logps.shape:
        raise ValueError(
            f"targets must be {list(batch.policy_logps.shape)}, got {list(targets.shape)}"
        )
    if not bool((targets.isfinite() | batch.outside).all()):
        raise ValueError("targets hold inf or nan inside the mask")
    column = torch.arange(1, targets.shape[-1] + 1, device=targets.device)
    terms = batch.mask if prefixes == "all" else column == batch.lengths[..., None]
    residual = (batch.implicit_value - targets.detach()).masked_fill(~terms, 0.0)
    loss = batch.group_mean(residual.square().sum(-1).mean(1))
    with torch.no_grad():
        # The loss adds the squares over a response; the residual is their root mean.
        number = batch.group_mean(terms.sum(-1).to(loss.dtype).mean(1)).clamp(min=1)
        metrics = response_metrics(batch) | {
            "log_z": batch.group_mean(batch.log_z),
            "residual": (loss / number).sqrt(),
        }
    return LossOutput(loss, metrics)
