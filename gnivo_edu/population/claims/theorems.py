"""Claims of this project's own results: notebooks/theorems.md proves them."""

from __future__ import annotations

from dataclasses import replace

from gnivo_edu import objectives
from gnivo_edu.objectives.vimpo_options import Baseline
from gnivo_edu.population import Population, expect, laws, point_at
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import ALPHA, TREE, holds, holds_if, off_optimum

PAGE = "notebooks/theorems.md"


def _jump(baseline: Baseline) -> float:
    """How far from K a refresh multiplies VIMPO's value loss at pi_V, the rest of the leave-one-out
    mean, K = 2 and 3.
    """
    answers = problem("tree")
    policy = answers.from_law(laws.vimpo_law(answers, ALPHA))
    errors = []
    for K in (2, 3):
        before, after = (
            expect(
                objectives.vimpo,
                Population.of(seen, K, sampler="current"),
                point=point_at(seen, ALPHA, policy=policy),
                alpha=ALPHA,
                actor=0.0,
                baseline=baseline,
            ).loss
            for seen in (answers, replace(answers, reference=policy))
        )
        errors.append(abs(after / before - K))
    return max(errors)


OWN_SOFTMAX = "softmax of completion weights, the policy's own samples"
CLAIMS = [
    holds_if(
        "gnivo-any-writer",
        "GN-IVO may learn at every depth from answers of another policy.",
        source=f"{PAGE}, theorem 1",
        read="third party",
        unless="an answer is weighed by pi_ref/mu of its later tokens",
        **off_optimum(
            "gnivo", "raw weights, stale samples", instead="completion weights, stale samples"
        ),
    ),
    holds_if(
        "gnivo-own-softmax",
        "On the policy's own answers GN-IVO may normalise its weights in the group.",
        source=f"{PAGE}, theorem 2",
        read="third party",
        unless="they are completion weights",
        **off_optimum("gnivo", "softmax weights, the policy's own samples", instead=OWN_SOFTMAX),
    ),
    holds_if(
        "gnivo-completion-softmax",
        "The softmax of completion weights leads to pi* whoever wrote the answers.",
        source=f"{PAGE}, theorem 2, its limit",
        read="third party",
        unless="the policy itself did",
        **off_optimum("gnivo", "softmax of completion weights, stale samples", instead=OWN_SOFTMAX),
    ),
    holds(
        "vimpo-jump",
        "At its own rest a refresh multiplies VIMPO's value loss by exactly K.",
        source=f"{PAGE}, theorem 6",
        read="third party",
        where=f"{TREE}, K = 2, 3, on-policy, leave-one-out mean, at pi_V",
        unit="factor less K",
        number=lambda: _jump("leave_one_out"),
        unless="the baseline is the group mean, whose rest is elsewhere",
        counterfactual=lambda: _jump("mean"),
    ),
]
