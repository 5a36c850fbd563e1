"""Claims of practice: KL estimators, masks, batches that are cut."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch

import toy_envs
from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
    ONE_STEP,
    PROBLEMS,
    fails,
    holds,
    holds_if,
)
from gnivo_edu.population.kl_laboratory import KLReport, kl_laboratory
from gnivo_edu.population.questions import (
    Mask,
    Means,
    loss_and_push,
    relative_error,
    scattered_gvpo,
    total_probability,
)

# --- KL estimators --------------------------------------------------------------------------------


@cache
def _laboratory() -> KLReport:
    answers = problem("one step")
    policy = answers.to_tables(answers.tilted(answers.rewards / ALPHA))
    return kl_laboratory(answers.tree, policy)


def _off_reverse_kl(estimator: str, place: str) -> float:
    """Distance of an estimator's expected gradient from that of the reverse KL, relative."""
    report, target = _laboratory(), "reverse KL"
    distance = report[estimator, place, "sequence"].distances[target]
    return distance / float(report.targets[target].norm())


def _estimator(k: str, place: str, instead: str) -> dict[str, Any]:
    """The numbers of a claim on an estimator in one place, and in another."""
    return {
        "unit": "distance from the reverse KL's gradient, relative",
        "where": f"{ONE_STEP}, on-policy, at pi*",
        "number": partial(_off_reverse_kl, k, place),
        "counterfactual": partial(_off_reverse_kl, k, instead),
    }


# --- masks and batches ----------------------------------------------------------------------------


def _end_token(mask: Mask) -> float:
    """Total probability of all complete answers minus 1, without the end token or with it."""
    mdp = toy_envs.TokenMDP(3, 3, eos_token_id=2)
    total = total_probability(mdp, problem("tree").tree.step_logps, mask=mask)
    return abs(total - 1)


def _one_group() -> GroupBatch:
    """Four answers as one group, the policy tilted away from the reference."""
    answers = problem("one step")
    leaf = answers.token_logps(answers.tilted(answers.rewards))[None, :4].detach().requires_grad_()
    return GroupBatch(
        policy_logps=leaf,
        behaviour_logps=answers.token_logps(answers.reference)[None, :4],
        rewards=answers.rewards[None, :4],
        mask=torch.ones_like(leaf, dtype=torch.bool),
    )


def _micro_batches(means: Means) -> float:
    """Relative error of GVPO's gradient where a cut group is centred by halves, or as a whole."""
    record = _one_group()
    _, whole = loss_and_push(objectives.gvpo, record, alpha=ALPHA)
    halves = scattered_gvpo(record, ALPHA, order=torch.arange(4), size=2, means=means)
    # GVPO divides by K - 1: by 3 in the group, by 1 in a half; the mean of two halves by 2.
    factor = 3 / 2 if means == "micro-batch" else 1.0
    return relative_error(factor * halves, whole)


def _frozen_normaliser(frozen: bool) -> float:
    """Relative error of GN-IVO's gradient where the group's sum of e^rho is taken once, without
    gradient or with it.
    """

    def by_answer(batch: GroupBatch) -> LossOutput:
        total = batch.prefix_logratio.logsumexp(1, keepdim=True)
        log_q = batch.prefix_logratio - (total.detach() if frozen else total)
        weights = (batch.rewards / ALPHA).exp()[..., None]
        return LossOutput(batch.group_mean(-(weights * log_q).sum((1, 2))))

    record = _one_group()
    _, whole = loss_and_push(objectives.gnivo, record, alpha=ALPHA)
    return relative_error(loss_and_push(by_answer, record)[1], whole)


GROUP = f"alpha {ALPHA:g}, one group of 4 of the {PROBLEMS['one step']}, at pi_ref e^R"
CLAIMS = [
    fails(
        "k1-in-the-loss",
        "k1 estimates the KL, so differentiating it regularises.",
        source="trl#6503, NVIDIA-NeMo/RL#2506",
        read="third party",
        unless="it stands in the reward",
        **_estimator("k1", "loss", instead="reward"),
    ),
    fails(
        "k3-in-the-loss",
        "k3 estimates the KL with less variance, so differentiating it gives the KL's gradient.",
        source="a common reading of Schulman's note on KL estimators",
        read="third party",
        unless="it is multiplied by the ratio pi/pi_b, differentiated too",
        **_estimator("k3", "loss", instead="weighted"),
    ),
    holds(
        "k2-in-the-loss",
        "k2, biased as a value, has the reverse KL's gradient on-policy.",
        source="NVIDIA-NeMo/RL#2506, and derived in this project",
        read="third party",
        unless="it stands in the reward",
        **_estimator("k2", "loss", instead="reward"),
    ),
    holds(
        "k1-in-the-reward",
        "k1 in the reward gives the reverse KL's gradient.",
        source="arXiv 2510.01555, 2512.21852",
        read="third party",
        kind="identity",
        unless="it stands in the loss",
        **_estimator("k1", "reward", instead="loss"),
    ),
    holds_if(
        "end-token",
        "The end token may be masked out.",
        source="masks from id != pad where pad is the end token",
        read="code",
        where=PROBLEMS["tree"],
        unit="total probability of all answers minus 1",
        number=lambda: _end_token("not pad"),
        unless="masks come from lengths and the end token is scored",
        counterfactual=lambda: _end_token("lengths"),
    ),
    holds_if(
        "micro-batches",
        "GVPO may be computed micro-batch by micro-batch.",
        source="trl#3021, trl#3017",
        read="third party",
        where=f"{GROUP}, in two halves",
        unit="relative error of the gradient",
        number=lambda: _micro_batches("micro-batch"),
        unless="the group's means are taken once, over the whole group; they may be frozen",
        counterfactual=lambda: _micro_batches("whole group"),
    ),
    holds_if(
        "gnivo-micro-batches",
        "GN-IVO too may freeze what its group shares, the sum of e^rho, taken once.",
        source="a generalisation of micro-batches",
        read="third party",
        where=GROUP,
        unit="relative error of the gradient",
        number=lambda: _frozen_normaliser(frozen=True),
        unless="the sum is differentiated too (two passes)",
        counterfactual=lambda: _frozen_normaliser(frozen=False),
    ),
]
