"""Claims of VIMPO, and of the questions asked under its paper."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.population import Population, expect, laws, point_at, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.atlas.vimpo import vimpo_actor
from gnivo_edu.population.claims.claim import (
    ALPHA,
    TREE,
    Curve,
    entry,
    fails,
    gradient,
    holds,
    holds_if,
    off_law,
    off_optimum,
)
from gnivo_edu.population.questions import relative_error

Policy = Float[Tensor, "S V"]
WAY = (0.25, 0.5, 0.75)  # shares of R/alpha on the way from the reference to pi*


def _off_pi_v(variant: str) -> float:
    """Total variation from pi_V of where a row ends."""
    return total_variation(entry("vimpo", variant).law, laws.vimpo_law(problem("tree"), ALPHA))


def _actor_update(policy: Policy) -> Tensor:
    return -gradient(vimpo_actor, problem("tree"), policy=policy, group_size=2, sampler="current")


def _actor_off_kl(sign: float) -> float:
    """Distance of VIMPO's actor update at pi* from a step up (+1) or down (-1) the KL, relative."""
    answers = problem("tree")
    policy = answers.tilted(answers.rewards / ALPHA)
    # A step up the KL: alpha sum_s visits(s) grad KL(s), the visits held fixed, per token.
    logits = point_at(answers, ALPHA, policy=policy).logits.requires_grad_()
    cost = (answers.visits(policy) * answers.kl(answers.policy(logits))).sum()
    tokens = float(answers.law(policy) @ answers.lengths.double())
    up = torch.autograd.grad(ALPHA / tokens * cost, logits)[0]
    return relative_error(_actor_update(policy), sign * up)


def _actor_cosine(policy: Policy) -> float:
    """Cosine of VIMPO's actor update with the gradient of J = E[R] - alpha KL."""
    answers = problem("tree")
    logits = point_at(answers, ALPHA, policy=policy).logits.requires_grad_()
    law = answers.law(answers.policy(logits))
    J = law @ (answers.rewards - ALPHA * (law / answers.law(answers.reference)).log())
    uphill, update = torch.autograd.grad(J, logits)[0], _actor_update(policy)
    return float((uphill * update).sum() / (uphill.norm() * update.norm()))


def _on_the_way(share: float) -> Policy:
    answers = problem("tree")
    return answers.tilted(share * answers.rewards / ALPHA)


def _at_pi_v() -> Policy:
    answers = problem("tree")
    return answers.from_law(laws.vimpo_law(answers, ALPHA))


def _actor_curve() -> Curve:
    """The cosine along pi_ref e^{xR/alpha}; at x = 1 the gradient of J is zero."""
    return [{"x": x, "cosine": _actor_cosine(_on_the_way(x))} for x in (*WAY, 1.25, 1.5)]


def _swap(solved_anew: bool) -> float:
    """The gradient of VIMPO's value loss where the reference has been swapped, at the solution for
    the old reference or for the new one; the leave-one-out mean over many: K = 2.
    """
    answers = problem("tree")
    swapped = replace(answers, reference=answers.tilted(answers.rewards.flip(0)))
    solved = swapped if solved_anew else answers
    policy = answers.from_law(laws.vimpo_law(solved, ALPHA))
    value_loss = partial(objectives.vimpo, actor=0.0, baseline="leave_one_out")
    slope = gradient(value_loss, swapped, policy=policy, group_size=2, sampler="current")
    return float(slope.norm())


def _level(refreshed: bool) -> float:
    """VIMPO's value loss at its own rest, group mean, K = 3, less half of E[(R_i - mean R)^2],
    relative to the rewards' variance.
    """
    answers, K = problem("tree"), 3
    policy = answers.from_law(laws.vimpo_law(answers, ALPHA * K / (K - 1)))
    seen = replace(answers, reference=policy) if refreshed else answers
    population = Population.of(seen, K, sampler="current")
    point = point_at(seen, ALPHA, policy=policy)
    loss = expect(objectives.vimpo, population, point=point, alpha=ALPHA, actor=0.0).loss
    law = answers.law(policy)
    variance = float(law @ answers.rewards.square() - (law @ answers.rewards).square())
    return abs(loss - (1 - 1 / K) * variance / 2) / variance


OWN = "value loss, leave-one-out mean"
CLAIMS = [
    holds_if(
        "vimpo-optimum",
        "A policy that minimises VIMPO's value loss is the KL-regularised optimum.",
        source="VIMPO, arXiv 2606.20008, as summarised",
        read="third party",
        unless="the response is one step",
        **off_optimum("vimpo", OWN, instead="value loss, leave-one-out mean, one step"),
    ),
    holds(
        "vimpo-law",
        "VIMPO's value loss ends at pi_V, tilted by raw values under itself.",
        source="derived in this project",
        read="third party",
        unless="the values pay for the KL of later tokens, as those of pi* do",
        **off_law(
            "vimpo",
            OWN,
            instead=lambda row: laws.vimpo_law(problem(row.problem), row.alpha, price=row.alpha),
        ),
    ),
    holds_if(
        "vimpo-mean",
        "The group mean, a response's own reward included, is a harmless baseline in VIMPO's "
        "value loss.",
        source="backprop07/VIMPO, baseline by uid",
        read="code",
        where=f"{TREE}, K = 3, on-policy",
        unit="total variation from pi_V at alpha",
        number=lambda: _off_pi_v("value loss, group mean"),
        unless="the response itself is left out; else alpha becomes alpha K/(K - 1)",
        counterfactual=lambda: _off_pi_v(OWN),
    ),
    holds_if(
        "vimpo-actor",
        "VIMPO's actor branch improves E[R] - alpha KL.",
        source="VIMPO, abstract",
        read="paper",
        where=f"{TREE}, K = 2, on-policy, lambda 1, at pi_V, where the value loss rests",
        unit="how far the cosine with the gradient of E[R] - alpha KL is below 0",
        number=lambda: max(0.0, -_actor_cosine(_at_pi_v())),
        unless="the policy is still on its way: pi_ref e^(xR/alpha), x = 1/4, 1/2, 3/4",
        counterfactual=lambda: max(0.0, *(-_actor_cosine(_on_the_way(x)) for x in WAY)),
        curve=_actor_curve,
    ),
    holds(
        "vimpo-actor-climbs",
        "In expectation VIMPO's actor branch climbs the KL at fixed occupancies.",
        source="derived in this project",
        read="third party",
        where=f"{TREE}, K = 2, on-policy, lambda 1, at pi*",
        unit="distance from a step up the KL, relative",
        number=lambda: _actor_off_kl(sign=1.0),
        unless="the step is down the KL",
        counterfactual=lambda: _actor_off_kl(sign=-1.0),
    ),
    fails(
        "vimpo-swap",
        "A policy that solved VIMPO's value loss still solves it after the reference is swapped.",
        source="doubted in question 1 under VIMPO's paper page",
        read="paper",
        where=f"{TREE}, K = 2, on-policy, leave-one-out mean; the new reference is the old one "
        "tilted by other rewards",
        unit="norm of the expected gradient after the swap",
        number=lambda: _swap(solved_anew=False),
        unless="it is solved anew, for the new reference",
        counterfactual=lambda: _swap(solved_anew=True),
    ),
    holds(
        "vimpo-refresh",
        "Right after a refresh VIMPO's value loss is half the rewards' variance in the group: "
        "nothing of what was learnt is left in it (vimpo-jump says how far it jumps).",
        source="question 3 under VIMPO's paper page",
        read="third party",
        kind="identity",
        where=f"{TREE}, K = 3, on-policy, group mean, at the loss's own rest",
        unit="relative to the variance",
        number=lambda: _level(refreshed=True),
        unless="it is the moment before the refresh",
        counterfactual=lambda: _level(refreshed=False),
    ),
]
