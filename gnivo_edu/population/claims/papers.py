"""Claims of the papers: GN-IVO, GVPO, VIMPO, DRO, OREO, and the questions asked about them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from gnivo_edu import exact, objectives
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import laws
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import Claim, miss, off_theory
from gnivo_edu.population.expectation import expect, gradient_covariance, point_at
from gnivo_edu.population.groups import Population

ALPHA = 0.5
TV = "total variation from pi*"


@cache
def _shift(group_size: int) -> exact.Certificate:
    return exact.verify_constant_shift(problem("tree").tree, ALPHA, group_size)


def _index() -> tuple[float, float]:
    """The targets as printed (from j = 1) sum to more than one; from j = 0 they do not."""
    table = exact.index_question(problem("tree").tree, ALPHA, 1, 3).table
    sums = {
        row["targets from j"]: row["targets sum to"] for row in table if row["model from j"] == 0
    }
    return abs(sums[1] - 1), abs(sums[0] - 1)


def _one_batch() -> tuple[float]:
    """Spread, over the tokens of an answer, of what its reward gives them per prefix that they are
    in, at the start.
    """
    answers, K = problem("16 answers"), 2
    population = Population.of(answers, K)
    batch = population.batch(point_at(answers, ALPHA).detached())
    leaf = batch.policy_logps.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(
        objectives.gnivo(replace(batch, policy_logps=leaf), ALPHA).loss, leaf
    )
    T = leaf.shape[-1]
    # Token t of T is inside T - t + 1 of the prefixes; divided by that count, what it gets is one
    # number per answer.
    per_prefix = gradient / torch.arange(T, 0, -1)
    return (float((per_prefix.amax(-1) - per_prefix.amin(-1)).abs().max()),)


def _unbiased() -> tuple[float]:
    """E[GVPO loss] against half the variance of R - alpha h, which needs no group."""
    answers = problem("tree")
    point = point_at(answers, ALPHA, answers.tilted(answers.rewards))
    law = answers.law(answers.reference)
    h = (answers.law(answers.policy(point.logits)) / law).log()
    rest = answers.rewards - ALPHA * h
    variance = float(law @ rest.square() - (law @ rest).square())
    losses = [
        expect(objectives.gvpo, Population.of(answers, K), point, alpha=ALPHA).loss
        for K in (2, 3, 4)
    ]
    return (max(abs(loss - variance / 2) for loss in losses),)


def _vimpo_point(reference: torch.Tensor | None = None) -> tuple[float, float]:
    """Loss and gradient of VIMPO's value loss at its own solution; with another reference, if
    given.
    """
    answers = problem("tree")
    policy = answers.from_law(laws.vimpo_law(answers, ALPHA))
    if reference is not None:
        answers = replace(answers, reference=reference)
    settings = {"alpha": ALPHA, "actor": 0.0, "baseline": "leave_one_out"}
    found = expect(
        objectives.vimpo,
        Population.of(answers, 2, "current"),
        point_at(answers, ALPHA, policy),
        **settings,
    )
    return found.loss, float(found.gradient["logits"].norm())


def _refresh() -> tuple[float]:
    """After pi_ref <- pi the value loss is half the mean squared deviation of rewards from the
    group mean.
    """
    answers = problem("tree")
    policy = answers.from_law(laws.vimpo_law(answers, ALPHA))
    fresh = replace(answers, reference=policy)
    population = Population.of(fresh, 3, "current")
    loss = expect(
        objectives.vimpo, population, point_at(fresh, ALPHA, policy), alpha=ALPHA, actor=0.0
    ).loss
    law = answers.law(policy)
    variance = float(law @ answers.rewards.square() - (law @ answers.rewards).square())
    return (abs(loss - (1 - 1 / 3) * variance / 2) / variance,)


def _actor() -> tuple[float, float]:
    """Distance of VIMPO's actor update from a step down the KL, and from a step up; relative to its
    size.
    """
    answers = problem("tree")
    policy = answers.tilted(answers.rewards / ALPHA)

    def actor(batch, alpha):  # type: ignore[no-untyped-def]
        both = objectives.vimpo(batch, alpha, actor=1.0, whitened=False).loss
        return LossOutput(both - objectives.vimpo(batch, alpha, actor=0.0).loss)

    point = point_at(answers, ALPHA, policy)
    update = -expect(actor, Population.of(answers, 2, "current"), point, alpha=ALPHA).gradient[
        "logits"
    ]
    logits = policy.masked_fill(~answers.legal, 0.0).requires_grad_()
    cost = (answers.visits(policy) * answers.kl(answers.policy(logits))).sum()
    up = (
        torch.autograd.grad(cost, logits)[0]
        * ALPHA
        / float(answers.law(policy) @ answers.lengths.double())
    )
    return float((update + up).norm() / up.norm()), float((update - up).norm() / up.norm())


def _raw_prompts() -> tuple[float]:
    """Per-group gradients of raw and softmax weights at the reference differ by a factor per group
    only, at t = T.
    """
    answers = problem("one step")
    population = Population.of(answers, 2)
    point = point_at(answers, ALPHA)
    means = [
        gradient_covariance(
            objectives.gnivo, population, point, alpha=ALPHA, weights=weights, prefixes="last"
        )[0]
        for weights in ("raw", "softmax")
    ]
    cosine = float((means[0] * means[1]).sum() / (means[0].norm() * means[1].norm()))
    return (1 - cosine,)


POSTER, GNIVO = "GN-IVO, ICLR 2026", "GN-IVO, Eq. 9"
CLAIMS = [
    Claim(
        "theorem-1",
        "For every prefix, pi*(s_t) = pi_ref(s_t) e^{V(s_t)}/Z.",
        f"{POSTER}, Theorem 1",
        "poster",
        "holds",
        "nats",
        lambda: (exact.verify_soft_value_theorem(problem("tree").tree, ALPHA).max_abs_error,),
    ),
    Claim(
        "theorem-2",
        "For any K > 1 and t the minimiser is V up to one constant per depth.",
        f"{POSTER}, Theorem 2",
        "poster",
        "holds",
        "nats",
        lambda: (max(_shift(K).max_abs_error for K in (2, 3, 4)),),
    ),
    Claim(
        "index",
        "The targets' denominators run from j = 1.",
        f"{POSTER}, Eq. 7 as printed",
        "poster",
        "holds if",
        "sum of the targets minus 1",
        _index,
        "j = 0 is meant, as in the model",
    ),
    Claim(
        "no-log-z",
        "Group normalisation avoids the partition function: adding a constant to V_theta changes "
        "nothing.",
        f"{POSTER}, abstract",
        "poster",
        "holds",
        "gradient at V + log C, relative to V = 0",
        lambda: (_shift(3)["gradient_norm_at_shifted_optimum"],),
    ),
    Claim(
        "gnivo-optimum",
        "The GN-IVO loss has the optimal policy as its minimiser.",
        f"{GNIVO}",
        "poster",
        "holds",
        TV,
        lambda: (miss("gnivo", "raw weights, all depths, K=2"),),
    ),
    Claim(
        "gnivo-softmax",
        "Group-normalised weights softmax(R/alpha) may stand for e^{R/alpha}.",
        "GN-IVO in practice, as its reviews report",
        "third party",
        "holds if",
        TV,
        lambda: (
            miss("gnivo", "softmax weights, all depths, K=2"),
            miss("gnivo", "softmax weights, last depth"),
        ),
        "only complete responses enter (t = T)",
    ),
    Claim(
        "gnivo-refresh",
        "Setting pi_old <- pi_theta in every iteration keeps the optimum of the stated objective.",
        f"{POSTER}, Algorithm 1",
        "poster",
        "holds if",
        TV,
        lambda: (
            miss("gnivo", "3 refreshes of the reference"),
            miss("gnivo", "raw weights, all depths, K=4"),
        ),
        "the reference is not refreshed",
    ),
    Claim(
        "gnivo-compounds",
        "n exact iterations of GN-IVO end at pi_0 e^{nR/alpha}/Z.",
        "derived in this project",
        "third party",
        "holds",
        "total variation from that law",
        lambda: (off_theory("gnivo", "3 refreshes of the reference"),),
    ),
    Claim(
        "gnivo-lengths",
        "With responses of unequal length, each may draw its own t ~ U{1..T_i}.",
        "a reading of Eq. 9, which does not say",
        "poster",
        "holds if",
        TV,
        lambda: (
            miss("gnivo", "lengths: each its own 1/T"),
            miss("gnivo", "lengths: mean over the horizon"),
        ),
        "t is drawn from 1..horizon and finished responses are absorbing",
    ),
    Claim(
        "gnivo-stale",
        "GN-IVO may learn from answers of another policy.",
        "a common use of stored samples",
        "third party",
        "holds if",
        TV,
        lambda: (
            miss("gnivo", "raw weights, stale samples"),
            miss("gnivo", "raw weights, stale prefixes, fresh completions, depth 2"),
        ),
        "only the prefixes are old: completions come from the reference",
    ),
    Claim(
        "gnivo-one-batch",
        "In one batch all tokens of a response get the same credit; step credit appears only over "
        "many.",
        "review 3 of GN-IVO",
        "third party",
        "holds",
        "spread within an answer, per prefix it is in",
        _one_batch,
    ),
    Claim(
        "gnivo-one-step-softmax",
        "At complete answers softmax weights only rescale the update of raw ones.",
        "a common reading of GN-IVO's practice",
        "third party",
        "fails",
        "1 - cosine of the expected gradients at the reference",
        _raw_prompts,
    ),
    Claim(
        "gvpo-optimum",
        "GVPO has a unique optimal solution, exactly the KL-constrained optimum.",
        "GVPO, arXiv 2504.19599, abstract, Theorem 3.1",
        "paper",
        "holds",
        TV,
        lambda: (miss("gvpo", "reference samples, K=2"),),
    ),
    Claim(
        "gvpo-sampling",
        "GVPO supports flexible sampling distributions.",
        "GVPO, abstract, Corollary 3.2",
        "paper",
        "holds",
        TV,
        lambda: (
            max(
                miss("gvpo", f"any sampler: {s}")
                for s in ("uniform", "a mixture", "the policy itself")
            ),
        ),
    ),
    Claim(
        "gvpo-unbiased",
        "With 1/(k - 1) the GVPO loss is unbiased for every k.",
        "GVPO, Theorem 3.4",
        "third party",
        "holds",
        "reward^2",
        _unbiased,
    ),
    Claim(
        "gvpo-moving",
        "GVPO whose reference is the rollout policy, as in its code, ends at the KL-constrained "
        "optimum.",
        "jszkc/GVPO, old_log_probs as reference",
        "code",
        "holds if",
        TV,
        lambda: (
            miss("gvpo", "reference refreshed at every step"),
            miss("gvpo", "any sampler: the policy itself"),
        ),
        "the reference stays",
    ),
    Claim(
        "vimpo-optimum",
        "A policy with zero VIMPO value loss is the KL-regularised optimum.",
        "VIMPO, arXiv 2606.20008, as summarised",
        "third party",
        "holds if",
        TV,
        lambda: (
            miss("vimpo", "value loss, leave-one-out mean"),
            miss("vimpo", "value loss, leave-one-out mean, one step"),
        ),
        "the response is one step",
    ),
    Claim(
        "vimpo-law",
        "VIMPO's value loss ends at pi_V, tilted by raw values under itself.",
        "derived in this project",
        "third party",
        "holds",
        "total variation from that law",
        lambda: (off_theory("vimpo", "value loss, leave-one-out mean"),),
    ),
    Claim(
        "vimpo-mean",
        "The group mean, a response's own reward included, is a harmless baseline in VIMPO's "
        "value loss.",
        "backprop07/VIMPO, baseline by uid",
        "code",
        "holds if",
        "total variation from pi_V at alpha",
        lambda: (
            float((_vimpo_end("value loss, group mean") - _vimpo_target()).abs().sum() / 2),
            float((_vimpo_end("value loss, leave-one-out mean") - _vimpo_target()).abs().sum() / 2),
        ),
        "the response itself is left out; else alpha becomes alpha K/(K - 1)",
    ),
    Claim(
        "vimpo-actor",
        "VIMPO's actor branch improves the policy towards the regularised objective: it lowers "
        "the KL.",
        "VIMPO, abstract, one reading",
        "paper",
        "fails",
        "distance from a step down the KL, relative",
        lambda: _actor()[:1],
    ),
    Claim(
        "vimpo-actor-climbs",
        "In expectation VIMPO's actor branch climbs the KL at fixed occupancies.",
        "derived in this project",
        "third party",
        "holds",
        "distance from a step up the KL, relative",
        lambda: _actor()[1:],
    ),
    Claim(
        "vimpo-swap",
        "A policy that solved VIMPO's value loss still solves it after the reference is swapped.",
        "doubted in question 1 under VIMPO's paper page",
        "paper",
        "fails",
        "norm of the expected gradient after the swap",
        lambda: (_vimpo_point(_other_reference())[1],),
    ),
    Claim(
        "vimpo-refresh",
        "Right after a refresh the value loss jumps to half the rewards' group variance.",
        "question 3 under VIMPO's paper page",
        "third party",
        "holds",
        "relative to the variance",
        _refresh,
    ),
    Claim(
        "dro-optimum",
        "DRO has (pi*, V*) as its solution, on-policy or not.",
        "DRO, arXiv 2405.19107, Theorem 1",
        "paper",
        "holds",
        TV,
        lambda: (max(miss("dro", "V learnt"), miss("dro", "V learnt, stale samples")),),
    ),
    Claim(
        "dro-baseline",
        "DRO's V is only a baseline: a wrong one does no harm.",
        "a reading that DRO, Proposition 1, corrects",
        "paper",
        "holds if",
        TV,
        lambda: (miss("dro", "a wrong V, stale samples"), miss("dro", "a wrong V, on-policy")),
        "the samples are on-policy",
    ),
    Claim(
        "oreo-optimum",
        "OREO's consistency at all states and actions gives the optimum.",
        "OREO, arXiv 2412.16145, Theorem 2",
        "paper",
        "holds",
        TV,
        lambda: (
            max(
                miss("oreo", "V learnt, by token"),
                miss("oreo", "V learnt, by token, stale samples"),
            ),
        ),
    ),
    Claim(
        "oreo-kl",
        "OREO with its KL regulariser keeps that optimum.",
        "OREO's published settings, weight 0.01",
        "paper",
        "holds if",
        TV,
        lambda: (miss("oreo", "a KL term, weight 0.01"), miss("oreo", "V learnt, by token")),
        "the weight of the KL term is 0",
    ),
]


def _vimpo_end(variant: str) -> torch.Tensor:
    from gnivo_edu.population.claims.claim import entry

    return entry("vimpo", variant).law


def _vimpo_target() -> torch.Tensor:
    return laws.vimpo_law(problem("tree"), ALPHA)


def _other_reference() -> torch.Tensor:
    answers = problem("tree")
    return answers.tilted(answers.rewards.flip(0))
