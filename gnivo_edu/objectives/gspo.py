"""GSPO: group sequence policy optimisation, one ratio for a whole response."""

from __future__ import annotations

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.grpo import Scale, group_advantages
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import (
    behaviour_logratio,
    check_clip,
    check_group,
    clipped_loss,
    clipped_share,
    group_metrics,
)


def gspo(
    batch: GroupBatch,
    alpha: float = 1.0,
    scale: Scale = "group",
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
) -> LossOutput:
    r"""GSPO: the clipped policy gradient of GRPO with one ratio a response, a geometric mean.

        u_i = ( pi_theta(y_i) / pi_b(y_i) )^{1/T_i},   pi_b sampled,
        L = mean over prompts and i of  - min( u A, clip(u, 1 - clip_low, 1 + clip_high) A ),

    with A_i as in `grpo`, a constant. All tokens of a response are kept or dropped together, and
    each gets A_i u_i/T_i: where nothing is clipped and u = 1 that is the gradient of `grpo` without
    a KL. The clip is narrow because u is the geometric mean of the ratios of the tokens: log u_i is
    the log-ratio of the response over T_i.
    `alpha` is checked and not used: there is no KL. `scale`: what rewards are divided by; see
    `grpo`.

    Population minimiser: none inside; on-policy it collapses on the best response, and 1/T_i
    favours short right answers and long wrong ones on the way.

    Source: arXiv 2507.18071 (not opened), by its settings in the paper index of TRL's
    documentation, which name section 5.1 for the clip, and TRL 1.16, loss_type="grpo" with
    importance_sampling_level="sequence" (run). Departures: none known; the 1e-4 beside the std is
    TRL's. The paper's variant with an advantage per token (GSPO-token) is not here.

    Metrics: `reward`, mean; `logratio`, mean log pi_theta/pi_ref of responses, nats; `tied_groups`;
    `clipped`, share of responses whose ratio is out of range. Raises ValueError on K = 1, alpha <=
    0, unknown names and a clip out of range.

    >>> import torch
    >>> half = torch.full((1, 2, 2), 0.5).log().requires_grad_()
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=torch.tensor([[1.0, 0.0]]),
    ...     mask=torch.tensor([[[1, 1], [1, 0]]]),
    ... )
    >>> gspo(batch, scale="none").loss.backward()  # advantages 1/2 and -1/2, over 2, over T_i
    >>> half.grad
    tensor([[[-0.1250, -0.1250],
             [ 0.2500,  0.0000]]])
    """
    check_group(batch, "gspo")
    check_alpha(alpha)
    check_clip(clip_low, clip_high)
    advantages = group_advantages(batch, scale)
    # log u_i, the mean over the tokens of a response of their log-ratio.
    logratio = behaviour_logratio(batch).sum(-1) / batch.lengths.clamp(min=1)
    loss = batch.group_mean(
        clipped_loss(logratio, advantages, low=clip_low, high=clip_high).mean(1)
    )
    clipped = clipped_share(batch, logratio, mask=None, low=clip_low, high=clip_high)
    return LossOutput(loss, group_metrics(batch) | {"clipped": clipped})
