"""What users of policy-gradient trainers ask most, answered by a few lines that compute.

Elective E2 of the course walks through them; groups with equal rewards are in `ties`. A *push* is
minus the slope of a loss with respect to the log-probability of a token or an answer: what gradient
descent raises or lowers, and how much. Threads are named as repository#number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact.tree import Tables, digits
from gnivo_edu.objectives.surrogate import Estimator, Normaliser, average, centred, kl_estimate
from gnivo_edu.policies import SampledGroups, all_groups, make_group_batch, tabulate
from toy_envs import TokenMDP

Objective = Callable[..., objectives.LossOutput]
Means = Literal["whole group", "micro-batch"]
Mask = Literal["lengths", "not pad"]
# A policy, or the explicit V_theta of an objective without one.
LEARNT = ("policy_logps", "prefix_values")


# --- 1. "The loss is 0. Is it broken?" ------------------------------------------------------------


def loss_and_push(
    objective: Objective, batch: GroupBatch, **settings: Any
) -> tuple[float, Float[Tensor, "N K T"]]:
    r"""Question: the loss is 0; does nothing learn? Answer: value and slope are two things.

    On-policy every ratio u is 1, and advantages A are centred in their group, so for whole answers

        L = - mean_i u_i A_i = - mean_i A_i = 0,     - dL / d log pi(y_i) = A_i / K.

    Returns the loss and the push on every token, -dL/d log pi, [N, K, T]; for an objective of an
    explicit V_theta, -dL/dV_theta of every prefix. With a KL term in the loss, the value on show is
    alpha times the KL estimate. Source: trl#2703, trl#3452, open-r1#239.

    >>> half = torch.full((1, 2, 1), 0.5).log()
    >>> rewards, mask = torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, 1)
    >>> batch = GroupBatch(policy_logps=half, behaviour_logps=half, rewards=rewards, mask=mask)
    >>> loss, push = loss_and_push(objectives.rloo, batch)
    >>> loss, push.flatten().tolist()
    (0.0, [0.5, -0.5])
    """
    leaves = {
        name: getattr(batch, name).detach().clone().requires_grad_()
        for name in LEARNT
        if getattr(batch, name) is not None
    }
    loss = objective(replace(batch, **leaves), **settings).loss
    slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    pushes = [-slope for slope in slopes if slope is not None]
    # Adding 0.0 turns the -0.0 of a mean of nothing into 0.0.
    return loss.item() + 0.0, pushes[0] if pushes else torch.zeros_like(batch.policy_logps)


def unexplained(batch: GroupBatch, alpha: float) -> float:
    r"""Question: what should I watch instead? Answer: the share of rewards that nothing explains.

        sqrt( sum_i ( (R_i - mean R) - alpha (h_i - mean h) )^2 / sum_i (R_i - mean R)^2 ),
        h_i = log pi/pi_ref(y_i),

    the residual of GVPO over its target, both root mean squares over the batch: 1 at the reference,
    0 at pi* = pi_ref e^{R/alpha}/Z. nan where every group is tied. A run logs it as
    `fit/residual_rms_over_target_rms`. Source: trl#2703; GVPO, arXiv 2504.19599.
    """
    target = centred(batch.rewards)
    residual = target - alpha * centred(batch.sequence_logratio.detach())
    over, under = (batch.group_mean(x.square().mean(1)) for x in (residual, target))
    return float((over / under).sqrt()) if under > 0 else float("nan")


# --- 4. "I put the KL into the loss, and it does nothing" -----------------------------------------


def kl_in_the_loss(
    mdp: TokenMDP, policy: nn.Module, reference: nn.Module, kind: Estimator
) -> tuple[float, float]:
    """Question: which KL estimator may stand in the loss? Answer: not k1; its mean gradient is 0.

        E_pi[ grad log pi(y)/pi_ref(y) ] = E_pi[ grad log pi(y) ] = grad sum_y pi(y) = 0,

    the sampling law held fixed.

    Returns the exact expected value of the estimator over complete answers, nats, and the norm of
    its exact expected gradient. Elective E1 is about the others. Source: trl#6503, NeMo-RL#2506,
    torchforge#664.
    """
    batch = make_group_batch(
        policy,
        mdp,
        samples=all_groups(mdp, tabulate(policy, mdp), group_size=1),
        reference=reference,
    )
    expected = batch.group_mean(kl_estimate(batch.sequence_logratio, kind).mean(1))
    slopes = torch.autograd.grad(expected, list(policy.parameters()))
    return expected.item(), float(torch.stack([slope.norm() for slope in slopes]).norm())


# --- 8. "My tokenizer pads with the end token" ----------------------------------------------------


def answer_mask(mdp: TokenMDP, answers: SampledGroups, mask: Mask) -> Bool[Tensor, "N K T"]:
    """From the lengths; or `id != pad`, with the end token as pad, which masks that token too."""
    if mask == "lengths" or mdp.eos_token_id is None:
        return answers.mask
    return answers.tokens.where(answers.mask, torch.tensor(mdp.eos_token_id)) != mdp.eos_token_id


def total_probability(mdp: TokenMDP, tables: Tables, mask: Mask = "lengths") -> float:
    """Question: may the end token be masked out? Answer: then these are not probabilities any more.

        sum over complete answers of prod_{t in mask} pi(y_t | y_<t)

    is 1 with the end token, above 1 without.

    Source: trl#4970, MemGen#33, compose-rl#31.

    >>> mdp = TokenMDP(2, 3, eos_token_id=1)
    >>> coin = exact.uniform_reference(2, 3)
    >>> total_probability(mdp, coin), total_probability(mdp, coin, "not pad")  # 1 + 1/2 + 1/4 + 1/8
    (1.0, 1.875)
    """
    answers = all_groups(mdp, tables, group_size=1)
    return float((answers.logps * answer_mask(mdp, answers, mask=mask)).sum(-1).exp().sum())


def credit_gap(mdp: TokenMDP, reference: Tables, alpha: float, mask: Mask = "lengths") -> float:
    """The largest |sum_t log pi*/pi_ref - (R/alpha - log Z)|, nats: the end token's worth."""
    solution = exact.solve(exact.enumerate_tree(mdp, reference), alpha)
    base, best = (
        all_groups(mdp, tables, group_size=1) for tables in (reference, solution.optimal_step_logps)
    )
    credit = ((best.logps - base.logps) * answer_mask(mdp, base, mask=mask)).sum((1, 2))
    rewards = torch.from_numpy(mdp.reward(base.tokens[:, 0].numpy(), base.lengths[:, 0].numpy()))
    return float((credit - (rewards / alpha - solution.log_z)).abs().max())


# --- 10. "Which length normaliser is right?" ------------------------------------------------------


@dataclass(frozen=True)
class LengthBias:
    """A normaliser's exact expected gradient g against s, that of the plain sum over tokens.

    `scale` c = <g, s>/<s, s>, what a learning rate can mend; `bias` |g - c s|/|g|, what it cannot:
    the sine of the angle between them. `per_token` [n], the push on a token of each answer, divided
    by c, reward units.
    """

    normaliser: Normaliser
    scale: float
    bias: float
    per_token: Float[Tensor, " n"]


def length_bias(
    mdp: TokenMDP, policy: nn.Module, group_size: int, normaliser: Normaliser
) -> LengthBias:
    r"""Question: by which length is a loss divided? Answer: only a constant one is exact.

        g = E[ sum_i (A_i / (K d_i)) grad log pi(y_i) ],  A_i = R_i - mean R,  groups drawn from pi,
        d_i = 1 (sum), 1 (norm), T_i (seq-mean-token-mean), mean_j T_j of the group (token-mean, one
            group a batch).

    With d = T_i it is (1 - 1/K) E[ (R - E R)/T grad log pi ]: a token of a short right answer is
    raised more than one of a long right answer, and a token of a long wrong answer lowered less
    than one of a short wrong answer. By enumeration of all groups; answers in the order of
    `all_groups(mdp, tables, 1)`. Source: trl#3138, trl#4988, understand-r1-zero#25; arXiv
    2503.20783.
    """
    tables = tabulate(policy, mdp)
    single = make_group_batch(policy, mdp, samples=all_groups(mdp, tables, group_size=1))
    groups = all_groups(mdp, tables, group_size=group_size)
    rewards = single.rewards[:, 0]
    logp = single.policy_logps.sum((1, 2))
    law = logp.detach().exp()
    n = len(law)
    # The ordered groups are the numbers 0..n^K - 1 in base n: digit k is the k-th answer's number.
    choice = torch.from_numpy(digits(np.arange(n**group_size), n, count=group_size))
    lengths = groups.lengths.double()
    divisors = {"seq-mean-token-mean": lengths, "token-mean": lengths.mean(1, keepdim=True)}
    assert groups.group_weight is not None
    per_answer = centred(rewards[choice]) / (group_size * divisors.get(normaliser, 1.0))
    terms = groups.group_weight[:, None] * per_answer
    # g = sum_y push(y) grad log pi(y); for the plain sum, push is (1 - 1/K) pi(y) (R - E R).
    push = torch.zeros(n, dtype=torch.float64).index_add(0, choice.flatten(), terms.flatten())
    plain = (1 - 1 / group_size) * law * (rewards - law @ rewards)
    slopes = (
        torch.autograd.grad(weights @ logp, list(policy.parameters()), retain_graph=True)
        for weights in (push, plain)
    )
    g, s = (torch.cat([slope.flatten() for slope in by_parameter]) for by_parameter in slopes)
    scale = float(g @ s / (s @ s))
    bias = float((g - scale * s).norm() / g.norm())
    return LengthBias(normaliser, scale, bias=bias, per_token=push / law / scale)


# --- 11. "The result depends on the micro-batch size"


def scattered_gvpo(
    batch: GroupBatch, alpha: float, order: Int[Tensor, " NK"], size: int, means: Means
) -> Float[Tensor, "N K T"]:
    r"""Question: what of the mean of a scattered group? Answer: compute it once, and freeze it.

        sum over micro-batches of  1/(2 N (K - 1)) sum_{i in it} w_i^2,
        w_i = (R_i - mean R) - alpha (h_i - mean h),

    has exactly the gradient of `gvpo` if the means are those of the whole group, even without
    gradient, since the w_i of a group sum to 0: sum_i w_i grad (mean h) = 0. With the means of what
    lies in the micro-batch it has another one. `order`: the N K answers as the trainer shuffled
    them, `size` of them in each micro-batch. Returns the accumulated push, -dL/d log pi. A loss
    that couples a group in other ways (a softmax) needs two passes. Source: trl#3021, trl#3017,
    tt-metal#46548.
    """
    N, K = batch.rewards.shape
    group = torch.arange(N).repeat_interleave(K)
    frozen = (batch.rewards - alpha * batch.sequence_logratio.detach()).mean(1)

    def loss(live: GroupBatch, rows: Tensor) -> Tensor:
        score = (live.rewards - alpha * live.sequence_logratio).flatten()[rows]
        same = (group[rows][:, None] == group[rows]).to(score.dtype)
        centre = frozen[group[rows]] if means == "whole group" else same @ score / same.sum(1)
        return (score - centre).square().sum() / (2 * N * (K - 1))

    return _accumulated(batch, order, size=size, loss=loss)


def scattered_average(
    batch: GroupBatch, normaliser: Normaliser, order: Int[Tensor, " NK"], size: int
) -> Float[Tensor, "N K T"]:
    """Question: and the average over tokens? Answer: a mean of token means is no token mean.

    The same advantages R_i - mean R throughout; each micro-batch averages its tokens by
    `normaliser`, and the trainer takes the mean over micro-batches. With `size` = N K this is the
    undivided batch. A mean over answers of their own sums or means does not change; "token-mean"
    does, unless the caller divides by the tokens of the whole batch. Returns the accumulated push.
    Source: trl#3021, trl#7206, mlx-lm#1413.
    """
    advantages = centred(batch.rewards).flatten()

    def loss(live: GroupBatch, rows: Tensor) -> Tensor:
        fields = ("policy_logps", "behaviour_logps", "mask")
        part = GroupBatch(
            **{name: getattr(live, name).flatten(0, 1)[rows][None] for name in fields},
            rewards=live.rewards.flatten()[rows][None],
        )
        terms = -advantages[rows][None, :, None] * part.policy_logps.masked_fill(~part.mask, 0.0)
        return average(part, terms, normaliser=normaliser) * len(rows) / advantages.numel()

    return _accumulated(batch, order, size=size, loss=loss)


def _accumulated(
    batch: GroupBatch, order: Tensor, size: int, loss: Callable[[GroupBatch, Tensor], Tensor]
) -> Float[Tensor, "N K T"]:
    count = batch.rewards.numel()
    if sorted(order.tolist()) != list(range(count)) or size < 1 or count % size:
        raise ValueError(
            f"order must hold each of 0..{count - 1} once, and size must divide {count}, got size "
            f"{size}"
        )
    leaf = batch.policy_logps.detach().clone().requires_grad_()
    push = torch.zeros_like(leaf)
    for rows in order.split(size):
        push -= torch.autograd.grad(loss(replace(batch, policy_logps=leaf), rows), leaf)[0]
    return push


def relative_error(push: Tensor, true: Tensor) -> float:
    """|push - true| / |true|."""
    return float((push - true).norm() / true.norm())
