"""Claims of practice and of common teaching: GRPO and its kin, DPO, PPO, KL estimators, masks,
micro-batches.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

import toy_envs
from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import Claim, miss, off_theory
from gnivo_edu.population.expectation import expect, point_at
from gnivo_edu.population.groups import Population
from gnivo_edu.population.kl_laboratory import KLReport, kl_laboratory

ALPHA = 0.5
TV = "total variation from pi*"


@cache
def _laboratory() -> KLReport:
    answers = problem("one step")
    policy = answers.to_tables(answers.tilted(answers.rewards / ALPHA))
    return kl_laboratory(answers.tree, policy)


def _relative(place: tuple[str, str, str], target: str) -> float:
    """Distance of an estimator's expected gradient from a target, relative to the reverse KL's
    gradient.
    """
    report = _laboratory()
    return report[place].distances[target] / float(report.targets["reverse KL"].norm())


def _zero_loss() -> tuple[float]:
    """|gradient| while the loss is exactly zero: RLOO on one on-policy batch."""
    answers = problem("tree")
    found = expect(
        objectives.rloo, Population.of(answers, 3, "current"), point_at(answers, ALPHA), alpha=ALPHA
    )
    assert abs(found.loss) < 1e-15
    return (float(found.gradient["logits"].norm()),)


def _tied(name: str) -> float:
    """Norm of the gradient in a group with equal rewards, off the reference, on-policy."""
    answers = problem("one step")
    flat = replace(answers, rewards=torch.full_like(answers.rewards, 0.5))
    point = point_at(answers, ALPHA, answers.tilted(answers.rewards / ALPHA))
    settings = {"alpha": ALPHA} | ({"kl": "none"} if name == "grpo" else {})
    population = Population.of(flat, 3, "current")
    return float(
        expect(objectives.get(name), population, point, **settings).gradient["logits"].norm()
    )


def _j_gradient() -> tuple[float]:
    """RLOO's expected gradient against minus that of J = E[R] - alpha KL, a sum over answers."""
    answers = problem("tree")
    point = point_at(answers, ALPHA, answers.tilted(answers.rewards))
    got = expect(
        objectives.rloo, Population.of(answers, 2, "current"), point, alpha=ALPHA
    ).gradient["logits"]
    logits = point.logits.clone().requires_grad_()
    law = answers.law(answers.policy(logits))
    J = law @ (answers.rewards - ALPHA * (law / answers.law(answers.reference)).log())
    return (float((got + torch.autograd.grad(J, logits)[0]).abs().max()),)


def _micro_batches(scattered: bool) -> float:
    """Relative error of GVPO's gradient when a group is cut in two, each half centred by itself or
    by the whole.
    """
    answers = problem("one step")
    rewards, logps = (
        answers.rewards[None, :4],
        answers.token_logps(answers.tilted(answers.rewards))[None, :4],
    )
    reference = answers.token_logps(answers.reference)[None, :4]
    leaf = logps.detach().requires_grad_()
    record = GroupBatch(
        policy_logps=leaf,
        behaviour_logps=reference,
        rewards=rewards,
        mask=torch.ones_like(leaf, dtype=torch.bool),
    )
    whole = torch.autograd.grad(objectives.gvpo(record, ALPHA).loss, leaf)[0]
    if scattered:
        halves = (
            replace(record, **{n: getattr(record, n)[:, s] for n in _PER_RESPONSE}) for s in _HALVES
        )
        loss = sum(objectives.gvpo(half, ALPHA).loss for half in halves) / 2
    else:
        # The mean of the whole group, frozen: then every response can be pushed alone.
        h = record.sequence_logratio
        residual = (rewards - rewards.mean(1)) - ALPHA * (h - h.mean(1)).detach()
        loss = sum(-ALPHA * (residual[:, s] * h[:, s]).sum() / 3 for s in _HALVES)
    return float((torch.autograd.grad(loss, leaf)[0] - whole).norm() / whole.norm())  # type: ignore[arg-type]


_PER_RESPONSE = ("policy_logps", "behaviour_logps", "reference_logps", "rewards", "mask")
_HALVES = (slice(0, 2), slice(2, 4))


def _end_token() -> tuple[float, float]:
    """Total probability of all complete answers, minus 1: without the end token's factor, and with
    it.
    """
    answers = problem("tree")
    logps = answers.token_logps(answers.reference)
    is_end = answers.tokens.eq(answers.tree.eos_token_id or 0)
    without = logps.masked_fill(is_end, 0.0).sum(-1).exp().sum()
    return abs(float(without) - 1), abs(float(logps.sum(-1).exp().sum()) - 1)


def _dpo_limit() -> tuple[float]:
    """GN-IVO with softmax weights at t = T, K = 2, against DPO at beta = 1 with soft labels
    sigma((R1 - R2)/alpha).
    """
    answers = problem("tree")
    population, point = (
        Population.of(answers, 2),
        point_at(answers, ALPHA, answers.tilted(answers.rewards)),
    )
    one = expect(
        objectives.gnivo, population, point, alpha=ALPHA, weights="softmax", prefixes="last"
    )
    two = expect(
        objectives.online_dpo, population, point, alpha=1.0, labels="soft", label_temperature=ALPHA
    )
    return (float((one.gradient["logits"] - two.gradient["logits"]).abs().max()),)


def _first_drop() -> tuple[float]:
    """Share of wrong answers of the poster's problem whose largest drop is not at their first wrong
    step.
    """
    tree = exact.enumerate_tree(toy_envs.PosterProblem())
    solution = exact.solve(tree, 0.2)
    wrong = [answer for answer in tree.answers() if tree.rewards[tree.index(answer)[1]] < 1]
    missed = [int(np.argmin(solution.step_credit(answer))) != answer.index(1) for answer in wrong]
    return (sum(missed) / len(missed),)


GRPO = "GRPO, arXiv 2402.03300"
CLAIMS = [
    Claim(
        "rloo-gradient",
        "RLOO's expected gradient is that of E[R] - alpha KL.",
        "RLOO, arXiv 2402.14740, and TRL",
        "code",
        "holds",
        "largest difference",
        _j_gradient,
    ),
    Claim(
        "grpo-optimum",
        "GRPO with its k3 term maximises E[R] - alpha KL(pi || pi_ref).",
        GRPO,
        "third party",
        "fails",
        TV,
        lambda: (miss("grpo", "k3 in the loss, no std, one step"),),
    ),
    Claim(
        "grpo-law",
        "One-step GRPO with k3 ends at alpha pi_ref/(alpha - A).",
        "arXiv 2502.18548, and derived in this project",
        "third party",
        "holds",
        "total variation from that law",
        lambda: (off_theory("grpo", "k3 in the loss, no std, one step"),),
    ),
    Claim(
        "grpo-std",
        "Dividing by the group's standard deviation does not move where GRPO ends.",
        "common teaching",
        "third party",
        "fails",
        "total variation from pi* at alpha K/(K - 1)",
        lambda: (_std_shift(),),
    ),
    Claim(
        "dr-grpo-optimum",
        "Dr. GRPO, unbiased, ends at the KL-regularised optimum.",
        "a reading of 'done right', arXiv 2503.20783",
        "third party",
        "fails",
        TV,
        lambda: (miss("dr_grpo", "no KL, as published"),),
    ),
    Claim(
        "mean-baseline",
        "With the reverse KL in the loss, a mean that includes the response itself only rescales "
        "the gradient.",
        "common teaching",
        "third party",
        "fails",
        TV,
        lambda: (miss("dr_grpo", "KL of whole answers"),),
    ),
    Claim(
        "length-normaliser",
        "Dividing each response's loss by its length is neutral.",
        "common practice (1/|o_i|)",
        "code",
        "holds if",
        "cosine distance from the gradient of the sum, a reward that does not depend on length",
        lambda: (_length_bias("seq-mean-token-mean"), _length_bias("seq-mean-token-sum-norm")),
        "the divisor is one constant for all",
    ),
    Claim(
        "zero-loss",
        "A policy-gradient loss of zero means that nothing is learned.",
        "trl#2703, trl#3452, open-r1#239",
        "third party",
        "fails",
        "norm of the expected gradient at loss 0",
        _zero_loss,
    ),
    Claim(
        "equal-rewards-grpo",
        "A group with equal rewards gives GRPO without KL nothing.",
        "trl#3708",
        "third party",
        "holds",
        "norm of the gradient",
        lambda: (_tied("grpo"),),
    ),
    Claim(
        "equal-rewards",
        "A group with equal rewards gives no objective anything.",
        "a reading of trl#3708",
        "third party",
        "fails",
        "norm of GVPO's gradient",
        lambda: (_tied("gvpo"),),
    ),
    Claim(
        "k1-in-the-loss",
        "k1 estimates the KL, so differentiating it regularises.",
        "trl#6503, NVIDIA-NeMo/RL#2506",
        "third party",
        "fails",
        "distance from the KL's gradient, relative",
        lambda: (_relative(("k1", "loss", "sequence"), "reverse KL"),),
    ),
    Claim(
        "k3-in-the-loss",
        "k3 estimates the KL with less variance, so differentiating it gives the KL's gradient.",
        "a common reading of Schulman's note on KL estimators",
        "third party",
        "fails",
        "distance from the KL's gradient, relative",
        lambda: (_relative(("k3", "loss", "sequence"), "reverse KL"),),
    ),
    Claim(
        "k2-in-the-loss",
        "k2, biased as a value, has the reverse KL's gradient on-policy.",
        "NVIDIA-NeMo/RL#2506, and derived in this project",
        "third party",
        "holds",
        "distance from the KL's gradient, relative",
        lambda: (_relative(("k2", "loss", "sequence"), "reverse KL"),),
    ),
    Claim(
        "k1-in-the-reward",
        "k1 in the reward gives the reverse KL's gradient.",
        "arXiv 2510.01555, 2512.21852",
        "third party",
        "holds",
        "distance from the KL's gradient, relative",
        lambda: (_relative(("k1", "reward", "sequence"), "reverse KL"),),
    ),
    Claim(
        "ppo-critic",
        "PPO needs an exact critic to end at the optimum.",
        "common teaching",
        "third party",
        "fails",
        "1 if lam = 1 with a wrong critic ends there too",
        lambda: (float(miss("ppo", "lam=1, a wrong critic") < 1e-8),),
    ),
    Claim(
        "ppo-gae",
        "GAE with lam = 0.95 is harmless whatever the critic.",
        "common teaching",
        "third party",
        "holds if",
        TV,
        lambda: (
            miss("ppo", "lam=0.95, a wrong critic"),
            miss("ppo", "lam=0.95, a critic that has learnt"),
        ),
        "the critic is exact",
    ),
    Claim(
        "dpo-optimum",
        "Online DPO converges to the KL-regularised optimum.",
        "DPO, arXiv 2305.18290; TRL's online trainer labels by the larger score",
        "code",
        "holds if",
        TV,
        lambda: (
            miss("online_dpo", "hard labels, ties half and half"),
            miss("online_dpo", "Bradley-Terry labels, tau=1"),
        ),
        "labels are drawn from Bradley-Terry at temperature 1",
    ),
    Claim(
        "dpo-is-gnivo",
        "For pairs of complete answers GN-IVO with softmax weights is DPO at beta 1 with soft "
        "labels.",
        "derived in this project",
        "third party",
        "holds",
        "largest difference of the gradients",
        _dpo_limit,
    ),
    Claim(
        "best-of-k",
        "Imitating the best of K reaches the KL-regularised optimum.",
        "common practice",
        "third party",
        "fails",
        TV,
        lambda: (miss("sft_winning", "best of K, one round, ties shared"),),
    ),
    Claim(
        "best-of-k-law",
        "One round of best-of-K ends at F(r)^K - F(r-)^K.",
        "derived in this project",
        "third party",
        "holds",
        "total variation from that law",
        lambda: (off_theory("sft_winning", "best of K, one round, ties shared"),),
    ),
    Claim(
        "end-token",
        "The end token may be masked out.",
        "masks from id != pad where pad is the end token",
        "code",
        "holds if",
        "total probability of all answers minus 1",
        _end_token,
        "masks come from lengths and the end token is scored",
    ),
    Claim(
        "micro-batches",
        "A loss over groups may be computed micro-batch by micro-batch.",
        "trl#3021, trl#3017",
        "third party",
        "holds if",
        "relative error of GVPO's gradient",
        lambda: (_micro_batches(scattered=True), _micro_batches(scattered=False)),
        "the group's means are taken once, over the whole group",
    ),
    Claim(
        "group-maximum",
        "Subtracting the group's largest reward from raw weights is a safe guard against overflow.",
        "common practice with softmaxes",
        "third party",
        "fails",
        TV,
        lambda: (miss("gnivo", "the group's largest reward subtracted"),),
    ),
    Claim(
        "first-drop",
        "The largest drop in value marks the first mistake.",
        "a common reading of step values",
        "story",
        "fails",
        "share of wrong answers of the poster's problem where it does not",
        _first_drop,
    ),
]


def _std_shift() -> float:
    from gnivo_edu.population import laws
    from gnivo_edu.population.claims.claim import entry

    found = entry("grpo", "KL of whole answers, std, token sums")
    plain = laws.tilt(
        problem("tree"), found.row.alpha * found.row.group_size / (found.row.group_size - 1)
    )
    return float((found.law - plain).abs().sum() / 2)


def _length_bias(normaliser: str) -> float:
    """1 - cosine between the expected gradients under a normaliser and under plain sums."""
    answers = problem("tree")
    point, population = point_at(answers, ALPHA), Population.of(answers, 2, "current")
    plain, own = (
        expect(
            objectives.grpo, population, point, alpha=ALPHA, kl="none", scale="none", normaliser=n
        ).gradient["logits"]
        for n in ("seq-mean-token-sum", normaliser)
    )
    return float(1 - (plain * own).sum() / (plain.norm() * own.norm()))
