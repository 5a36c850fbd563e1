"""DAPO: decoupled clip and dynamic sampling policy optimisation."""

from __future__ import annotations

from dataclasses import replace

import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.grpo import group_advantages
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import (
    behaviour_logratio,
    check_clip,
    check_group,
    clipped_loss,
    clipped_share,
    group_metrics,
)


def dapo(
    batch: GroupBatch,
    alpha: float = 1.0,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    max_length: int | None = None,
    buffer: int = 0,
) -> LossOutput:
    r"""DAPO: GRPO without a KL, with a higher upper clip, over the tokens of mixed groups alone.

        A_i = (S_i - mean S)/(std S + 1e-4),   a constant,
        S_i = R_i - clamp( (T_i - (max_length - buffer)) / buffer, 0, 1 ),
        L = 1/(their tokens)  sum over the tokens of groups whose rewards are not all equal of
            - min( u A, clip(u, 1 - clip_low, 1 + clip_high) A ).

    Its four changes to GRPO, beside that there is no KL: the upper clip is wider, so that rare
    tokens may grow; groups with equal rewards leave the batch; all tokens weigh alike, whatever
    their response's length; long responses pay, from 0 at `buffer` tokens before `max_length` to 1
    there. `buffer` 0, the default, is no such pay: both lengths belong to the task (the paper's
    are 4,096 and 20,480 tokens). `alpha` is checked and not used.

    What belongs to the trainer and is not here is the paper's dynamic sampling: it draws further
    prompts until a batch holds as many mixed groups as it should. Here the mean is over those that
    stay, so that a batch may be smaller, and one without any has loss 0.

    Population minimiser: none inside; on-policy it collapses on the best response, length paid.

    Source: arXiv 2503.14476 (not opened), through verl's recipe (clip 0.2 and 0.28, token-mean,
    a pay of at most 1). Departures: rewards are compared before the pay, as verl filters by
    accuracy; no group is drawn again; the pay is in reward units, and weighs twice as much against
    rewards of 0 and 1 as against the paper's -1 and 1; the 1e-4 beside the std is TRL's.

    Metrics: `reward`, mean before the pay; `logratio`, mean log pi_theta/pi_ref of responses, nats;
    `tied_groups`, share of groups left out; `clipped`, share of the ratios of the others out of
    range. Raises ValueError on K = 1, alpha <= 0, a clip out of range, and a buffer without a
    max_length that is at least as long.

    >>> import torch
    >>> half = torch.full((2, 2, 1), 0.5).log().requires_grad_()
    >>> rewards = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> batch = GroupBatch(policy_logps=half, behaviour_logps=half, rewards=rewards, mask=half < 0)
    >>> dapo(batch).loss.backward()  # advantages 0.707 and -0.707, over the 2 tokens of one group
    >>> half.grad[0].flatten()
    tensor([-0.3535,  0.3535])
    """
    check_group(batch, "dapo")
    check_alpha(alpha)
    check_clip(clip_low, clip_high)
    if buffer < 0 or (buffer and (max_length is None or max_length < buffer)):
        raise ValueError(
            f"need 0 <= buffer <= max_length, tokens: got buffer {buffer}, max_length {max_length}"
        )
    shaped = batch.rewards
    if buffer and max_length is not None:
        beyond = (batch.lengths - (max_length - buffer)).to(shaped.dtype)
        shaped = shaped - (beyond / buffer).clamp(0, 1)
    mixed = batch.rewards.amax(1) > batch.rewards.amin(1)  # [N]: these stay
    logratio = behaviour_logratio(batch)
    advantages = group_advantages(replace(batch, rewards=shaped), "group")[..., None]
    per_token = clipped_loss(logratio, advantages, low=clip_low, high=clip_high)
    sums = per_token.masked_fill(~batch.mask, 0.0).sum(-1).mean(1)
    # Both are means over prompts, so that their quotient is that of the two sums.
    total, tokens = (
        batch.group_mean(x.where(mixed, 0.0)) for x in (sums, batch.lengths.to(sums.dtype).mean(1))
    )
    loss = total / tokens.clamp(min=torch.finfo(sums.dtype).tiny)
    kept = batch.mask & mixed[:, None, None]
    clipped = clipped_share(batch, logratio, mask=kept, low=clip_low, high=clip_high)
    return LossOutput(loss, group_metrics(batch) | {"clipped": clipped})
