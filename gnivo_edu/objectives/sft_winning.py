"""SFT-winning: imitate the best of the group, or all that pass a threshold."""

from __future__ import annotations

import math
from typing import Literal

import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import check_choice, check_group, group_metrics

Rule = Literal["best", "threshold"]


def sft_winning(
    batch: GroupBatch, alpha: float = 1.0, rule: Rule = "best", threshold: float | None = None
) -> LossOutput:
    r"""SFT-winning: negative log-likelihood of the winners of each group.

        L = mean over prompts of  - sum_i w_i log pi_theta(y_i),
        "best":       w_i = 1/m for the m responses that share the largest reward, 0 for the others;
        "threshold":  w_i = 1/K where R_i >= threshold, 0 elsewhere.

    `alpha` is checked and not used: the loss has no temperature. `threshold`: reward units, needed
    by its rule. Tokens are summed, never averaged over the length. Reasoning steps change nothing.

    Population minimiser, one round with samples from pi_b: "best": the law of the best of K, with F
    the distribution function of the reward under pi_b, P(reward = r) = F(r)^K - F(r-)^K, split as
    pi_b does within a tie. "threshold": pi_b(y | R >= threshold). Neither is pi* = pi_ref
    e^{R/alpha}/Z; the reference does not enter. With pi_b <- pi in every round: the best response,
    respectively no further change.

    Source: a baseline of GN-IVO (ICLR 2026) whose recipe was not found; the natural reading.
    "threshold" is the rule of STaR and RAFT. Departures: ties are shared, so that the order in the
    group does not matter; a group without a winner above the threshold contributes 0, and the
    divisor stays K.

    Metrics: `reward`, mean; `logratio`, mean log pi_theta/pi_ref of responses, nats; `tied_groups`
    ("best" imitates all of such a group); `winners`, share of responses with weight;
    `winner_reward`, their mean reward, 0 if none. Raises ValueError on alpha <= 0, K = 1 with
    "best", a threshold missing, not finite, or given to "best".

    >>> half = torch.full((1, 2, 1), 0.5).log()
    >>> rewards = torch.tensor([[1.0, 0.0]])
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=rewards, mask=half < 0
    ... )
    >>> sft_winning(batch).loss, sft_winning(batch, rule="threshold", threshold=0.5).loss
    (tensor(0.6931), tensor(0.3466))

    These are log 2, and half of it.
    """
    check_alpha(alpha)
    check_choice("rule", rule, literal=Rule)
    rewards = batch.rewards
    if rule == "best":
        if threshold is not None:
            raise ValueError(
                "threshold is for rule='threshold'; rule='best' takes the largest reward"
            )
        check_group(batch, "sft_winning with rule='best'")
        won = rewards == rewards.amax(1, keepdim=True)
        weights = won.to(rewards.dtype) / won.sum(1, keepdim=True)
    else:
        if threshold is None or not math.isfinite(threshold):
            raise ValueError(
                "rule='threshold' needs threshold, a finite number in reward units, "
                f"got {threshold}"
            )
        won = rewards >= threshold
        weights = won.to(rewards.dtype) / rewards.shape[1]
    logp = batch.policy_logps.masked_fill(batch.outside, 0.0).sum(-1)
    loss = batch.group_mean(-(weights * logp).sum(1))
    with torch.no_grad():
        share = batch.group_mean(won.to(rewards.dtype).mean(1))
        some = share.clamp(min=torch.finfo(rewards.dtype).tiny)
        reward = batch.group_mean((won * rewards).mean(1)) / some
    return LossOutput(loss, group_metrics(batch) | {"winners": share, "winner_reward": reward})
