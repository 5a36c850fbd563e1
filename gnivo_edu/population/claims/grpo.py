"""Claims of GRPO and its kin: RLOO, Dr. GRPO, PPO, lengths, groups with equal rewards."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.population import Answers, Population, expect, laws, point_at, total_variation
from gnivo_edu.population.atlas import Entry, problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
    ONE_STEP,
    TREE,
    angle,
    changed,
    conditions,
    entry,
    fails,
    gradient,
    holds,
    holds_if,
    off_optimum,
    off_theory,
    off_tilts,
)


def _j_gradient(price: float) -> float:
    """RLOO's expected gradient against minus that of E[R] - price KL, a sum over answers."""
    answers = problem("tree")
    policy = answers.tilted(answers.rewards)
    slope = gradient(objectives.rloo, answers, policy=policy, group_size=2, sampler="current")
    logits = point_at(answers, ALPHA, policy=policy).logits.requires_grad_()
    law = answers.law(answers.policy(logits))
    J = law @ (answers.rewards - price * (law / answers.law(answers.reference)).log())
    return float((slope + torch.autograd.grad(J, logits)[0]).abs().max())


def _off_reward_gradient(scale: str) -> float:
    """1 - cosine of the expected gradient without a KL, on-policy, with minus that of E[R]."""
    answers = problem("tree")
    policy = answers.tilted(answers.rewards)
    slope = gradient(
        objectives.grpo,
        answers,
        policy=policy,
        group_size=3,
        sampler="current",
        kl="none",
        scale=scale,
        normaliser="seq-mean-token-sum-norm",
    )
    logits = point_at(answers, ALPHA, policy=policy).logits.requires_grad_()
    mean_reward = answers.law(answers.policy(logits)) @ answers.rewards
    return angle(slope, -torch.autograd.grad(mean_reward, logits)[0])


def _from_plain_tilt(end: Entry) -> float:
    """Total variation of where a row of GRPO ends from pi* at alpha K/(K - 1), where the advantage
    R_i - mean R alone would lead.
    """
    K = end.row.group_size
    return total_variation(end.law, laws.tilt(problem("tree"), end.row.alpha * K / (K - 1)))


def _length_bias(normaliser: str) -> float:
    """1 - cosine between the expected gradients under a normaliser and under plain sums, at the
    reference, for rewards that have the same mean at every length.
    """
    answers = problem("tree")
    law = answers.law(answers.reference)
    mass = answers.lengths.bincount(law)
    mean = answers.lengths.bincount(law * answers.rewards) / mass
    even = replace(answers, rewards=answers.rewards - mean[answers.lengths])

    def slope(normaliser: str) -> Tensor:
        return gradient(
            objectives.grpo,
            even,
            policy=even.reference,
            group_size=2,
            sampler="current",
            kl="none",
            scale="none",
            normaliser=normaliser,
        )

    return angle(slope("seq-mean-token-sum"), slope(normaliser))


def _zero_loss(answers: Answers) -> float:
    """|gradient| while the loss is exactly zero: RLOO on one on-policy batch at the reference."""
    population = Population.of(answers, 3, sampler="current")
    mean = expect(objectives.rloo, population, point=point_at(answers, ALPHA), alpha=ALPHA)
    assert abs(mean.loss) < 1e-15
    return float(mean.gradient["logits"].norm())


def _flat(answers: Answers) -> Answers:
    return replace(answers, rewards=torch.full_like(answers.rewards, 0.5))


def _tied(name: str, nats: float = 1.0, **settings: Any) -> float:
    """Norm of the gradient in a group with equal rewards, on-policy, at the reference tilted by
    `nats` times R/alpha of other rewards.
    """
    answers = problem("one step")
    policy = answers.tilted(nats * answers.rewards / ALPHA)
    objective = partial(objectives.get(name), **settings)
    slope = gradient(objective, _flat(answers), policy=policy, group_size=3, sampler="current")
    return float(slope.norm())


GRPO = "GRPO, arXiv 2402.03300"
K3, K3_SUMS = "k3 in the loss, no std, one step", "k3 in the loss, no std, token sums"
SEQUENCE = "KL of whole answers, no std, token sums"
CLAIMS = [
    holds(
        "rloo-gradient",
        "RLOO's expected gradient is that of E[R] - alpha KL.",
        source="RLOO, arXiv 2402.14740, and TRL",
        read="code",
        where=f"{TREE}, K = 2, on-policy, at pi_ref e^R",
        unit="largest difference",
        number=lambda: _j_gradient(price=ALPHA),
        unless="the KL is priced at alpha/2",
        counterfactual=lambda: _j_gradient(price=ALPHA / 2),
    ),
    fails(
        "grpo-optimum",
        "GRPO with its k3 term maximises E[R] - c KL(pi || pi_ref) for some c.",
        source=GRPO,
        read="third party",
        where=conditions("grpo", K3),
        unit="total variation from the nearest pi_ref e^(R/c)",
        number=lambda: off_tilts(problem("one step"), entry("grpo", K3).law),
        unless="the KL is that of whole answers (h^2/2 in the loss), not k3",
        counterfactual=lambda: off_tilts(
            problem("one step"),
            changed("grpo", K3, law=None, settings={"scale": "none", "kl": "sequence"}).law,
        ),
    ),
    holds(
        "grpo-law",
        "GRPO with k3 ends at alpha pi_ref/(alpha - A) in every state, if the tokens of an answer "
        "are summed (or are one).",
        source="arXiv 2502.18548, and derived in this project",
        read="third party",
        where=conditions("grpo", K3, K3_SUMS),
        unit="total variation from that law",
        number=lambda: max(off_theory(entry("grpo", variant)) for variant in (K3, K3_SUMS)),
        unless="the tokens are averaged over each answer (1/T_i)",
        counterfactual=lambda: off_theory(changed("grpo", K3_SUMS, settings={"scale": "none"})),
    ),
    holds_if(
        "grpo-sequence",
        "GRPO with the KL of whole answers in the loss (h^2/2T) ends at a tilt of pi_ref by R.",
        source="derived in this project",
        read="third party",
        where="alpha 0.5, 15 answers of up to 3 tokens, K = 3, samples: on-policy, no std, 1/T_i",
        unit="total variation from pi* at alpha K/(K - 1)",
        number=lambda: off_theory(
            changed("grpo", SEQUENCE, settings={"kl": "sequence", "scale": "none"})
        ),
        unless="the tokens of an answer are summed",
        counterfactual=lambda: off_theory(entry("grpo", SEQUENCE)),
    ),
    fails(
        "grpo-std",
        "Dividing by the group's standard deviation does not move where GRPO ends.",
        source="common teaching",
        read="third party",
        where=conditions("grpo", "KL of whole answers, std, token sums"),
        unit="total variation from pi* at alpha K/(K - 1)",
        number=lambda: _from_plain_tilt(entry("grpo", "KL of whole answers, std, token sums")),
        unless="it is not divided",
        counterfactual=lambda: _from_plain_tilt(changed("grpo", SEQUENCE, alpha=1.0)),
    ),
    holds(
        "dr-grpo-gradient",
        "Dr. GRPO, without a KL, follows the gradient of E[R].",
        source="'done right', arXiv 2503.20783",
        read="third party",
        where=f"{TREE}, K = 3, on-policy, at pi_ref e^R, first update on the batch, no clipping",
        unit="1 - cosine with the gradient of E[R]",
        number=lambda: _off_reward_gradient(scale="none"),
        unless="the advantage is divided by the group's standard deviation, as in GRPO",
        counterfactual=lambda: _off_reward_gradient(scale="group"),
    ),
    fails(
        "mean-baseline",
        "With the reverse KL in the loss, a mean that includes the response itself only rescales "
        "the gradient.",
        source="common teaching",
        read="third party",
        unless="the KL's coefficient shrinks by (K - 1)/K as the reward's does",
        **off_optimum(
            "dr_grpo",
            "KL of whole answers",
            instead={"law": None, "settings": {"kl": "sequence", "alpha": ALPHA * 2 / 3}},
        ),
    ),
    holds_if(
        "length-normaliser",
        "Dividing each response's loss by its length is neutral.",
        source="common practice (1/|o_i|)",
        read="code",
        where=f"{TREE}, less their mean at each length: no length is better; K = 2, on-policy, at "
        "the reference",
        unit="1 - cosine with the gradient of the sum",
        number=lambda: _length_bias("seq-mean-token-mean"),
        unless="the divisor is one constant for all",
        counterfactual=lambda: _length_bias("seq-mean-token-sum-norm"),
    ),
    fails(
        "zero-loss",
        "A policy-gradient loss of zero means that nothing is learned.",
        source="trl#2703, trl#3452, open-r1#239",
        read="third party",
        where=f"{TREE}, RLOO, K = 3, on-policy, at the reference",
        unit="norm of the expected gradient at loss 0",
        number=lambda: _zero_loss(problem("tree")),
        unless="all rewards are equal",
        counterfactual=lambda: _zero_loss(_flat(problem("tree"))),
    ),
    holds(
        "equal-rewards-grpo",
        "A group with equal rewards gives GRPO without KL nothing.",
        source="trl#3708",
        read="third party",
        kind="identity",
        where=f"{ONE_STEP}, K = 3, on-policy, at pi_ref e^(2R)",
        unit="norm of the gradient",
        number=lambda: _tied("grpo", kl="none"),
        unless="k3 is in the loss",
        counterfactual=lambda: _tied("grpo", kl="k3"),
    ),
    fails(
        "equal-rewards",
        "A group with equal rewards gives no objective anything.",
        source="a reading of trl#3708",
        read="third party",
        where=f"{ONE_STEP}, K = 3, on-policy, at pi_ref e^(2R)",
        unit="norm of GVPO's gradient",
        number=lambda: _tied("gvpo"),
        unless="the policy is still the reference",
        counterfactual=lambda: _tied("gvpo", nats=0.0),
    ),
    holds(
        "ppo-critic",
        "At lam = 1 PPO ends at the optimum whatever its critic says.",
        source="derived in this project, against the teaching that PPO needs an exact critic",
        read="third party",
        unless="lam = 0.95",
        **off_optimum("ppo", "lam=1, a wrong critic", instead="lam=0.95, a wrong critic"),
    ),
    holds_if(
        "ppo-gae",
        "GAE with lam = 0.95 is harmless whatever the critic.",
        source="common teaching",
        read="third party",
        unless="the critic has learnt until it is exact",
        **off_optimum(
            "ppo", "lam=0.95, a wrong critic", instead="lam=0.95, a critic that has learnt"
        ),
    ),
]
