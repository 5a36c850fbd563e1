"""Claims of theorems 3 to 5 of notebooks/theorems.md: what weights in a group do to GN-IVO."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import Answers, Population, expect, point_at
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
    PROBLEMS,
    TREE,
    fails,
    holds,
)
from gnivo_edu.population.claims.theorems import PAGE
from gnivo_edu.population.questions import loss_and_push, relative_error

Rule = Callable[[Tensor, Tensor], Tensor]  # softmax of R/alpha, and of the model -> weights
SIZES = (16, 32, 64, 128, 256, 512)
SEED = 30  # a tree on which pairs have the smaller bias; about one in eight does


def _plain(p: Tensor, q: Tensor) -> Tensor:
    return p


def _second_order(p: Tensor, q: Tensor) -> Tensor:
    return p * (1 + p - q)


def _turned(p: Tensor, q: Tensor) -> Tensor:
    return p * (1 - p + q)


def _gap(
    law: Float[Tensor, " n"], nats: Float[Tensor, " n"], first: int, K: int, rule: Rule
) -> float:
    """v - V of one prefix less that of the other, nats, v what the weights of a rule fit.

    Answers 0..`first` - 1 go through one prefix, the others through the other; `law`: their chances
    under the reference; `nats`: R/alpha.
    """
    # A group is told by how often it holds each answer.
    times = torch.arange(K + 1, dtype=torch.float64)
    others = torch.cartesian_prod(*[times] * (len(law) - 1))
    others = others[others.sum(1) <= K]
    counts = torch.cat([K - others.sum(1, True), others], 1)
    log_chance = torch.lgamma(counts.sum(1) + 1) - torch.lgamma(counts + 1).sum(1)
    chance = (log_chance + counts @ law.log()).exp()
    w = nats.exp()
    p = w / (counts @ w)[:, None]
    through = (torch.arange(len(law)) >= first).double()

    def excess(difference: float) -> float:
        e_v = (difference * through).exp()
        q = e_v / (counts @ e_v)[:, None]
        weights = rule(p, q)
        weights = weights / (counts * weights).sum(1, True)
        return float(chance @ (counts * (weights - q) @ through))

    # At rest the second prefix gets on average what the model gives it; the excess falls with v.
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    value = [float((law[part] @ w[part] / law[part].sum()).log()) for part in _parts(first)]
    return low - (value[1] - value[0])


def _parts(first: int) -> tuple[slice, slice]:
    return slice(None, first), slice(first, None)


def _limit(rule: Rule, law: str) -> float:
    """lim K (v - V) as K grows, over the difference that -Var(w|s)/(Z e^V), or the law named, has
    between a prefix with an open reward and one that settles it.
    """
    mass = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    nats = torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64) / ALPHA
    terms = [K * _gap(mass, nats, first=1, K=K, rule=rule) for K in SIZES]
    # Richardson: what is left of the terms falls as 1/K, 1/K^2, ...; the sizes double.
    for order in range(1, len(SIZES)):
        terms = [
            (2**order * finer - coarser) / (2**order - 1) for coarser, finer in pairwise(terms)
        ]
    w, share = nats.exp(), mass[1:] / mass[1:].sum()
    mean, Z = share @ w[1:], mass @ w
    variance = share @ w[1:].square() - mean.square()
    scale = {"Var/(Z e^V)": Z * mean, "Var/Z^2": Z.square()}[law]
    return float(terms[0] / (-variance / scale))


def _rise(alpha: float) -> float:
    """By how much the bias of pairs is below that of groups of four, nats; 0 where it is above."""
    rewards = torch.rand(4, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    reference = exact.random_reference(2, 2, seed=SEED)
    tree = exact.enumerate_tree_from_rewards(rewards.numpy(), 2, reference=reference)
    answers = Answers.of(tree)
    law = answers.law(answers.reference)
    pairs, fours = (
        abs(_gap(law, answers.rewards / alpha, first=2, K=K, rule=_plain)) for K in (2, 4)
    )
    return max(0.0, fours - pairs)


def _halves(batch: GroupBatch, other_half: bool) -> LossOutput:
    """GN-IVO at every depth, the raw weights of each half of a group over the sum of the other
    half, or of its own.
    """
    w = (batch.rewards / ALPHA).exp()
    middle = w.shape[1] // 2
    total = torch.zeros_like(w[:, 0])
    for half, rest in (_parts(middle), _parts(middle)[::-1]):
        divisor = w[:, rest if other_half else half].sum(1, keepdim=True)
        log_q = batch.prefix_logratio[:, half].log_softmax(1)
        total = total - ((w[:, half] / divisor)[..., None] * log_q).sum((1, 2))
    return LossOutput(batch.group_mean(total))


def _halves_at_optimum(other_half: bool) -> float:
    """Norm of the expected gradient of halves at pi*, K = 2 + 2."""
    answers = problem("tree")
    population = Population.of(answers, 4, ordered=True)
    point = point_at(answers, ALPHA, policy=answers.tilted(answers.rewards / ALPHA))
    objective = partial(_halves, other_half=other_half)
    return float(expect(objective, population, point=point).gradient["logits"].norm())


def _letter(by_position: bool) -> float:
    """Relative difference of GN-IVO's push on pi = pi_old = pi_ref from (w_i - W/K) times T - l + 1
    on token l, or times the mean of these numbers on every token."""
    answers = problem("16 answers")
    batch = Population.of(answers, 2).batch(point_at(answers, ALPHA).detached())
    _, push = loss_and_push(objectives.gnivo, batch, alpha=ALPHA)
    w = (batch.rewards / ALPHA).exp()
    prefixes = torch.arange(push.shape[-1], 0, -1).double()
    times = prefixes if by_position else prefixes.mean().expand_as(prefixes)
    assert batch.group_weight is not None
    excess = batch.group_weight[:, None] * (w - w.mean(1, keepdim=True))
    return relative_error(excess[..., None] * times, push)


TWO = "a prefix that settles the reward and one that leaves it open"
CLAIMS = [
    holds(
        "softmax-risk",
        "Softmax weights are risk-averse: K (v - V) tends to -Var(w|s)/(Z e^V) and a constant.",
        source=f"{PAGE}, theorem 3",
        read="third party",
        where=f"alpha {ALPHA:g}, {TWO}, K = 16 to 512, extrapolated",
        unit="relative error of the limit",
        number=lambda: abs(_limit(_plain, law="Var/(Z e^V)") - 1),
        unless="the variance is divided by Z^2",
        counterfactual=lambda: abs(_limit(_plain, law="Var/Z^2") - 1),
    ),
    fails(
        "softmax-bias-falls",
        "Softmax weights are biased, and less so with every larger group.",
        source=f"a reading of a bias of O(1/K), which {PAGE}, theorem 3, warns of",
        read="story",
        where="alpha 0.1, two prefixes of two answers each, K = 2 against 4",
        unit="by how much the bias rises, nats",
        number=lambda: _rise(alpha=0.1),
        unless="alpha is 1: rewards within a nat of each other",
        counterfactual=lambda: _rise(alpha=1.0),
    ),
    holds(
        "second-order-weights",
        "Weights in proportion to p (1 + p - q) have a bias of O(1/K^2).",
        source=f"{PAGE}, theorem 4",
        read="third party",
        where=f"alpha {ALPHA:g}, {TWO}, K = 16 to 512, extrapolated",
        unit="limit of K (v - V), relative to that of softmax weights",
        number=lambda: abs(_limit(_second_order, law="Var/(Z e^V)")),
        unless="the sign of the correction is turned: p (1 - p + q)",
        counterfactual=lambda: abs(_limit(_turned, law="Var/(Z e^V)")),
    ),
    holds(
        "crossed-halves",
        "Weights of each half of a group over the sum of the other half are unbiased at every K.",
        source=f"{PAGE}, theorem 4",
        read="third party",
        where=f"{TREE}, K = 2 + 2, reference samples, at pi*",
        unit="norm of the expected gradient",
        number=lambda: _halves_at_optimum(other_half=True),
        unless="each half is divided by its own sum",
        counterfactual=lambda: _halves_at_optimum(other_half=False),
    ),
    holds(
        "gnivo-letter",
        "Where policy, sampler and reference are one, as at every update of Algorithm 1, GN-IVO is "
        "a policy gradient that counts token l of T T - l + 1 times.",
        source=f"{PAGE}, theorem 5",
        read="third party",
        kind="identity",
        where=f"alpha {ALPHA:g}, {PROBLEMS['16 answers']}, K = 2, at the reference",
        unit="relative error of the push",
        number=lambda: _letter(by_position=True),
        unless="every token counts the same",
        counterfactual=lambda: _letter(by_position=False),
    ),
]
