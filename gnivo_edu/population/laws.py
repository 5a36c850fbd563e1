"""Where theory says an objective comes to rest: laws of answers in closed or self-consistent form.

Written from papers.md and the papers, with no call to an objective: the atlas compares these laws
with the roots that it finds. Every function returns float64 [n], probabilities of the answers of
`Answers`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.exact.groups import GroupObjective
from gnivo_edu.population.answers import Answers

Law = Float[Tensor, " n"]
Statistic = Callable[[Tensor], Tensor]  # rewards [G, K] -> one number per response [G, K]


def tilt(answers: Answers, alpha: float) -> Law:
    """pi_ref e^{R/alpha}/Z: the optimum pi* of E[R] - alpha KL(pi || pi_ref)."""
    return tilt_by(answers, answers.rewards / alpha)


def tilt_by(answers: Answers, nats: Float[Tensor, " n"]) -> Law:
    """pi_ref(y) e^{x(y)}/Z for any score x of answers, nats."""
    return (_reference(answers).log() + nats).softmax(0)


def argmax(answers: Answers) -> Law:
    """All mass on the best answers; several share it as the reference does."""
    best = answers.rewards == answers.rewards.max()
    return _reference(answers) * best / _reference(answers)[best].sum()


def best_of(answers: Answers, K: int, sampler: Law) -> Law:
    """The best of K: P(reward = r) = F(r)^K - F(r-)^K, split as the sampler does within a tie."""
    R = answers.rewards
    upto = ((R[:, None] >= R) * sampler).sum(1)
    at = ((R[:, None] == R) * sampler).sum(1)
    return sampler / at * (upto**K - (upto - at).clamp(min=0) ** K)


def above(answers: Answers, threshold: float, sampler: Law) -> Law:
    """The sampler given R >= threshold."""
    kept = sampler * (answers.rewards >= threshold)
    return kept / kept.sum()


def preference_tilt(answers: Answers, alpha: float, sampler: Law) -> Law:
    """pi_ref e^{P/alpha}/Z, P(y) the probability that y beats a sample (half for a tie): IPO with
    hard labels.
    """
    R = answers.rewards
    wins = ((R[:, None] > R) * sampler).sum(1) + ((R[:, None] == R) * sampler).sum(1) / 2
    return tilt_by(answers, wins / alpha)


def vimpo_law(answers: Answers, alpha: float) -> Law:
    """pi_V(a|s) proportional to pi_ref e^{Q(s,a)/alpha}, Q the expected reward under pi_V itself,
    from the end back.
    """
    q = torch.zeros_like(answers.reference)
    value = torch.zeros(len(answers.depths), dtype=q.dtype)
    policy = answers.reference.clone()
    T = answers.tokens.shape[1]
    for t in reversed(range(T)):
        here = answers.mask[:, t]
        state, token, last = (
            answers.states[here, t],
            answers.tokens[here, t],
            answers.lengths[here] == t + 1,
        )
        after = answers.states[here, min(t + 1, T - 1)]
        q[state, token] = torch.where(last, answers.rewards[here], value[after])
        rows = state.unique()
        policy[rows] = (answers.reference[rows] + q[rows] / alpha).log_softmax(-1)
        value[rows] = (policy[rows].exp() * q[rows]).sum(-1)
    return answers.law(policy)


def mean_given_own(answers: Answers, K: int, law: Law, statistic: Statistic) -> Float[Tensor, " n"]:
    """E[statistic_1 | y_1 = y], the other K - 1 answers drawn from `law`: every tuple of them is
    listed.
    """
    n = len(law)
    others = torch.tensor(list(product(range(n), repeat=K - 1))).view(-1, K - 1)
    weight = law[others].prod(1)
    rewards = answers.rewards[others]
    columns = [
        weight @ statistic(torch.cat([own.expand(len(others), 1), rewards], 1))[:, 0]
        for own in answers.rewards
    ]
    return torch.stack(columns)


def centred_rewards(scale: bool) -> Statistic:
    """R_i - mean R, over the standard deviation (Bessel) + 1e-4 of the group if `scale`: GRPO's
    advantage.
    """

    def statistic(rewards: Tensor) -> Tensor:
        advantage = rewards - rewards.mean(1, keepdim=True)
        return advantage / (rewards.std(1, keepdim=True) + 1e-4) if scale else advantage

    return statistic


def self_consistent(step: Callable[[Law], Law], start: Law) -> Law:
    """A law that `step` maps to itself, by repeated averaging; ValueError if it does not settle."""
    law, share = start, 0.5
    for _ in range(2_000):
        new = step(law)
        if float((new - law).abs().max()) < 1e-14:
            return new
        law = (1 - share) * law + share * new
    raise ValueError("the self-consistent law does not settle: raise alpha")


def grpo_one_step(answers: Answers, alpha: float, K: int, scale: bool) -> Law:
    """alpha pi_ref/(alpha - A), A(y) = E[A_i | y_i = y] under the law itself: GRPO with k3,
    one-step answers.
    """
    reference = _reference(answers)

    def step(law: Law) -> Law:
        A = mean_given_own(answers, K, law, centred_rewards(scale))
        new = alpha * reference / (alpha - A)
        return new / new.sum()

    return self_consistent(step, reference)


def grpo_by_state(answers: Answers, alpha: float, K: int, scale: bool) -> Law:
    """The same in every state: alpha pi_ref(a|s)/(alpha - (A(s,a) - E_pi A(s,.))), token losses
    summed.
    """

    def step(law: Law) -> Law:
        A = mean_given_own(answers, K, law, centred_rewards(scale))
        policy = answers.from_law(law)
        at = _average_over_answers(answers, law, A)
        gap = at - (policy.exp() * at).sum(-1, keepdim=True)
        new = alpha * answers.reference.exp() / (alpha - gap)
        return answers.law((new / new.sum(-1, keepdim=True)).log())

    return self_consistent(step, _reference(answers))


def grpo_tilt(answers: Answers, alpha: float, K: int, scale: bool) -> Law:
    """pi_ref e^{A/alpha}/Z with that A: GRPO with the reverse KL of whole answers in the loss."""

    def step(law: Law) -> Law:
        return tilt_by(answers, mean_given_own(answers, K, law, centred_rewards(scale)) / alpha)

    return self_consistent(step, _reference(answers))


def moving_with_anchor(answers: Answers, alpha: float, beta: float, K: int) -> Law:
    """pi_0 e^{f/beta}/Z, f(y) = K E[softmax(R/alpha)_i | y_i = y] under the law itself: softmax
    GN-IVO, t = T, with a reference that follows the policy and beta KL(pi || pi_0) in the loss."""

    def step(law: Law) -> Law:
        f = mean_given_own(answers, K, law, lambda rewards: K * (rewards / alpha).softmax(1))
        return tilt_by(answers, f / beta)

    return self_consistent(step, _reference(answers))


def dro_wrong_value(answers: Answers, alpha: float, value: float, sampler: Law) -> Law:
    """DRO with a fixed V: alpha h = R - V - (pi/mu)(V^pi - V), solved for pi (Proposition 1 of the
    paper).
    """
    reference, excess = _reference(answers).numpy(), answers.rewards.numpy() - value
    mu = sampler.numpy()

    def given(multiplier: float) -> np.ndarray:
        # alpha log(pi/ref) + multiplier pi/mu = R - V has one root in log pi for a multiplier >= 0:
        # Newton from above.
        x = np.log(reference) + excess / alpha
        for _ in range(200):
            pull = multiplier * np.exp(x) / mu
            x = x - (alpha * (x - np.log(reference)) + pull - excess) / (alpha + pull)
        return np.exp(x)

    if given(0.0).sum() < 1:
        raise ValueError("value must be at most alpha log Z")
    low, high = 0.0, 1.0
    while given(high).sum() > 1:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if given(middle).sum() > 1 else (low, middle)
    return torch.from_numpy(given(low))


def vimpo_one_step(answers: Answers, alpha: float, actor: float, K: int) -> Law:
    """One-step VIMPO with its whitened actor: pi_ref e^{(1 - 1/K) R/c}/Z, c = alpha - actor/sd(raw
    advantage).
    """

    def step(law: Law) -> Law:
        h = (law / _reference(answers)).log()
        raw = alpha * (h - law @ h)
        deviation = float((law @ raw.square() - (law @ raw).square() + 1e-8).sqrt())
        return tilt_by(answers, (1 - 1 / K) * answers.rewards / (alpha - actor / deviation))

    return self_consistent(step, tilt(answers, alpha))


def gnivo_softmax_prefixes(
    answers: Answers, alpha: float, K: int, depth: int
) -> Float[Tensor, " m"]:
    """Law of the prefixes of `depth` tokens that softmax weights fit, by the integral form: e^{v}
    of the fitted v.
    """
    law = _reference(answers)
    share = mean_given_own(answers, K, law, lambda rewards: (rewards / alpha).softmax(1))
    mass = prefix_law(answers, law, depth)
    target = prefix_law(answers, law * share, depth) / mass
    v = GroupObjective(mass.numpy(), target.numpy(), K, total=None).fit(np.zeros(len(mass)))
    return (mass.log() + torch.from_numpy(v)).softmax(0)


def gnivo_stale_prefixes(
    answers: Answers, alpha: float, depth: int, sampler: Law
) -> Float[Tensor, " m"]:
    """Law of prefixes of `depth` tokens that raw weights fit on stale samples: pi_ref(s)
    E_sampler[e^{R/alpha}|s].
    """
    weight = (answers.rewards / alpha).exp()
    value = prefix_law(answers, sampler * weight, depth) / prefix_law(answers, sampler, depth)
    new = prefix_law(answers, _reference(answers), depth) * value
    return new / new.sum()


def prefix_law(answers: Answers, law: Law, depth: int) -> Float[Tensor, " m"]:
    """Mass of each prefix of `depth` tokens, a finished answer being its own later prefixes."""
    _, index = answers.ends[:, depth - 1].unique(return_inverse=True)
    return torch.zeros(int(index.max()) + 1, dtype=law.dtype).index_add(0, index, law)


def _reference(answers: Answers) -> Law:
    return answers.law(answers.reference)


def _average_over_answers(
    answers: Answers, law: Law, x: Float[Tensor, " n"]
) -> Float[Tensor, "S V"]:
    """E[x | state, action] under a law of answers; 0 where no answer passes."""
    flat = answers.states[answers.mask] * answers.reference.shape[1] + answers.tokens[answers.mask]
    mass, total = (
        torch.zeros(answers.reference.numel(), dtype=law.dtype).index_add(
            0, flat, y[:, None].expand_as(answers.mask)[answers.mask]
        )
        for y in (law, law * x)
    )
    return (total / mass.clamp(min=1e-300)).view_as(answers.reference)
