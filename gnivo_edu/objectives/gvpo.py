"""GVPO: group variance policy optimisation."""

from __future__ import annotations

import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import centred, check_group, group_metrics


def gvpo(batch: GroupBatch, alpha: float = 0.1) -> LossOutput:
    r"""GVPO: half the variance, within a group, of what the implicit reward does not explain.

        L = mean over prompts of  1/(2 (K - 1)) sum_i ( (R_i - mean R) - alpha (h_i - mean h) )^2,
        h_i = log pi_theta(y_i) - log pi_ref(y_i).

    The gradient is - alpha/(K - 1) sum_i w_i grad log pi(y_i), w_i the bracket: its weights sum to
    zero in each group, which is why log Z drops out and why it does not matter whether mean h is
    detached.

    `alpha`: reward per nat (the paper's beta). Only whole responses enter: reasoning steps change
    nothing.

    Population minimiser: 1/(K - 1) makes L an unbiased estimate of Var(R - alpha h)/2, for every K
    >= 2 and every sampler; it is 0 at pi* = pi_ref e^{R/alpha}/Z only, if the sampler covers the
    reference. It is DRO with its value profiled out.

    Source: arXiv 2504.19599 (second-hand) and its code, jszkc/GVPO `compute_policy_loss_gvpo`
    (read). Departures: the code sums over prompts, here is their mean (1/N of its loss); the code's
    reference is the policy at rollout time, which moves and compounds to pi_0 e^{nR/alpha}; here it
    is `reference_logps`, whose default is the sampler. The paper's beta multiplies the same loss.

    Metrics: `reward`, mean; `logratio`, mean h, nats; `tied_groups`, share of groups with equal
    rewards (they still pull h to a constant); `residual`, root of the mean unbiased variance,
    reward units.
    Raises ValueError on K = 1 and alpha <= 0.

    >>> half = torch.full((1, 2, 1), 0.5).log()
    >>> rewards = torch.tensor([[1.0, 0.0]])
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=rewards, mask=half < 0
    ... )
    >>> gvpo(batch, alpha=1.0).loss  # (0.25 + 0.25)/2
    tensor(0.2500)
    """
    check_alpha(alpha)
    check_group(batch, "gvpo")
    residual = centred(batch.rewards) - alpha * centred(batch.sequence_logratio)
    loss = batch.group_mean(residual.square().sum(1)) / (2 * (residual.shape[1] - 1))
    with torch.no_grad():
        metrics = group_metrics(batch) | {"residual": (2 * loss).sqrt()}
    return LossOutput(loss, metrics)
