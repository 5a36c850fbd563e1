"""CISPO: the importance weight is clipped, not the update."""

from __future__ import annotations

import math

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.grpo import Scale, group_advantages
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import (
    average,
    behaviour_logratio,
    check_group,
    group_metrics,
    moments,
)


def cispo(
    batch: GroupBatch,
    alpha: float = 1.0,
    scale: Scale = "group",
    clip_high: float = 4.0,
) -> LossOutput:
    r"""CISPO: REINFORCE with a truncated importance weight on every token.

        u_it = pi_theta/pi_b of token t,   pi_b sampled,
        L = - mean over all tokens of  sg[ min(u, 1 + clip_high) ] A_i log pi_theta.

    A_i as in `grpo`, a constant. PPO's clip drops the gradient of a token whose ratio has left its
    range; here the weight alone is bounded, and every token keeps its gradient. The weight is
    detached: with u = 1 this is the gradient of `grpo` without a KL under "token-mean".
    `alpha` is checked and not used: there is no KL. `scale`: what rewards are divided by; see
    `grpo`. `clip_high`: the weight is at most 1 + clip_high; below there is no bound.

    Population minimiser: none inside; on-policy it collapses on the best response.

    Source: arXiv 2506.13585 (not opened), through the documentation of TRL and of two other
    trainers, and TRL 1.16, loss_type="cispo" (run). Departures: the paper's clip_high was not
    found, the 4 is that of TRL's advice (its epsilon_high=5 is the largest weight, our 1 +
    clip_high); the 1e-4 beside the std is TRL's.

    Metrics: `reward`, mean; `logratio`, mean log pi_theta/pi_ref of responses, nats; `tied_groups`;
    `clipped`, share of token weights above the bound. Raises ValueError on K = 1, alpha <= 0,
    unknown names and a clip_high that is negative or not finite.

    >>> import torch
    >>> half = torch.full((1, 2, 1), 0.5).log().requires_grad_()
    >>> rewards, sampler = torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.05], [0.5]]]).log()
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=sampler, rewards=rewards, mask=half < 0
    ... )
    >>> cispo(batch, scale="none").loss.backward()  # a weight of 10 counts as 5
    >>> half.grad.flatten()
    tensor([-1.2500,  0.2500])
    """
    check_group(batch, "cispo")
    check_alpha(alpha)
    if not 0 <= clip_high < math.inf:
        raise ValueError(f"clip_high must be finite and not negative, got {clip_high}")
    advantages = group_advantages(batch, scale)
    weight = behaviour_logratio(batch).exp().detach()
    bounded = weight.clamp(max=1 + clip_high)
    per_token = -bounded * advantages[..., None] * batch.policy_logps
    clipped = moments(batch, (weight > 1 + clip_high).to(weight.dtype), mask=batch.mask)[0]
    loss = average(batch, per_token, normaliser="token-mean")
    return LossOutput(loss, group_metrics(batch) | {"clipped": clipped})
