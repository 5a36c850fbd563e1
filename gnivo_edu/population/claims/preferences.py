"""Claims of learning from winners: Online DPO, the best of K."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from gnivo_edu import objectives
from gnivo_edu.population import Answers, Population, laws, point_at
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
    PROBLEMS,
    TREE,
    gradient,
    holds,
    holds_if,
    off_law,
    off_optimum,
    off_tilts,
)
from gnivo_edu.population.roots import rest


def _dpo_limit(temperature: float) -> float:
    """GN-IVO, softmax weights, t = T, K = 2, against DPO, beta 1, labels sigma((R1 - R2)/tau)."""
    answers = problem("tree")
    slope = partial(gradient, answers=answers, policy=answers.tilted(answers.rewards), group_size=2)
    gnivo = slope(objectives.gnivo, weights="softmax", prefixes="last")
    dpo = slope(objectives.online_dpo, alpha=1.0, labels="soft", label_temperature=temperature)
    return float((gnivo - dpo).abs().max())


def _best_of_k(answers: Answers) -> float:
    """Total variation of where the best of three leads from the nearest tilt of the reference."""
    population = Population.of(answers, 3)
    end = rest(objectives.sft_winning, population, start=point_at(answers, ALPHA)).point
    return off_tilts(answers, answers.law(answers.policy(end.logits)))


def _right_or_wrong() -> Answers:
    answers = problem("tree")
    return replace(answers, rewards=(answers.rewards > 0.5).double())


BEST = "best of K, one round, ties shared"
LABELS = "hard labels, ties half and half, stale samples"
CLAIMS = [
    holds_if(
        "dpo-optimum",
        "Online DPO converges to the KL-regularised optimum.",
        source="DPO, arXiv 2305.18290; TRL's online trainer labels by the larger score",
        read="code",
        unless="labels are drawn from Bradley-Terry at temperature 1",
        **off_optimum("online_dpo", LABELS, instead="Bradley-Terry labels, stale samples"),
    ),
    holds(
        "dpo-is-gnivo",
        "For pairs of complete answers GN-IVO with softmax weights is DPO at beta 1 with labels "
        "drawn at temperature alpha.",
        source="derived in this project",
        read="third party",
        kind="identity",
        where=f"{TREE}, pairs, t = T, reference samples, at pi_ref e^R",
        unit="largest difference of the expected gradients",
        number=lambda: _dpo_limit(temperature=ALPHA),
        unless="labels are drawn at temperature 1",
        counterfactual=lambda: _dpo_limit(temperature=1.0),
    ),
    holds_if(
        "best-of-k",
        "Imitating the best of K reaches a KL-regularised optimum, at some alpha.",
        source="common practice",
        read="third party",
        where=f"{PROBLEMS['tree']}, graded rewards, K = 3, one round, reference samples",
        unit="total variation from the nearest pi_ref e^(R/c)",
        number=lambda: _best_of_k(problem("tree")),
        unless="rewards are 0 or 1",
        counterfactual=lambda: _best_of_k(_right_or_wrong()),
    ),
    holds(
        "best-of-k-law",
        "One round of best-of-K ends at F(r)^K - F(r-)^K.",
        source="derived in this project",
        read="third party",
        unless="the exponent is K - 1",
        **off_law(
            "sft_winning",
            BEST,
            instead=lambda row: laws.best_of(
                problem(row.problem),
                row.group_size - 1,
                sampler=problem(row.problem).law(problem(row.problem).reference),
            ),
        ),
    ),
]
