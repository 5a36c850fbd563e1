"""The group objective over an explicit V_theta: the step before GN-IVO."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from gnivo_edu.batch import GroupBatch, MissingField, group_log_softmax
from gnivo_edu.objectives.groups import (
    Lengths,
    Prefixes,
    Weights,
    prefix_coefficients,
    reward_weights,
    softmax_metrics,
)
from gnivo_edu.objectives.output import LossOutput


def group_value(
    batch: GroupBatch,
    alpha: float = 0.2,
    weights: Weights = "raw",
    prefixes: Prefixes = "all",
    depths: Int[Tensor, " N"] | None = None,
    reward_max: float = 0.0,
    lengths: Lengths = "sum_max",
    horizon: int | None = None,
) -> LossOutput:
    """The group objective over an explicit V_theta of prefixes, `batch.prefix_values`, in nats.

        L = mean over prompts of  - sum_t c_t sum_i w_i ( V_i^t - log sum_j exp V_j^t ),
        V_i^t = V_theta(s_t^i).

    log Z never appears. Settings, metrics (but `logratio`) and errors are those of `gnivo`.
    `prefix_values` [N, K, T] holds V_theta after t tokens in column t - 1; what stands after the
    end of a response is its last value.

    Population minimiser ("raw", groups from the reference): V_theta = V + log C_t, with one
    constant C_t(x) per depth that the loss cannot see (Theorem 2); it ranks siblings of one depth,
    not depths. A finished answer has one value at all later depths: from the first depth at which
    an answer can end, the constants are one.

    Source: poster of GN-IVO (ICLR 2026), Eq. 7. Departures: the one-sample weight e^{R/alpha}
    stands for e^{V(s_t)}, its conditional mean, so that no soft value need be known; sums run over
    j = 0..K-1 in both softmaxes. Between sum_j e^{V_j} and the cross-entropy the poster, as it was
    read, prints a minus sign: a product is meant. With V known both rest at V + log C_t; with one
    sample in its place the minus leaves weights that a softmax normalises, and they are biased.

    >>> import torch
    >>> zeros = torch.zeros(1, 2, 1)
    >>> values = torch.tensor([[[5.0], [4.0]]])  # R/alpha + 4: it fits, whatever the constant
    >>> batch = GroupBatch(
    ...     policy_logps=zeros, behaviour_logps=zeros, mask=zeros == 0,
    ...     rewards=torch.tensor([[1.0, 0.0]]), prefix_values=values,
    ... )
    >>> group_value(batch, alpha=1.0).metrics["misfit"].abs() < 1e-6
    tensor(True)
    """
    if batch.prefix_values is None:
        raise MissingField(
            "prefix_values",
            "group_value needs prefix_values [N, K, T], V_theta of the prefix after t tokens, in "
            "nats",
        )
    values = batch.absorb(batch.prefix_values)  # V_theta after the first t tokens
    w = reward_weights(batch, alpha, weights=weights, reward_max=reward_max)
    c = prefix_coefficients(batch, prefixes, lengths=lengths, depths=depths, horizon=horizon)
    log_q = group_log_softmax(values)  # over the K responses of a group, never over tokens
    loss = batch.group_mean(-(c * w * log_q).sum((1, 2)))
    return LossOutput(loss, softmax_metrics(batch, values, alpha=alpha))
