"""Claims of practice and teaching: GRPO and its kin, DPO, PPO, KL estimators, masks, batches."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch

import toy_envs
from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.population import Population, expect, laws, point_at, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
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
from gnivo_edu.population.kl_laboratory import KLReport, kl_laboratory
from gnivo_edu.population.questions import (
    loss_and_push,
    relative_error,
    scattered_gvpo,
    total_probability,
)


@cache
def _laboratory() -> KLReport:
    answers = problem("one step")
    policy = answers.to_tables(answers.tilted(answers.rewards / ALPHA))
    return kl_laboratory(answers.tree, policy)


def _off_reverse_kl(estimator: str, place: str) -> dict[str, Any]:
    """The distance of an estimator's expected gradient from that of the reverse KL."""

    def errors() -> tuple[float]:
        report, target = _laboratory(), "reverse KL"
        distance = report[estimator, place, "sequence"].distances[target]
        return (distance / float(report.targets[target].norm()),)

    return {"unit": "distance from the KL's gradient, relative", "errors": errors}


def _zero_loss() -> tuple[float]:
    """|gradient| while the loss is exactly zero: RLOO on one on-policy batch."""
    answers = problem("tree")
    population = Population.of(answers, 3, sampler="current")
    mean = expect(objectives.rloo, population, point=point_at(answers, ALPHA), alpha=ALPHA)
    assert abs(mean.loss) < 1e-15
    return (float(mean.gradient["logits"].norm()),)


def _tied(name: str) -> float:
    """Norm of the gradient in a group with equal rewards, off the reference, on-policy."""
    answers = problem("one step")
    flat = replace(answers, rewards=torch.full_like(answers.rewards, 0.5))
    policy = answers.tilted(answers.rewards / ALPHA)
    settings = {"grpo": {"kl": "none"}}.get(name, {})
    objective = partial(objectives.get(name), **settings)
    slope = gradient(objective, flat, policy=policy, group_size=3, sampler="current")
    return float(slope.norm())


def _j_gradient() -> tuple[float]:
    """RLOO's expected gradient against minus that of J = E[R] - alpha KL, a sum over answers."""
    answers = problem("tree")
    policy = answers.tilted(answers.rewards)
    slope = gradient(objectives.rloo, answers, policy=policy, group_size=2, sampler="current")
    logits = point_at(answers, ALPHA, policy=policy).logits.requires_grad_()
    law = answers.law(answers.policy(logits))
    J = law @ (answers.rewards - ALPHA * (law / answers.law(answers.reference)).log())
    return (float((slope + torch.autograd.grad(J, logits)[0]).abs().max()),)


def _micro_batches() -> tuple[float, float]:
    """Relative error of GVPO's gradient where a cut group is centred by halves, or as a whole."""
    answers = problem("one step")
    leaf = answers.token_logps(answers.tilted(answers.rewards))[None, :4].detach().requires_grad_()
    record = GroupBatch(
        policy_logps=leaf,
        behaviour_logps=answers.token_logps(answers.reference)[None, :4],
        rewards=answers.rewards[None, :4],
        mask=torch.ones_like(leaf, dtype=torch.bool),
    )
    _, whole = loss_and_push(objectives.gvpo, record, alpha=ALPHA)
    halves, frozen = (
        scattered_gvpo(record, ALPHA, order=torch.arange(4), size=2, means=means)
        for means in ("micro-batch", "whole group")
    )
    # GVPO divides by K - 1: by 3 in the group, by 1 in a half; the mean of two halves by 2.
    return relative_error(3 / 2 * halves, whole), relative_error(frozen, whole)


def _end_token() -> tuple[float, ...]:
    """Total probability of all complete answers minus 1, without the end token and with it."""
    mdp = toy_envs.TokenMDP(3, 3, eos_token_id=2)
    tables = problem("tree").tree.step_logps
    totals = (total_probability(mdp, tables, mask=mask) for mask in ("not pad", "lengths"))
    return tuple(abs(total - 1) for total in totals)


def _dpo_limit() -> tuple[float]:
    """GN-IVO, softmax weights, t = T, K = 2, against DPO, beta 1, labels sigma((R1 - R2)/alpha)."""
    answers = problem("tree")
    slope = partial(gradient, answers=answers, policy=answers.tilted(answers.rewards), group_size=2)
    gnivo = slope(objectives.gnivo, weights="softmax", prefixes="last")
    dpo = slope(objectives.online_dpo, alpha=1.0, labels="soft", label_temperature=ALPHA)
    return (float((gnivo - dpo).abs().max()),)


def _first_drop() -> tuple[float]:
    """Share of the poster problem's wrong answers whose largest drop is not their first error."""
    tree = exact.enumerate_tree(toy_envs.PosterProblem())
    solution = exact.solve(tree, 0.2)
    wrong = [answer for answer in tree.answers() if tree.rewards[tree.index(answer)[1]] < 1]
    missed = [int(np.argmin(solution.step_credit(answer))) != answer.index(1) for answer in wrong]
    return (sum(missed) / len(missed),)


def _std_shift() -> tuple[float]:
    """Total variation of GRPO's end from where it would lead without dividing by the deviation."""
    grpo = entry("grpo", "KL of whole answers, std, token sums")
    K = grpo.row.group_size
    plain = laws.tilt(problem("tree"), grpo.row.alpha * K / (K - 1))
    return (total_variation(grpo.law, plain),)


def _length_bias(normaliser: str) -> float:
    """1 - cosine between the expected gradients under a normaliser and under plain sums."""
    answers = problem("tree")
    on_policy = partial(gradient, policy=answers.reference, group_size=2, sampler="current")
    grpo = partial(on_policy, objectives.grpo, answers, kl="none", scale="none")
    return angle(grpo(normaliser="seq-mean-token-sum"), grpo(normaliser=normaliser))


GRPO = "GRPO, arXiv 2402.03300"
CLAIMS = [
    holds(
        "rloo-gradient",
        "RLOO's expected gradient is that of E[R] - alpha KL.",
        source="RLOO, arXiv 2402.14740, and TRL",
        read="code",
        unit="largest difference",
        errors=_j_gradient,
    ),
    fails(
        "grpo-optimum",
        "GRPO with its k3 term maximises E[R] - alpha KL(pi || pi_ref).",
        source=GRPO,
        read="third party",
        **off_optimum("grpo", "k3 in the loss, no std, one step"),
    ),
    holds(
        "grpo-law",
        "One-step GRPO with k3 ends at alpha pi_ref/(alpha - A).",
        source="arXiv 2502.18548, and derived in this project",
        read="third party",
        **off_law("grpo", "k3 in the loss, no std, one step"),
    ),
    fails(
        "grpo-std",
        "Dividing by the group's standard deviation does not move where GRPO ends.",
        source="common teaching",
        read="third party",
        unit="total variation from pi* at alpha K/(K - 1)",
        errors=_std_shift,
    ),
    fails(
        "dr-grpo-optimum",
        "Dr. GRPO, unbiased, ends at the KL-regularised optimum.",
        source="a reading of 'done right', arXiv 2503.20783",
        read="third party",
        **off_optimum("dr_grpo", "no KL, as published"),
    ),
    fails(
        "mean-baseline",
        "With the reverse KL in the loss, a mean that includes the response itself only rescales "
        "the gradient.",
        source="common teaching",
        read="third party",
        **off_optimum("dr_grpo", "KL of whole answers"),
    ),
    holds_if(
        "length-normaliser",
        "Dividing each response's loss by its length is neutral.",
        source="common practice (1/|o_i|)",
        read="code",
        unit="cosine distance from the gradient of the sum, a reward that does not depend on "
        "length",
        errors=lambda: (
            _length_bias("seq-mean-token-mean"),
            _length_bias("seq-mean-token-sum-norm"),
        ),
        condition="the divisor is one constant for all",
    ),
    fails(
        "zero-loss",
        "A policy-gradient loss of zero means that nothing is learned.",
        source="trl#2703, trl#3452, open-r1#239",
        read="third party",
        unit="norm of the expected gradient at loss 0",
        errors=_zero_loss,
    ),
    holds(
        "equal-rewards-grpo",
        "A group with equal rewards gives GRPO without KL nothing.",
        source="trl#3708",
        read="third party",
        unit="norm of the gradient",
        errors=lambda: (_tied("grpo"),),
    ),
    fails(
        "equal-rewards",
        "A group with equal rewards gives no objective anything.",
        source="a reading of trl#3708",
        read="third party",
        unit="norm of GVPO's gradient",
        errors=lambda: (_tied("gvpo"),),
    ),
    fails(
        "k1-in-the-loss",
        "k1 estimates the KL, so differentiating it regularises.",
        source="trl#6503, NVIDIA-NeMo/RL#2506",
        read="third party",
        **_off_reverse_kl("k1", place="loss"),
    ),
    fails(
        "k3-in-the-loss",
        "k3 estimates the KL with less variance, so differentiating it gives the KL's gradient.",
        source="a common reading of Schulman's note on KL estimators",
        read="third party",
        **_off_reverse_kl("k3", place="loss"),
    ),
    holds(
        "k2-in-the-loss",
        "k2, biased as a value, has the reverse KL's gradient on-policy.",
        source="NVIDIA-NeMo/RL#2506, and derived in this project",
        read="third party",
        **_off_reverse_kl("k2", place="loss"),
    ),
    holds(
        "k1-in-the-reward",
        "k1 in the reward gives the reverse KL's gradient.",
        source="arXiv 2510.01555, 2512.21852",
        read="third party",
        **_off_reverse_kl("k1", place="reward"),
    ),
    fails(
        "ppo-critic",
        "PPO needs an exact critic to end at the optimum.",
        source="common teaching",
        read="third party",
        unit="1 if lam = 1 with a wrong critic ends there too",
        errors=lambda: (float(miss("ppo", "lam=1, a wrong critic") < 1e-8),),
    ),
    holds_if(
        "ppo-gae",
        "GAE with lam = 0.95 is harmless whatever the critic.",
        source="common teaching",
        read="third party",
        condition="the critic is exact",
        **off_optimum("ppo", "lam=0.95, a wrong critic", "lam=0.95, a critic that has learnt"),
    ),
    holds_if(
        "dpo-optimum",
        "Online DPO converges to the KL-regularised optimum.",
        source="DPO, arXiv 2305.18290; TRL's online trainer labels by the larger score",
        read="code",
        condition="labels are drawn from Bradley-Terry at temperature 1",
        **off_optimum(
            "online_dpo", "hard labels, ties half and half", "Bradley-Terry labels, tau=1"
        ),
    ),
    holds(
        "dpo-is-gnivo",
        "For pairs of complete answers GN-IVO with softmax weights is DPO at beta 1 with soft "
        "labels.",
        source="derived in this project",
        read="third party",
        unit="largest difference of the gradients",
        errors=_dpo_limit,
    ),
    fails(
        "best-of-k",
        "Imitating the best of K reaches the KL-regularised optimum.",
        source="common practice",
        read="third party",
        **off_optimum("sft_winning", "best of K, one round, ties shared"),
    ),
    holds(
        "best-of-k-law",
        "One round of best-of-K ends at F(r)^K - F(r-)^K.",
        source="derived in this project",
        read="third party",
        **off_law("sft_winning", "best of K, one round, ties shared"),
    ),
    holds_if(
        "end-token",
        "The end token may be masked out.",
        source="masks from id != pad where pad is the end token",
        read="code",
        unit="total probability of all answers minus 1",
        errors=_end_token,
        condition="masks come from lengths and the end token is scored",
    ),
    holds_if(
        "micro-batches",
        "A loss over groups may be computed micro-batch by micro-batch.",
        source="trl#3021, trl#3017",
        read="third party",
        unit="relative error of GVPO's gradient",
        errors=_micro_batches,
        condition="the group's means are taken once, over the whole group",
    ),
    fails(
        "group-maximum",
        "Subtracting the group's largest reward from raw weights is a safe guard against overflow.",
        source="common practice with softmaxes",
        read="third party",
        **off_optimum("gnivo", "the group's largest reward subtracted"),
    ),
    fails(
        "first-drop",
        "The largest drop in value marks the first mistake.",
        source="a common reading of step values",
        read="story",
        unit="share of wrong answers of the poster's problem where it does not",
        errors=_first_drop,
    ),
]
