"""Online DPO: preferences between the responses of a group, labelled by their rewards."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn.functional import logsigmoid

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import check_choice, check_group, group_metrics

Labels = Literal["hard", "soft"]
Pairs = Literal["all", "first"]
Ties = Literal["half", "first", "skip"]
Form = Literal["sigmoid", "ipo"]


def online_dpo(
    batch: GroupBatch,
    alpha: float = 0.1,
    labels: Labels = "hard",
    label_temperature: float = 1.0,
    pairs: Pairs = "all",
    ties: Ties = "half",
    form: Form = "sigmoid",
) -> LossOutput:
    r"""Online DPO: classify which of two responses to a prompt is preferred, by their log-ratios.

        L = mean over prompts and pairs i < j of  p_ij f(m_ij) + (1 - p_ij) f(-m_ij),
        m_ij = h_i - h_j,   h = log pi_theta(y)/pi_ref(y),
        "sigmoid":  f(m) = - log sigma(alpha m);   "ipo":  f(m) = (m - 1/(2 alpha))^2.

    `alpha`: DPO's beta. `labels` p_ij, the probability that i is preferred: "hard", 1 if R_i > R_j,
    0 if R_i < R_j; "soft", Bradley-Terry, sigma((R_i - R_j)/tau), tau = `label_temperature`, reward
    units. `ties` of hard labels: p = "half"; the "first" of the two, a coin flip that pulls h_i -
    h_j about; "skip" the pair (its weight is 0, the divisor stays). `pairs`: "all" K(K - 1)/2, or
    the "first" two responses only. Whole responses only: reasoning steps change nothing.

    Population minimiser. Soft labels, sigmoid: pi_ref e^{R/(alpha tau)}/Z, for every sampler that
    covers the reference and every K; that is pi* at temperature alpha when tau = 1. Hard labels,
    sigmoid: none, the margin of a pair that is never tied grows for ever, and the mass goes to the
    best response. ipo: pi proportional to pi_ref e^{P/alpha}, P(y) the probability that y is
    preferred to a sample of the sampler. No reward size enters hard labels.

    Source: arXiv 2402.04792 (not opened); TRL 1.16 `OnlineDPOTrainer` (run), which is
    pairs="first", ties="first". Departures: all pairs and half-half ties by default, so that the
    order in the group does not matter; soft labels. TRL's penalty for a missing end of sequence
    belongs to the reward.

    Metrics: `reward`, mean; `logratio`, mean h, nats; `tied_groups`; `tied_pairs`, share;
    `accuracy`, share of untied pairs whose margin has the sign of the reward gap (1 if there are
    none); `margin`, mean h of the better minus that of the worse, nats. Raises ValueError on K = 1,
    alpha <= 0, label_temperature <= 0 and unknown names.

    >>> half = torch.full((1, 2, 1), 0.5).log()
    >>> rewards = torch.tensor([[1.0, 0.0]])
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=rewards, mask=half < 0
    ... )
    >>> online_dpo(batch).loss, online_dpo(batch, alpha=0.5, form="ipo").loss  # log 2, (0 - 1)^2
    (tensor(0.6931), tensor(1.))
    """
    check_alpha(alpha)
    check_group(batch, "online_dpo")
    for name, value, literal in (
        ("labels", labels, Labels),
        ("pairs", pairs, Pairs),
        ("ties", ties, Ties),
        ("form", form, Form),
    ):
        check_choice(name, value, literal=literal)
    if not label_temperature > 0:
        raise ValueError(
            f"label_temperature must be positive, in reward units, got {label_temperature}"
        )
    size = batch.rewards.shape[1] if pairs == "all" else 2
    i, j = torch.triu_indices(size, size, offset=1, device=batch.rewards.device)
    gap = batch.rewards[:, i] - batch.rewards[:, j]
    h = batch.sequence_logratio
    margin = h[:, i] - h[:, j]
    tied = gap == 0
    if labels == "soft":
        p = (gap / label_temperature).sigmoid()
    elif ties == "first":
        p = (gap >= 0).to(gap.dtype)
    else:
        p = (1 + gap.sign()) / 2
    if form == "sigmoid":
        terms = -p * logsigmoid(alpha * margin) - (1 - p) * logsigmoid(-alpha * margin)
    else:
        target = 1 / (2 * alpha)
        terms = p * (margin - target).square() + (1 - p) * (margin + target).square()
    if labels == "hard" and ties == "skip":
        terms = terms.masked_fill(tied, 0.0)
    with torch.no_grad():
        untied = batch.group_mean((~tied).to(gap.dtype).mean(1))
        some = untied.clamp(min=torch.finfo(gap.dtype).tiny)
        right = batch.group_mean((margin * gap > 0).to(gap.dtype).mean(1))
        metrics = group_metrics(batch) | {
            "tied_pairs": 1 - untied,
            "accuracy": torch.where(untied > 0, right / some, 1.0),
            "margin": batch.group_mean((margin * gap.sign()).mean(1)) / some,
        }
    return LossOutput(batch.group_mean(terms.mean(1)), metrics)
