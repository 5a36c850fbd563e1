"""Claims of practice with GN-IVO, and readings of its poster."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.objectives.groups import Weights
from gnivo_edu.population import Population, laws, point_at
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
    ONE_STEP,
    PROBLEMS,
    TREE,
    TV,
    angle,
    changed,
    fails,
    gradient,
    holds,
    holds_if,
    miss,
    off_law,
    off_optimum,
)
from gnivo_edu.population.questions import loss_and_push


def _credit_in_one_answer(share: float) -> float:
    """Spread over an answer's tokens of what its reward gives them, per prefix that they are in;
    the policy is pi_ref e^{share R/alpha}/Z, the groups are pairs drawn from the reference.
    """
    answers = problem("16 answers")
    policy = answers.tilted(share * answers.rewards / ALPHA)
    batch = Population.of(answers, 2).batch(point_at(answers, ALPHA, policy=policy).detached())
    _, push = loss_and_push(objectives.gnivo, batch, alpha=ALPHA)
    # The push is weighted by the chance of the group; token t of T is inside T - t + 1 of the
    # prefixes. Divided by both, what it gets at pi = pi_ref is one number per answer.
    assert batch.group_weight is not None
    per_prefix = push / batch.group_weight[:, None, None]
    per_prefix = per_prefix / torch.arange(push.shape[-1], 0, -1)
    return float((per_prefix.amax(-1) - per_prefix.amin(-1)).max())


def _softmax_against_raw(binary: bool) -> float:
    """1 - cosine of the expected gradients of raw and softmax weights, t = T, at the reference."""
    answers = problem("one step")
    if binary:
        answers = replace(answers, rewards=(answers.rewards > 0.5).double())

    def slope(weights: Weights) -> Tensor:
        return gradient(
            objectives.gnivo,
            answers,
            policy=answers.reference,
            group_size=2,
            prefixes="last",
            weights=weights,
        )

    return angle(slope("raw"), slope("softmax"))


FRESH = "raw weights, stale prefixes, fresh completions, depth 2"
CLAIMS = [
    holds_if(
        "gnivo-softmax",
        "Group-normalised weights softmax(R/alpha) may stand for e^{R/alpha}.",
        source="GN-IVO in practice, as its reviews report",
        read="third party",
        unless="only complete responses enter (t = T)",
        **off_optimum(
            "gnivo",
            "softmax weights, all depths, K=2",
            instead={"settings": {"weights": "softmax", "prefixes": "last"}},
        ),
    ),
    holds_if(
        "gnivo-refresh",
        "A run that sets pi_old <- pi_theta stays at the optimum of the first pi_old's objective "
        "(nobody says so: each iteration's objective is relative to its own pi_old).",
        source="a reading of Algorithm 1 of GN-IVO, ICLR 2026",
        read="poster",
        unless="the reference is not refreshed",
        **off_optimum("gnivo", "3 refreshes of the reference", instead={"refreshes": 1}),
    ),
    holds(
        "gnivo-compounds",
        "n exact iterations of GN-IVO end at pi_0 e^{nR/alpha}/Z: the optimum at alpha/n.",
        source="derived in this project",
        read="third party",
        unless="n + 1 stands for n = 3",
        **off_law(
            "gnivo",
            "3 refreshes of the reference",
            instead=lambda row: laws.tilt(problem(row.problem), row.alpha / (row.refreshes + 1)),
        ),
    ),
    holds_if(
        "gnivo-lengths",
        "With responses of unequal length, each may draw its own t ~ U{1..T_i}.",
        source="a reading of Eq. 9, which does not say",
        read="poster",
        unless="t is drawn from 1..horizon and finished responses are absorbing",
        **off_optimum(
            "gnivo",
            "lengths: each its own 1/T",
            instead="lengths: mean over the horizon",
        ),
    ),
    holds_if(
        "gnivo-stale",
        "GN-IVO may learn at depth 2 from answers of another policy.",
        source="a common use of stored samples",
        read="third party",
        unless="only the prefixes are old: completions come from the reference",
        where=f"{TREE}, K = 3, all samples uniform",
        unit=f"{TV}, of prefixes",
        number=lambda: (
            changed("gnivo", FRESH, sampling="uniform", sampling_name="").tv_from_optimum
        ),
        counterfactual=lambda: miss("gnivo", FRESH),
    ),
    holds_if(
        "gnivo-one-batch",
        "In one batch all tokens of a response get the same credit; step credit appears only over "
        "many.",
        source="review 3 of GN-IVO",
        read="third party",
        where=f"alpha {ALPHA:g}, {PROBLEMS['16 answers']}, K = 2, at pi_ref e^(R/2alpha), half-way "
        "to pi*",
        unit="spread within an answer, per prefix it is in",
        number=lambda: _credit_in_one_answer(0.5),
        unless="it is the batch's first update, pi = pi_old",
        counterfactual=lambda: _credit_in_one_answer(0.0),
    ),
    fails(
        "gnivo-one-step-softmax",
        "At complete answers softmax weights only rescale the update of raw ones.",
        source="a common reading of GN-IVO's practice",
        read="third party",
        where=f"{ONE_STEP}, K = 2, at the reference",
        unit="1 - cosine of the expected gradients",
        number=lambda: _softmax_against_raw(binary=False),
        unless="rewards are 0 or 1",
        counterfactual=lambda: _softmax_against_raw(binary=True),
    ),
    holds_if(
        "group-maximum",
        "Subtracting the group's largest reward from raw weights is a safe guard against overflow.",
        source="common practice with softmaxes",
        read="third party",
        unless="one number is subtracted in all groups: the largest reward there is",
        **off_optimum(
            "gnivo",
            "the group's largest reward subtracted",
            instead={"function": None, "settings": {"reward_max": 1.0}},
        ),
    ),
]
