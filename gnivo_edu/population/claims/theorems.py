"""Claims of this project's own results: notebooks/theorems.md proves them."""

from __future__ import annotations

from dataclasses import replace

from gnivo_edu import objectives
from gnivo_edu.population import Population, expect, laws, point_at
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import ALPHA, holds, holds_if, off_optimum

PAGE = "notebooks/theorems.md"


def _jump() -> tuple[float]:
    """How far from K a refresh multiplies VIMPO's value loss at its own rest, K = 2 and 3."""
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
                baseline="leave_one_out",
            ).loss
            for seen in (answers, replace(answers, reference=policy))
        )
        errors.append(abs(after / before - K))
    return (max(errors),)


CLAIMS = [
    holds_if(
        "gnivo-any-writer",
        "GN-IVO may learn at every depth from answers of another policy.",
        source=f"{PAGE}, theorem 1",
        read="third party",
        condition="an answer is weighed by pi_ref/mu of its later tokens",
        **off_optimum("gnivo", "raw weights, stale samples", "completion weights, stale samples"),
    ),
    holds_if(
        "gnivo-own-softmax",
        "On the policy's own answers GN-IVO may normalise its weights in the group.",
        source=f"{PAGE}, theorem 2",
        read="third party",
        condition="they are completion weights",
        **off_optimum(
            "gnivo",
            "softmax weights, the policy's own samples",
            "softmax of completion weights, the policy's own samples",
        ),
    ),
    holds_if(
        "gnivo-completion-softmax",
        "The softmax of completion weights leads to pi* whoever wrote the answers.",
        source=f"{PAGE}, theorem 2, its limit",
        read="third party",
        condition="the policy itself did",
        **off_optimum(
            "gnivo",
            "softmax of completion weights, stale samples",
            "softmax of completion weights, the policy's own samples",
        ),
    ),
    holds(
        "vimpo-jump",
        "At its own rest a refresh multiplies VIMPO's value loss by exactly K.",
        source=f"{PAGE}, theorem 6",
        read="third party",
        unit="factor less K",
        errors=_jump,
    ),
]
