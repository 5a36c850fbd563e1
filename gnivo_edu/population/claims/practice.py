"""Claims of practice and teaching: GRPO and its kin, DPO, PPO, KL estimators, masks, batches."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

import toy_envs
from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.population import laws
from gnivo_edu.population.answers import total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
    TV,
    Claim,
    entry,
    gradient,
    miss,
    off_theory,
)
from gnivo_edu.population.expectation import expect, point_at
from gnivo_edu.population.groups import Population
from gnivo_edu.population.kl_laboratory import KLReport, kl_laboratory


@cache
def _laboratory() -> KLReport:
    answers = problem("one step")
    policy = answers.to_tables(answers.tilted(answers.rewards / ALPHA))
    return kl_laboratory(answers.tree, policy)


def _relative(place: tuple[str, str, str], target: str) -> float:
    """Distance of an estimator's expected gradient from a target, over the reverse KL's norm."""
    report = _laboratory()
    return report[place].distances[target] / float(report.targets["reverse KL"].norm())


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
    point = point_at(answers, ALPHA, policy=answers.tilted(answers.rewards / ALPHA))
    settings = {"grpo": {"kl": "none"}}.get(name, {})
    population = Population.of(flat, 3, sampler="current")
    objective = objectives.get(name)
    return float(gradient(objective, population, point=point, alpha=ALPHA, **settings).norm())


def _j_gradient() -> tuple[float]:
    """RLOO's expected gradient against minus that of J = E[R] - alpha KL, a sum over answers."""
    answers = problem("tree")
    point = point_at(answers, ALPHA, policy=answers.tilted(answers.rewards))
    population = Population.of(answers, 2, sampler="current")
    slope = gradient(objectives.rloo, population, point=point, alpha=ALPHA)
    logits = point.logits.clone().requires_grad_()
    law = answers.law(answers.policy(logits))
    J = law @ (answers.rewards - ALPHA * (law / answers.law(answers.reference)).log())
    return (float((slope + torch.autograd.grad(J, logits)[0]).abs().max()),)


def _micro_batches(scattered: bool) -> float:
    """Relative error of GVPO's gradient where a cut group is centred by halves, or as a whole."""
    answers = problem("one step")
    rewards = answers.rewards[None, :4]
    leaf = answers.token_logps(answers.tilted(answers.rewards))[None, :4].detach().requires_grad_()
    record = GroupBatch(
        policy_logps=leaf,
        behaviour_logps=answers.token_logps(answers.reference)[None, :4],
        rewards=rewards,
        mask=torch.ones_like(leaf, dtype=torch.bool),
    )
    whole = torch.autograd.grad(objectives.gvpo(record, ALPHA).loss, leaf)[0]
    if scattered:
        halves = (
            replace(record, **{n: getattr(record, n)[:, s] for n in _PER_RESPONSE}) for s in _HALVES
        )
        losses = [objectives.gvpo(half, ALPHA).loss / 2 for half in halves]
    else:
        # The mean of the whole group, frozen: then every response can be pushed alone.
        h = record.sequence_logratio
        residual = (rewards - rewards.mean(1)) - ALPHA * (h - h.mean(1)).detach()
        losses = [-ALPHA * (residual[:, s] * h[:, s]).sum() / 3 for s in _HALVES]
    slope = torch.autograd.grad(torch.stack(losses).sum(), leaf)[0]
    return float((slope - whole).norm() / whole.norm())


_PER_RESPONSE = ("policy_logps", "behaviour_logps", "reference_logps", "rewards", "mask")
_HALVES = (slice(0, 2), slice(2, 4))


def _end_token() -> tuple[float, float]:
    """Total probability of all complete answers minus 1, without the end token and with it."""
    answers = problem("tree")
    logps = answers.token_logps(answers.reference)
    is_end = answers.tokens.eq(answers.tree.eos_token_id or 0)
    without = logps.masked_fill(is_end, 0.0).sum(-1).exp().sum()
    return abs(float(without) - 1), abs(float(logps.sum(-1).exp().sum()) - 1)


def _dpo_limit() -> tuple[float]:
    """GN-IVO, softmax weights, t = T, K = 2, against DPO, beta 1, labels sigma((R1 - R2)/alpha)."""
    answers = problem("tree")
    population = Population.of(answers, 2)
    point = point_at(answers, ALPHA, policy=answers.tilted(answers.rewards))
    implicit = {"alpha": ALPHA, "weights": "softmax", "prefixes": "last"}
    preference = {"alpha": 1.0, "labels": "soft", "label_temperature": ALPHA}
    gnivo = gradient(objectives.gnivo, population, point=point, **implicit)
    dpo = gradient(objectives.online_dpo, population, point=point, **preference)
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
    point = point_at(answers, ALPHA)
    population = Population.of(answers, 2, sampler="current")
    settings = {"alpha": ALPHA, "kl": "none", "scale": "none"}
    plain, divided = (
        gradient(objectives.grpo, population, point=point, normaliser=name, **settings)
        for name in ("seq-mean-token-sum", normaliser)
    )
    return float(1 - (plain * divided).sum() / (plain.norm() * divided.norm()))


GRPO = "GRPO, arXiv 2402.03300"
CLAIMS = [
    Claim(
        "rloo-gradient",
        "RLOO's expected gradient is that of E[R] - alpha KL.",
        source="RLOO, arXiv 2402.14740, and TRL",
        read="code",
        expected="holds",
        unit="largest difference",
        errors=_j_gradient,
    ),
    Claim(
        "grpo-optimum",
        "GRPO with its k3 term maximises E[R] - alpha KL(pi || pi_ref).",
        source=GRPO,
        read="third party",
        expected="fails",
        unit=TV,
        errors=lambda: (miss("grpo", "k3 in the loss, no std, one step"),),
    ),
    Claim(
        "grpo-law",
        "One-step GRPO with k3 ends at alpha pi_ref/(alpha - A).",
        source="arXiv 2502.18548, and derived in this project",
        read="third party",
        expected="holds",
        unit="total variation from that law",
        errors=lambda: (off_theory("grpo", "k3 in the loss, no std, one step"),),
    ),
    Claim(
        "grpo-std",
        "Dividing by the group's standard deviation does not move where GRPO ends.",
        source="common teaching",
        read="third party",
        expected="fails",
        unit="total variation from pi* at alpha K/(K - 1)",
        errors=_std_shift,
    ),
    Claim(
        "dr-grpo-optimum",
        "Dr. GRPO, unbiased, ends at the KL-regularised optimum.",
        source="a reading of 'done right', arXiv 2503.20783",
        read="third party",
        expected="fails",
        unit=TV,
        errors=lambda: (miss("dr_grpo", "no KL, as published"),),
    ),
    Claim(
        "mean-baseline",
        "With the reverse KL in the loss, a mean that includes the response itself only rescales "
        "the gradient.",
        source="common teaching",
        read="third party",
        expected="fails",
        unit=TV,
        errors=lambda: (miss("dr_grpo", "KL of whole answers"),),
    ),
    Claim(
        "length-normaliser",
        "Dividing each response's loss by its length is neutral.",
        source="common practice (1/|o_i|)",
        read="code",
        expected="holds if",
        unit="cosine distance from the gradient of the sum, a reward that does not depend on "
        "length",
        errors=lambda: (
            _length_bias("seq-mean-token-mean"),
            _length_bias("seq-mean-token-sum-norm"),
        ),
        condition="the divisor is one constant for all",
    ),
    Claim(
        "zero-loss",
        "A policy-gradient loss of zero means that nothing is learned.",
        source="trl#2703, trl#3452, open-r1#239",
        read="third party",
        expected="fails",
        unit="norm of the expected gradient at loss 0",
        errors=_zero_loss,
    ),
    Claim(
        "equal-rewards-grpo",
        "A group with equal rewards gives GRPO without KL nothing.",
        source="trl#3708",
        read="third party",
        expected="holds",
        unit="norm of the gradient",
        errors=lambda: (_tied("grpo"),),
    ),
    Claim(
        "equal-rewards",
        "A group with equal rewards gives no objective anything.",
        source="a reading of trl#3708",
        read="third party",
        expected="fails",
        unit="norm of GVPO's gradient",
        errors=lambda: (_tied("gvpo"),),
    ),
    Claim(
        "k1-in-the-loss",
        "k1 estimates the KL, so differentiating it regularises.",
        source="trl#6503, NVIDIA-NeMo/RL#2506",
        read="third party",
        expected="fails",
        unit="distance from the KL's gradient, relative",
        errors=lambda: (_relative(("k1", "loss", "sequence"), "reverse KL"),),
    ),
    Claim(
        "k3-in-the-loss",
        "k3 estimates the KL with less variance, so differentiating it gives the KL's gradient.",
        source="a common reading of Schulman's note on KL estimators",
        read="third party",
        expected="fails",
        unit="distance from the KL's gradient, relative",
        errors=lambda: (_relative(("k3", "loss", "sequence"), "reverse KL"),),
    ),
    Claim(
        "k2-in-the-loss",
        "k2, biased as a value, has the reverse KL's gradient on-policy.",
        source="NVIDIA-NeMo/RL#2506, and derived in this project",
        read="third party",
        expected="holds",
        unit="distance from the KL's gradient, relative",
        errors=lambda: (_relative(("k2", "loss", "sequence"), "reverse KL"),),
    ),
    Claim(
        "k1-in-the-reward",
        "k1 in the reward gives the reverse KL's gradient.",
        source="arXiv 2510.01555, 2512.21852",
        read="third party",
        expected="holds",
        unit="distance from the KL's gradient, relative",
        errors=lambda: (_relative(("k1", "reward", "sequence"), "reverse KL"),),
    ),
    Claim(
        "ppo-critic",
        "PPO needs an exact critic to end at the optimum.",
        source="common teaching",
        read="third party",
        expected="fails",
        unit="1 if lam = 1 with a wrong critic ends there too",
        errors=lambda: (float(miss("ppo", "lam=1, a wrong critic") < 1e-8),),
    ),
    Claim(
        "ppo-gae",
        "GAE with lam = 0.95 is harmless whatever the critic.",
        source="common teaching",
        read="third party",
        expected="holds if",
        unit=TV,
        errors=lambda: (
            miss("ppo", "lam=0.95, a wrong critic"),
            miss("ppo", "lam=0.95, a critic that has learnt"),
        ),
        condition="the critic is exact",
    ),
    Claim(
        "dpo-optimum",
        "Online DPO converges to the KL-regularised optimum.",
        source="DPO, arXiv 2305.18290; TRL's online trainer labels by the larger score",
        read="code",
        expected="holds if",
        unit=TV,
        errors=lambda: (
            miss("online_dpo", "hard labels, ties half and half"),
            miss("online_dpo", "Bradley-Terry labels, tau=1"),
        ),
        condition="labels are drawn from Bradley-Terry at temperature 1",
    ),
    Claim(
        "dpo-is-gnivo",
        "For pairs of complete answers GN-IVO with softmax weights is DPO at beta 1 with soft "
        "labels.",
        source="derived in this project",
        read="third party",
        expected="holds",
        unit="largest difference of the gradients",
        errors=_dpo_limit,
    ),
    Claim(
        "best-of-k",
        "Imitating the best of K reaches the KL-regularised optimum.",
        source="common practice",
        read="third party",
        expected="fails",
        unit=TV,
        errors=lambda: (miss("sft_winning", "best of K, one round, ties shared"),),
    ),
    Claim(
        "best-of-k-law",
        "One round of best-of-K ends at F(r)^K - F(r-)^K.",
        source="derived in this project",
        read="third party",
        expected="holds",
        unit="total variation from that law",
        errors=lambda: (off_theory("sft_winning", "best of K, one round, ties shared"),),
    ),
    Claim(
        "end-token",
        "The end token may be masked out.",
        source="masks from id != pad where pad is the end token",
        read="code",
        expected="holds if",
        unit="total probability of all answers minus 1",
        errors=_end_token,
        condition="masks come from lengths and the end token is scored",
    ),
    Claim(
        "micro-batches",
        "A loss over groups may be computed micro-batch by micro-batch.",
        source="trl#3021, trl#3017",
        read="third party",
        expected="holds if",
        unit="relative error of GVPO's gradient",
        errors=lambda: (_micro_batches(scattered=True), _micro_batches(scattered=False)),
        condition="the group's means are taken once, over the whole group",
    ),
    Claim(
        "group-maximum",
        "Subtracting the group's largest reward from raw weights is a safe guard against overflow.",
        source="common practice with softmaxes",
        read="third party",
        expected="fails",
        unit=TV,
        errors=lambda: (miss("gnivo", "the group's largest reward subtracted"),),
    ),
    Claim(
        "first-drop",
        "The largest drop in value marks the first mistake.",
        source="a common reading of step values",
        read="story",
        expected="fails",
        unit="share of wrong answers of the poster's problem where it does not",
        errors=_first_drop,
    ),
]
