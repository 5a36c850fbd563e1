"""Where theory says an objective comes to rest: laws of answers in closed or self-consistent form.

They are written from the papers, with no call to an objective: the atlas compares them with the
roots that it finds. Every function returns float64 [n], probabilities of the answers of `Answers`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.exact import GroupObjective
from gnivo_edu.population.answers import Answers
from gnivo_edu.population.roots import newton

Verdict = Literal["exact", "other optimum", "biased", "collapses"]  # on where an objective ends
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)  # from best to worst
SAME = 1e-6  # total variation below which two laws are the same
Law = Float[Tensor, " n"]
Statistic = Callable[[Tensor], Tensor]  # rewards [G, K] -> one number per response [G, K]


def tilt(answers: Answers, alpha: float) -> Law:
    """pi_ref e^{R/alpha}/Z: the optimum pi* of E[R] - alpha KL(pi || pi_ref)."""
    return tilt_by(answers, answers.rewards / alpha)


def tilt_by(answers: Answers, nats: Float[Tensor, " n"]) -> Law:
    """pi_ref(y) e^{x(y)}/Z for any score x of answers, nats."""
    return (_reference(answers).log() + nats).softmax(0)


def best_of(answers: Answers, K: int, sampler: Law) -> Law:
    """The best of K: P(reward = r) = F(r)^K - F(r-)^K, split as the sampler does within a tie."""
    R = answers.rewards
    upto = ((R[:, None] >= R) * sampler).sum(1)
    at = ((R[:, None] == R) * sampler).sum(1)
    return sampler / at * (upto**K - (upto - at).clamp(min=0) ** K)


def above(answers: Answers, threshold: float, sampler: Law) -> Law:
    """The sampler given R >= threshold."""
    passing = sampler * (answers.rewards >= threshold)
    return passing / passing.sum()


def preference_tilt(answers: Answers, alpha: float, sampler: Law) -> Law:
    """pi_ref e^{P/alpha}/Z, P(y) the probability that y beats a sample: IPO with hard labels.

    A tie is half a win.
    """
    R = answers.rewards
    wins = ((R[:, None] > R) * sampler).sum(1) + ((R[:, None] == R) * sampler).sum(1) / 2
    return tilt_by(answers, wins / alpha)


def vimpo_law(answers: Answers, alpha: float, price: float = 0.0) -> Law:
    """pi_V(a|s) in proportion to pi_ref e^{Q(s,a)/alpha}, Q the expected reward under pi_V.

    `price`: reward per nat that Q charges for the KL of later tokens; at alpha the law is pi*.
    """
    # Q of a state asks only for the policy in later ones: each pass gets one more depth right,
    # from the last to the first.
    law, policy = _reference(answers), answers.reference
    for _ in range(answers.tokens.shape[1]):
        kl = answers.kl(policy)[answers.states].masked_fill(~answers.mask, 0.0)
        # Of earlier tokens and of this one the KL is the same for every action in a state.
        returns = answers.rewards - price * kl.sum(-1)
        q = answers.by_token(law * returns) / answers.by_token(law).clamp(min=1e-300)
        policy = (answers.reference + q / alpha).log_softmax(-1)
        law = answers.law(policy)
    return law


def mean_given_own(answers: Answers, K: int, law: Law, statistic: Statistic) -> Float[Tensor, " n"]:
    """E[statistic_1 | y_1 = y], the other K - 1 answers drawn from `law`: all tuples are listed."""
    return mean_over_groups(law, K, lambda choice: statistic(answers.rewards[choice])[:, 0])


def mean_over_groups(law: Law, K: int, number: Callable[[Tensor], Tensor]) -> Float[Tensor, " n"]:
    """E[number | y_1 = y]; `number`: one for each group, from the answers' places [G, K]."""
    n = len(law)
    others = torch.tensor(list(product(range(n), repeat=K - 1))).view(-1, K - 1)
    weight = law[others].prod(1)
    first = torch.arange(n)[:, None, None].expand(n, len(others), 1)
    return torch.stack([weight @ number(torch.cat([own, others], 1)) for own in first])


def centred_rewards(scale: bool, floor: float = 1e-4) -> Statistic:
    """GRPO's advantage: R_i - mean R; if `scale`, over the group's deviation (Bessel) + `floor`."""

    def statistic(rewards: Tensor) -> Tensor:
        advantage = rewards - rewards.mean(1, keepdim=True)
        return advantage / (rewards.std(1, keepdim=True) + floor) if scale else advantage

    return statistic


def self_consistent(step: Callable[[Law], Law], start: Law) -> Law:
    """A law that `step` maps to itself, by repeated averaging; ValueError if it does not settle."""
    law = start
    for _ in range(2_000):
        new = step(law)
        if float((new - law).abs().max()) < 1e-14:
            return new
        law = (law + new) / 2  # half steps: whole ones may swing around the fixed point for ever
    raise ValueError("the self-consistent law does not settle: raise alpha")


def grpo_by_state(answers: Answers, alpha: float, K: int, scale: bool) -> Law:
    """In every state alpha pi_ref(a|s)/(alpha - (A(s,a) - E_pi A(s,.))): GRPO with token sums.

    A(y) = E[A_i | y_i = y] under the law itself. For answers of one token E_pi A = 0, and this is
    alpha pi_ref/(alpha - A): one-step GRPO with k3.
    """
    # k3 differentiated is the forward KL's gradient (see kl_laboratory). At rest the push on
    # log pi(a|s), pi A + alpha pi_ref, is in proportion to pi: pi (alpha - A) = alpha pi_ref.

    def step(law: Law) -> Law:
        A = mean_given_own(answers, K, law=law, statistic=centred_rewards(scale))
        policy = answers.from_law(law)
        at = answers.by_token(law * A) / answers.by_token(law).clamp(min=1e-300)
        gap = at - (policy.exp() * at).sum(-1, keepdim=True)
        new = alpha * answers.reference.exp() / (alpha - gap)
        return answers.law((new / new.sum(-1, keepdim=True)).log())

    return self_consistent(step, _reference(answers))


def self_tilt(answers: Answers, K: int, statistic: Statistic, temperature: float) -> Law:
    """pi_ref e^{f/temperature}/Z, f(y) = E[statistic_i | y_i = y] under the law itself.

    With GRPO's advantage as statistic it is GRPO with the reverse KL of whole answers in the loss;
    with K softmax(R/alpha), GN-IVO with softmax weights at t = T, whose reference follows the
    policy, and KL(pi || pi_0) in the loss. `temperature` is the KL's coefficient.
    """

    def step(law: Law) -> Law:
        f = mean_given_own(answers, K, law=law, statistic=statistic)
        return tilt_by(answers, f / temperature)

    return self_consistent(step, _reference(answers))


def dro_wrong_value(answers: Answers, alpha: float, value: float, sampler: Law) -> Law:
    """DRO with a fixed V, Proposition 1: alpha h = R - V - (pi/mu)(V^pi - V), solved for pi."""
    log_reference = _reference(answers).log()
    excess = answers.rewards - value
    if float((log_reference + excess / alpha).exp().sum()) < 1:
        raise ValueError("value must be at most alpha log Z")

    # The multiplier is V^pi - V: the number for which the masses add up to one.
    def residual(unknowns: Tensor) -> Tensor:
        log_law, multiplier = unknowns.split([len(excess), 1])
        pull = multiplier * log_law.exp() / sampler
        equations = alpha * (log_law - log_reference) + pull - excess
        return torch.cat([equations, log_law.exp().sum(0, keepdim=True) - 1])

    start = torch.cat([tilt(answers, alpha).log(), torch.zeros_like(excess[:1])])
    root, _, _ = newton(residual, start)
    return root[:-1].exp()


def vimpo_one_step(answers: Answers, alpha: float, actor: float, K: int) -> Law:
    """One-step VIMPO with its whitened actor: pi_ref e^{(1 - 1/K) R/c}/Z, c = alpha - actor/sd(A).

    A is its advantage before whitening, alpha (h - E h).
    """

    def step(law: Law) -> Law:
        h = (law / _reference(answers)).log()
        raw = alpha * (h - law @ h)
        deviation = float((law @ raw.square() - (law @ raw).square() + 1e-8).sqrt())
        return tilt_by(answers, (1 - 1 / K) * answers.rewards / (alpha - actor / deviation))

    return self_consistent(step, tilt(answers, alpha))


def vimpo_with_grpo(answers: Answers, alpha: float, actor: float, K: int) -> Law:
    """One-step VIMPO with GRPO's actor: pi_ref e^{((1 - 1/K) R + actor A/alpha)/alpha}/Z.

    A(y) = E[A_i | y_i = y] under the law itself, A_i GRPO's advantage.
    """
    plain, scaled = centred_rewards(scale=False), centred_rewards(scale=True, floor=1e-6)
    return self_tilt(
        answers,
        K,
        statistic=lambda rewards: plain(rewards) + actor / alpha * scaled(rewards),
        temperature=alpha,
    )


def gnivo_softmax_prefixes(
    answers: Answers, alpha: float, K: int, depth: int
) -> Float[Tensor, " m"]:
    """Law of the prefixes of `depth` tokens that softmax weights fit, by the integral form."""
    # Softmax weights sum to one in every group. The expected gradient of -sum_i w_i log q_i is then
    # E[q - w] by prefix, and of the weights only their mean given the prefix is needed. E[q] is the
    # integral form of Theorem 2: 1/S = integral over s > 0 of e^{-sS}, S the group's sum of e^v.
    law = _reference(answers)
    share = mean_given_own(answers, K, law=law, statistic=lambda R: (R / alpha).softmax(1))
    mass = prefix_law(answers, law, depth=depth)
    target = prefix_law(answers, law * share, depth=depth) / mass
    objective = GroupObjective(mass.numpy(), target.numpy(), group_size=K, total=None)
    v = objective.fit(np.zeros(len(mass)))
    return (mass.log() + torch.from_numpy(v)).softmax(0)


def gnivo_stale_prefixes(
    answers: Answers, alpha: float, depth: int, sampler: Law
) -> Float[Tensor, " m"]:
    """pi_ref(s) E_sampler[e^{R/alpha} | s]: what raw weights fit on samples of another policy."""
    weighted = sampler * (answers.rewards / alpha).exp()
    reference, mass, weighted_mass = (
        prefix_law(answers, law, depth=depth) for law in (_reference(answers), sampler, weighted)
    )
    new = reference * weighted_mass / mass
    return new / new.sum()


def prefix_law(answers: Answers, law: Law, depth: int) -> Float[Tensor, " m"]:
    """Mass of each prefix of `depth` tokens, a finished answer being its own later prefixes."""
    _, index = answers.ends[:, depth - 1].unique(return_inverse=True)
    return index.bincount(law)


def _reference(answers: Answers) -> Law:
    return answers.law(answers.reference)
