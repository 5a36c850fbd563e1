"""RLOO: REINFORCE with a leave-one-out baseline, and the KL in the reward."""

from __future__ import annotations

import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import (
    behaviour_divergence,
    behaviour_logratio,
    centred,
    check_clip,
    check_group,
    clipped_loss,
    clipped_share,
    group_metrics,
    moments,
)


def rloo(
    batch: GroupBatch,
    alpha: float = 0.05,
    normalise: bool = False,
    clip_low: float | None = 0.2,
    clip_high: float = 0.2,
) -> LossOutput:
    r"""RLOO: each response against the mean of the others, with the KL paid out of its reward.

        r_i = R_i - alpha log pi_b(y_i)/pi_ref(y_i),   A_i = r_i - mean_{j != i} r_j   (constants),
        L = mean over prompts and i of
            - min( u_i A_i, clip(u_i, 1 - clip_low, 1 + clip_high) A_i ),
            or, with clip_low=None,  - A_i log pi_theta(y_i),
        u_i = pi_theta(y_i)/pi_b(y_i), pi_b the policy that sampled.

    `alpha`: reward per nat. `normalise`: A to mean 0 and standard deviation 1 over the batch, (A -
    mean)/(std + 1e-4). Whole responses only: reasoning steps change nothing.

    Population minimiser: none, it is a gradient estimator. On-policy (pi_b = pi_theta) its expected
    gradient is minus the gradient of J = E[R] - alpha KL(pi || pi_ref), exactly, for every K >= 2,
    since both forms have the gradient -A_i grad log pi(y_i) there: the one stationary point is
    pi* = pi_ref e^{R/alpha}/Z. `normalise` rescales it by a number per batch. Off-policy it is not
    pi*: the KL paid is that of pi_b, and clipping hides the rest.

    Source: arXiv 2402.14740 (not opened) and TRL 1.16 `RLOOTrainer` (run; the clipped form is its
    only one). Departures: REINFORCE form on request; the KL is k1 of the sampler, as in TRL, never
    differentiated.

    Metrics: `reward`, mean; `logratio`, mean log pi_theta/pi_ref of responses, nats; `tied_groups`;
    `clipped`, share of ratios outside the clip range (0 without clipping); `advantage`, standard
    deviation of A before `normalise`, reward. Raises ValueError on K = 1, alpha <= 0 and clip
    ranges that make no sense.

    >>> half = torch.full((1, 2, 1), 0.5).log().requires_grad_()
    >>> rewards = torch.tensor([[1.0, 0.0]])
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=rewards, mask=half < 0
    ... )
    >>> rloo(batch).loss.backward()  # advantages 1 and -1, a mean over two
    >>> half.grad.flatten()
    tensor([-0.5000,  0.5000])
    """
    check_alpha(alpha)
    check_group(batch, "rloo")
    check_clip(clip_low or 0.0, clip_high)
    rewards = batch.rewards - alpha * behaviour_divergence(batch).sum(-1)
    advantages = centred(rewards, leave_one_out=True)
    mean, variance = moments(batch, advantages)
    if normalise:
        advantages = (advantages - mean) / (variance.sqrt() + 1e-4)
    logratio = behaviour_logratio(batch).sum(-1)
    if clip_low is None:
        # REINFORCE: the same gradient on-policy, and no ratio that could be clipped.
        terms = -advantages * batch.policy_logps.masked_fill(batch.outside, 0.0).sum(-1)
        share = torch.zeros_like(variance)
    else:
        terms = clipped_loss(logratio, advantages, low=clip_low, high=clip_high)
        share = clipped_share(batch, logratio, mask=None, low=clip_low, high=clip_high)
    metrics = group_metrics(batch) | {"clipped": share, "advantage": variance.sqrt()}
    return LossOutput(batch.group_mean(terms.mean(1)), metrics)
