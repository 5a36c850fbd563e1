"""Claims of the papers beside GN-IVO's and VIMPO's: GVPO, DRO, OREO."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import (
    Objective,
    Population,
    expect,
    laws,
    point_at,
    total_variation,
)
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
    TREE,
    TV,
    conditions,
    holds,
    holds_if,
    miss,
    off_law,
    off_optimum,
)
from gnivo_edu.population.roots import rest


def _end(objective: Objective, population: Population, start: Tensor) -> float:
    """Total variation from pi* of where the search from a policy ends."""
    answers = population.answers
    search = rest(objective, population, start=point_at(answers, ALPHA, policy=start))
    if not search.converged:
        raise RuntimeError("the search for where GVPO ends does not settle: start it elsewhere")
    law = answers.law(answers.policy(search.point.logits))
    return total_variation(law, laws.tilt(answers, ALPHA))


def _worst_end(objective: Objective) -> float:
    """The end farthest from pi*, over five starts: the reference, its tilt away from the reward,
    and three random policies.
    """
    answers = problem("tree")
    generator = torch.Generator().manual_seed(0)
    starts = [answers.reference, answers.tilted(-answers.rewards / ALPHA)]
    for _ in range(3):
        logits = torch.randn(answers.reference.shape, generator=generator, dtype=torch.float64)
        starts.append(answers.policy(logits))
    population = Population.of(answers, 2)
    return max(_end(objective, population, start=start) for start in starts)


def _without_means(batch: GroupBatch) -> LossOutput:
    """GVPO's square with the group's means left out: half the mean of (R - alpha h)^2."""
    residual = batch.rewards - ALPHA * batch.sequence_logratio
    return LossOutput(batch.group_mean(residual.square().mean(1)) / 2)


def _without_one_answer() -> float:
    """Where GVPO ends, from the reference, on the pairs that do without answer 5."""
    population = Population.of(problem("tree"), 2)
    kept = (population.choice != 5).all(1)
    fewer = replace(
        population, choice=population.choice[kept], multiplicity=population.multiplicity[kept]
    )
    return _end(partial(objectives.gvpo, alpha=ALPHA), fewer, start=fewer.answers.reference)


def _unbiased(divisor: str) -> float:
    """E[GVPO loss] against half the variance of R - alpha h, which needs no group; K = 2, 3, 4."""
    answers = problem("tree")
    point = point_at(answers, ALPHA, policy=answers.tilted(answers.rewards))
    law = answers.law(answers.reference)
    h = (answers.law(answers.policy(point.logits)) / law).log()
    residual = answers.rewards - ALPHA * h
    variance = float(law @ residual.square() - (law @ residual).square())
    errors = []
    for K in (2, 3, 4):
        factor = {"k - 1": 1.0, "k": (K - 1) / K}[divisor]
        loss = expect(objectives.gvpo, Population.of(answers, K), point=point, alpha=ALPHA).loss
        errors.append(abs(factor * loss - variance / 2))
    return max(errors)


SAMPLERS = [f"any sampler: {sampler}" for sampler in ("uniform", "a mixture", "the policy itself")]
DRO_ROWS = ("V learnt", "V learnt, stale samples")
OREO_ROWS = ("V learnt, by token", "V learnt, by token, stale samples")
CLAIMS = [
    holds(
        "gvpo-optimum",
        "GVPO has a unique optimal solution, exactly the KL-constrained optimum.",
        source="GVPO, arXiv 2504.19599, abstract, Theorem 3.1",
        read="paper",
        where=f"{TREE}, K = 2, reference samples; the worst of five starts: the reference, its "
        "tilt by -R/alpha, three random policies",
        unit=TV,
        number=lambda: _worst_end(partial(objectives.gvpo, alpha=ALPHA)),
        unless="the group's means are not subtracted",
        counterfactual=lambda: _worst_end(_without_means),
    ),
    holds(
        "gvpo-sampling",
        "GVPO's optimum is the same under every sampler that can write what the reference can.",
        source="GVPO, abstract, Corollary 3.2",
        read="paper",
        where=conditions("gvpo", *SAMPLERS),
        unit=TV,
        number=lambda: max(miss("gvpo", variant) for variant in SAMPLERS),
        unless="the sampler never writes one of the answers",
        counterfactual=_without_one_answer,
    ),
    holds(
        "gvpo-unbiased",
        "With 1/(k - 1) the GVPO loss is unbiased for every k.",
        source="GVPO, Theorem 3.4",
        read="third party",
        where=f"{TREE}, K = 2, 3, 4, reference samples, at pi_ref e^R",
        unit="E[loss] less half the variance of R - alpha h, reward^2",
        number=lambda: _unbiased(divisor="k - 1"),
        unless="the sum is divided by k",
        counterfactual=lambda: _unbiased(divisor="k"),
    ),
    holds(
        "gvpo-moving",
        "n minimisations of GVPO, each with the last policy as reference, as in its code, end at "
        "the KL-constrained optimum at alpha/n.",
        source="jszkc/GVPO, old_log_probs as reference; GVPO, Theorem 3.3, says that such steps "
        "still maximise a trust-region objective",
        read="code",
        unless="n = 1: the reference stays",
        **off_law(
            "gvpo",
            "3 refreshes of the reference",
            instead=lambda row: laws.tilt(problem(row.problem), row.alpha),
        ),
    ),
    holds(
        "dro-optimum",
        "DRO has (pi*, V*) as its solution, on-policy or not.",
        source="DRO, arXiv 2405.19107, Theorem 1",
        read="paper",
        where=conditions("dro", *DRO_ROWS),
        unit=TV,
        number=lambda: max(miss("dro", variant) for variant in DRO_ROWS),
        unless="V is not learnt, and 0.2 too small (off-policy)",
        counterfactual=lambda: miss("dro", "a wrong V, stale samples"),
    ),
    holds_if(
        "dro-baseline",
        "DRO's V is only a baseline: a wrong one does no harm.",
        source="a reading that DRO, Proposition 1, corrects",
        read="paper",
        unless="the samples are on-policy",
        **off_optimum("dro", "a wrong V, stale samples", instead="a wrong V, on-policy"),
    ),
    holds(
        "oreo-optimum",
        "OREO's consistency at all states and actions gives the optimum.",
        source="OREO, arXiv 2412.16145, Theorem 2",
        read="paper",
        where=conditions("oreo", *OREO_ROWS),
        unit=TV,
        number=lambda: max(miss("oreo", variant) for variant in OREO_ROWS),
        unless="V is not learnt, and wrong",
        counterfactual=lambda: miss("oreo", "a wrong V"),
    ),
    holds_if(
        "oreo-kl",
        "OREO with its KL regulariser keeps that optimum.",
        source="OREO's published settings, weight 0.01",
        read="paper",
        unless="the weight of the KL term is 0",
        **off_optimum("oreo", "a KL term, weight 0.01", instead="V learnt, by token"),
    ),
]
