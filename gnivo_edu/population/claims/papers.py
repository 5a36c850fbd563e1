"""Claims of the papers: GN-IVO, GVPO, VIMPO, DRO, OREO, and the questions asked about them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import torch

from gnivo_edu import exact, objectives
from gnivo_edu.population import Population, expect, laws, point_at, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.atlas.vimpo import vimpo_actor
from gnivo_edu.population.claims.claim import (
    ALPHA,
    TV,
    angle,
    entry,
    fails,
    gradient,
    holds,
    holds_if,
    miss,
    off_law,
    off_optimum,
)
from gnivo_edu.population.questions import loss_and_push, relative_error


@cache
def _shift(group_size: int) -> exact.Certificate:
    return exact.verify_constant_shift(problem("tree").tree, ALPHA, group_size=group_size)


def _index() -> tuple[float, float]:
    """The targets as printed (from j = 1) sum to more than one; from j = 0 they do not."""
    table = exact.index_question(problem("tree").tree, ALPHA, t=1, group_size=3).table
    rows = [row for row in table if row["model from j"] == 0]
    sums = {row["targets from j"]: row["targets sum to"] for row in rows}
    return abs(sums[1] - 1), abs(sums[0] - 1)


def _one_batch() -> tuple[float]:
    """Spread over an answer's tokens of what its reward gives them, per prefix that they are in."""
    answers = problem("16 answers")
    batch = Population.of(answers, 2).batch(point_at(answers, ALPHA).detached())
    _, push = loss_and_push(objectives.gnivo, batch, alpha=ALPHA)
    # Token t of T is inside T - t + 1 of the prefixes; divided by that count, what it gets is one
    # number per answer.
    per_prefix = push / torch.arange(push.shape[-1], 0, -1)
    return (float((per_prefix.amax(-1) - per_prefix.amin(-1)).abs().max()),)


def _unbiased() -> tuple[float]:
    """E[GVPO loss] against half the variance of R - alpha h, which needs no group."""
    answers = problem("tree")
    point = point_at(answers, ALPHA, policy=answers.tilted(answers.rewards))
    law = answers.law(answers.reference)
    h = (answers.law(answers.policy(point.logits)) / law).log()
    rest = answers.rewards - ALPHA * h
    variance = float(law @ rest.square() - (law @ rest).square())
    losses = [
        expect(objectives.gvpo, Population.of(answers, K), point=point, alpha=ALPHA).loss
        for K in (2, 3, 4)
    ]
    return (max(abs(loss - variance / 2) for loss in losses),)


def _vimpo_swap() -> tuple[float]:
    """The gradient of VIMPO's value loss at its own solution, once the reference is another."""
    answers = problem("tree")
    policy = answers.from_law(laws.vimpo_law(answers, ALPHA))
    swapped = replace(answers, reference=answers.tilted(answers.rewards.flip(0)))
    value_loss = partial(objectives.vimpo, actor=0.0, baseline="leave_one_out")
    slope = gradient(value_loss, swapped, policy=policy, group_size=2, sampler="current")
    return (float(slope.norm()),)


def _vimpo_mean() -> tuple[float, ...]:
    """Total variation from pi_V of where the group mean leads, and the leave-one-out mean."""
    target = laws.vimpo_law(problem("tree"), ALPHA)
    ends = (entry("vimpo", f"value loss, {mean} mean").law for mean in ("group", "leave-one-out"))
    return tuple(total_variation(end, target) for end in ends)


def _refresh() -> tuple[float]:
    """After pi_ref <- pi, the value loss less half the mean squared R_i - mean R, relative."""
    answers = problem("tree")
    policy = answers.from_law(laws.vimpo_law(answers, ALPHA))
    fresh = replace(answers, reference=policy)
    population = Population.of(fresh, 3, sampler="current")
    point = point_at(fresh, ALPHA, policy=policy)
    loss = expect(objectives.vimpo, population, point=point, alpha=ALPHA, actor=0.0).loss
    law = answers.law(policy)
    variance = float(law @ answers.rewards.square() - (law @ answers.rewards).square())
    return (abs(loss - (1 - 1 / 3) * variance / 2) / variance,)


def _actor() -> tuple[float, float]:
    """Distance of VIMPO's actor update from a step down the KL, and up it, relative to its size."""
    answers = problem("tree")
    policy = answers.tilted(answers.rewards / ALPHA)
    update = -gradient(vimpo_actor, answers, policy=policy, group_size=2, sampler="current")
    # A step up the KL: alpha sum_s visits(s) grad KL(s), the visits held fixed, per token.
    logits = point_at(answers, ALPHA, policy=policy).logits.requires_grad_()
    cost = (answers.visits(policy) * answers.kl(answers.policy(logits))).sum()
    tokens = float(answers.law(policy) @ answers.lengths.double())
    up = torch.autograd.grad(ALPHA / tokens * cost, logits)[0]
    return relative_error(update, -up), relative_error(update, up)


def _raw_prompts() -> tuple[float]:
    """1 - cosine of the expected gradients of raw and softmax weights, t = T, at the reference."""
    answers = problem("one step")
    at_reference = partial(gradient, answers=answers, policy=answers.reference, group_size=2)
    gnivo = partial(at_reference, objectives.gnivo, prefixes="last")
    return (angle(gnivo(weights="raw"), gnivo(weights="softmax")),)


POSTER, GNIVO = "GN-IVO, ICLR 2026", "GN-IVO, Eq. 9"
CLAIMS = [
    holds(
        "theorem-1",
        "For every prefix, pi*(s_t) = pi_ref(s_t) e^{V(s_t)}/Z.",
        source=f"{POSTER}, Theorem 1",
        read="poster",
        unit="nats",
        errors=lambda: (
            exact.verify_soft_value_theorem(problem("tree").tree, ALPHA).max_abs_error,
        ),
    ),
    holds(
        "theorem-2",
        "For any K > 1 and t the minimiser is V up to one constant per depth.",
        source=f"{POSTER}, Theorem 2",
        read="poster",
        unit="nats",
        errors=lambda: (max(_shift(K).max_abs_error for K in (2, 3, 4)),),
    ),
    holds_if(
        "index",
        "The targets' denominators run from j = 1.",
        source=f"{POSTER}, Eq. 7 as printed",
        read="poster",
        unit="sum of the targets minus 1",
        errors=_index,
        condition="j = 0 is meant, as in the model",
    ),
    holds(
        "no-log-z",
        "Group normalisation avoids the partition function: adding a constant to V_theta changes "
        "nothing.",
        source=f"{POSTER}, abstract",
        read="poster",
        unit="gradient at V + log C, relative to V = 0",
        errors=lambda: (_shift(3)["gradient_norm_at_shifted_optimum"],),
    ),
    holds(
        "gnivo-optimum",
        "The GN-IVO loss has the optimal policy as its minimiser.",
        source=GNIVO,
        read="poster",
        **off_optimum("gnivo", "raw weights, all depths, K=2"),
    ),
    holds_if(
        "gnivo-softmax",
        "Group-normalised weights softmax(R/alpha) may stand for e^{R/alpha}.",
        source="GN-IVO in practice, as its reviews report",
        read="third party",
        condition="only complete responses enter (t = T)",
        **off_optimum("gnivo", "softmax weights, all depths, K=2", "softmax weights, last depth"),
    ),
    holds_if(
        "gnivo-refresh",
        "Setting pi_old <- pi_theta in every iteration keeps the optimum of the stated objective.",
        source=f"{POSTER}, Algorithm 1",
        read="poster",
        condition="the reference is not refreshed",
        **off_optimum("gnivo", "3 refreshes of the reference", "raw weights, all depths, K=4"),
    ),
    holds(
        "gnivo-compounds",
        "n exact iterations of GN-IVO end at pi_0 e^{nR/alpha}/Z.",
        source="derived in this project",
        read="third party",
        **off_law("gnivo", "3 refreshes of the reference"),
    ),
    holds_if(
        "gnivo-lengths",
        "With responses of unequal length, each may draw its own t ~ U{1..T_i}.",
        source="a reading of Eq. 9, which does not say",
        read="poster",
        condition="t is drawn from 1..horizon and finished responses are absorbing",
        **off_optimum("gnivo", "lengths: each its own 1/T", "lengths: mean over the horizon"),
    ),
    holds_if(
        "gnivo-stale",
        "GN-IVO may learn from answers of another policy.",
        source="a common use of stored samples",
        read="third party",
        condition="only the prefixes are old: completions come from the reference",
        **off_optimum(
            "gnivo",
            "raw weights, stale samples",
            "raw weights, stale prefixes, fresh completions, depth 2",
        ),
    ),
    holds(
        "gnivo-one-batch",
        "In one batch all tokens of a response get the same credit; step credit appears only over "
        "many.",
        source="review 3 of GN-IVO",
        read="third party",
        unit="spread within an answer, per prefix it is in",
        errors=_one_batch,
    ),
    fails(
        "gnivo-one-step-softmax",
        "At complete answers softmax weights only rescale the update of raw ones.",
        source="a common reading of GN-IVO's practice",
        read="third party",
        unit="1 - cosine of the expected gradients at the reference",
        errors=_raw_prompts,
    ),
    holds(
        "gvpo-optimum",
        "GVPO has a unique optimal solution, exactly the KL-constrained optimum.",
        source="GVPO, arXiv 2504.19599, abstract, Theorem 3.1",
        read="paper",
        **off_optimum("gvpo", "reference samples, K=2"),
    ),
    holds(
        "gvpo-sampling",
        "GVPO supports flexible sampling distributions.",
        source="GVPO, abstract, Corollary 3.2",
        read="paper",
        unit=TV,
        errors=lambda: (
            max(
                miss("gvpo", f"any sampler: {s}")
                for s in ("uniform", "a mixture", "the policy itself")
            ),
        ),
    ),
    holds(
        "gvpo-unbiased",
        "With 1/(k - 1) the GVPO loss is unbiased for every k.",
        source="GVPO, Theorem 3.4",
        read="third party",
        unit="reward^2",
        errors=_unbiased,
    ),
    holds_if(
        "gvpo-moving",
        "GVPO whose reference is the rollout policy, as in its code, ends at the KL-constrained "
        "optimum.",
        source="jszkc/GVPO, old_log_probs as reference",
        read="code",
        condition="the reference stays",
        **off_optimum(
            "gvpo", "reference refreshed at every step", "any sampler: the policy itself"
        ),
    ),
    holds_if(
        "vimpo-optimum",
        "A policy with zero VIMPO value loss is the KL-regularised optimum.",
        source="VIMPO, arXiv 2606.20008, as summarised",
        read="third party",
        condition="the response is one step",
        **off_optimum(
            "vimpo", "value loss, leave-one-out mean", "value loss, leave-one-out mean, one step"
        ),
    ),
    holds(
        "vimpo-law",
        "VIMPO's value loss ends at pi_V, tilted by raw values under itself.",
        source="derived in this project",
        read="third party",
        **off_law("vimpo", "value loss, leave-one-out mean"),
    ),
    holds_if(
        "vimpo-mean",
        "The group mean, a response's own reward included, is a harmless baseline in VIMPO's "
        "value loss.",
        source="backprop07/VIMPO, baseline by uid",
        read="code",
        unit="total variation from pi_V at alpha",
        errors=_vimpo_mean,
        condition="the response itself is left out; else alpha becomes alpha K/(K - 1)",
    ),
    fails(
        "vimpo-actor",
        "VIMPO's actor branch improves the policy towards the regularised objective: it lowers "
        "the KL.",
        source="VIMPO, abstract, one reading",
        read="paper",
        unit="distance from a step down the KL, relative",
        errors=lambda: _actor()[:1],
    ),
    holds(
        "vimpo-actor-climbs",
        "In expectation VIMPO's actor branch climbs the KL at fixed occupancies.",
        source="derived in this project",
        read="third party",
        unit="distance from a step up the KL, relative",
        errors=lambda: _actor()[1:],
    ),
    fails(
        "vimpo-swap",
        "A policy that solved VIMPO's value loss still solves it after the reference is swapped.",
        source="doubted in question 1 under VIMPO's paper page",
        read="paper",
        unit="norm of the expected gradient after the swap",
        errors=_vimpo_swap,
    ),
    holds(
        "vimpo-refresh",
        "Right after a refresh the value loss jumps to half the rewards' group variance.",
        source="question 3 under VIMPO's paper page",
        read="third party",
        unit="relative to the variance",
        errors=_refresh,
    ),
    holds(
        "dro-optimum",
        "DRO has (pi*, V*) as its solution, on-policy or not.",
        source="DRO, arXiv 2405.19107, Theorem 1",
        read="paper",
        unit=TV,
        errors=lambda: (max(miss("dro", "V learnt"), miss("dro", "V learnt, stale samples")),),
    ),
    holds_if(
        "dro-baseline",
        "DRO's V is only a baseline: a wrong one does no harm.",
        source="a reading that DRO, Proposition 1, corrects",
        read="paper",
        condition="the samples are on-policy",
        **off_optimum("dro", "a wrong V, stale samples", "a wrong V, on-policy"),
    ),
    holds(
        "oreo-optimum",
        "OREO's consistency at all states and actions gives the optimum.",
        source="OREO, arXiv 2412.16145, Theorem 2",
        read="paper",
        unit=TV,
        errors=lambda: (
            max(
                miss("oreo", "V learnt, by token"),
                miss("oreo", "V learnt, by token, stale samples"),
            ),
        ),
    ),
    holds_if(
        "oreo-kl",
        "OREO with its KL regulariser keeps that optimum.",
        source="OREO's published settings, weight 0.01",
        read="paper",
        condition="the weight of the KL term is 0",
        **off_optimum("oreo", "a KL term, weight 0.01", "V learnt, by token"),
    ),
]
