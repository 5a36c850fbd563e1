"""GN-IVO: group-normalised implicit value optimisation."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from gnivo_edu.batch import GroupBatch, group_log_softmax
from gnivo_edu.objectives.groups import (
    CompletionWeights,
    Lengths,
    Prefixes,
    prefix_coefficients,
    reward_weights,
    softmax_metrics,
)
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import response_metrics


def gnivo(
    batch: GroupBatch,
    alpha: float = 0.2,
    weights: CompletionWeights = "raw",
    prefixes: Prefixes = "all",
    depths: Int[Tensor, " N"] | None = None,
    reward_max: float = 0.0,
    lengths: Lengths = "sum_max",
    horizon: int | None = None,
) -> LossOutput:
    r"""GN-IVO: fit the group softmax of log prefix ratios to the rewards of the group.

        L = mean over prompts of  - sum_t c_t sum_i w_i ( rho_i^t - log sum_j exp rho_j^t ),
        rho_i^t = log pi_theta(s_t^i) - log pi_ref(s_t^i),   w_i = exp((R_i - reward_max)/alpha).

    A depth t counts the tokens included, t = 1..T. The gradient is - sum_i (w_i - W q_i^t) grad log
    pi(s_t^i), with q^t = softmax(rho^t) and W = sum_i w_i: its coefficients sum to zero in each
    group. Nothing is detached.

    `alpha`: reward per nat. `weights`: "raw"; "softmax", raw over their sum in the group;
    "completion", at depth t w_i^t = w_i pi_ref(y_{>t}|s_t)/mu(y_{>t}|s_t), mu = `behaviour_logps`
    the writer of the answer, a constant; "completion_softmax", those over their sum.
    `reward_max`, reward units, keeps weights that are not normalised in range: one number given by
    the task, which scales the loss and leaves its minimiser; a group's maximum would move it.
    `prefixes`: "all" depths; "last", complete responses; "given", the depth `depths` [N] int, drawn
    by the caller from 1..horizon for each prompt.
    Where the reference is the policy itself, as it is at every update of the paper's Algorithm 1,
    rho = 0 and q = 1/K: over all depths t = 1..T the gradient is then - sum_i (w_i - W/K) sum_l
    (T - l + 1) grad log pi(y_l^i), a sequence-level policy gradient that counts token l once for
    each of the T - l + 1 prefixes that hold it (with depths drawn from 1..T, 1/T of it on average).
    The softmax of log-ratios first acts where several updates are made on the same groups, or the
    reference is slower than the policy.

    `lengths`: which depths "all" means for responses of unequal length; a finished one is absorbing
    throughout. "sum_max": sum over t = 1..max_i T_i of the group. "sum_min": sum over t = 1..min_i
    T_i. "horizon": mean over t = 1..`horizon`, the average of "given". Biased, kept for study:
    "mean_max" and "mean_min" divide the sums by their number of terms; with "own", the term of
    response i at depth t <= T_i has coefficient 1/T_i (its t ~ U{1..T_i}), against the whole group
    at that t.

    Population minimiser (tabular policy, on-policy groups, reference = sampler):
    "raw" weights: pi* = pi_ref e^{R/alpha}/Z, for every K >= 2, every single depth (its prefix law)
    and their sum, under sum_max, sum_min, horizon. "softmax" weights: pi* at complete responses
    only; before the end, and in sums, biased, by O(1/K) as K grows (K = 2 may be nearer than 4).
    mean_max, mean_min, own: biased, since 1/T depends on the future of a prefix. (The two means are
    exact where it does not: at T = 2, mean_min also where answers differ in length only. "own" is
    not: a finished answer leaves the sum over i, and stays in the softmax.)

    Population minimiser with completion weights, at every depth and in those sums: "completion":
    pi* under every sampler with support, even one for each answer, since E_mu[w^t | s_t] =
    e^{V(s_t)}. "completion_softmax": pi* on answers of the policy itself, mu = pi, where log w_i^t
    = R_i/alpha - h_i + rho_i^t for h_i = rho of the whole answer: at pi*, log Z + rho_i^t, and no
    group has a gradient. On others' answers, as on its own once it has moved, pi* at complete
    responses only. Where the reference is the sampler, both are the weights without completion.

    Source: poster of GN-IVO (ICLR 2026), Eq. 9; "softmax" is what its experiments use after Eq. 9
    (second-hand). Departures: the paper draws t ~ U{1..T} and does not say what T is for unequal
    lengths: here all depths are summed, unless prefixes="given" brings drawn ones. Its reference is
    the sampler; here it is `reference_logps`, which defaults to the sampler. Completion weights are
    this project's, see notebooks/theorems.md.

    Metrics: `reward`, mean; `logratio`, mean log pi_theta/pi_ref of responses, nats; `misfit`, KL
    of the group softmax of log-ratios from that of R/alpha at complete responses, nats;
    `effective_size`, 1/sum of squared softmax(R/alpha), in 1..K; `tied_groups`, share of groups
    whose rewards are all equal.
    Raises ValueError on K = 1, alpha <= 0, a weight that overflows, depths or a horizon that do not
    fit.

    >>> import torch
    >>> half = torch.full((1, 2, 1), 0.5).log()
    >>> rewards = torch.tensor([[1.0, 0.0]])
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=rewards, mask=half < 0
    ... )
    >>> gnivo(batch, alpha=1.0).loss  # (e + 1) log 2
    tensor(2.5773)
    """
    rho = batch.prefix_logratio  # log pi_theta/pi_ref of the first t tokens
    w = reward_weights(batch, alpha, weights=weights, reward_max=reward_max)
    c = prefix_coefficients(batch, prefixes, lengths=lengths, depths=depths, horizon=horizon)
    log_q = group_log_softmax(rho)  # over the K responses of a group, never over tokens
    loss = batch.group_mean(-(c * w * log_q).sum((1, 2)))
    return LossOutput(loss, softmax_metrics(batch, rho, alpha=alpha) | response_metrics(batch))
