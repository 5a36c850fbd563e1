"""The numbers behind the claims of a reference that moves: each is zero where its claim is true."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor

from gnivo_edu import exact
from gnivo_edu.population import Answers, laws, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import ALPHA, off_tilts
from gnivo_edu.population.moving import (
    Average,
    Policy,
    along_answers,
    both_kls,
    change_by_token,
    partly_refreshed,
    refreshed,
    refreshes,
    value_at,
)
from gnivo_edu.population.questions import relative_error

TIMES = 6


def pi_v() -> Policy:
    """VIMPO's rest."""
    answers = problem("tree")
    return answers.from_law(laws.vimpo_law(answers, ALPHA))


def half_way() -> Policy:
    """The policy half-way to pi*."""
    answers = problem("tree")
    return answers.tilted(answers.rewards / (2 * ALPHA))


def stranger() -> Policy:
    """A random policy, which has nothing to do with either."""
    return problem("tree").from_tables(exact.random_reference(3, 3, seed=7))


def change(policy: Policy) -> Tensor:
    """What a swap to the stranger adds to the implied values, [n, T], reward."""
    answers = problem("tree")
    by_token = change_by_token(answers, policy, reference=stranger(), alpha=ALPHA)
    return along_answers(answers, by_token)


def mean_change(writer: Policy) -> float:
    """Its largest mean after 1, 2, 3 tokens on a writer's answers."""
    return float((problem("tree").law(writer) @ change(pi_v())).abs().max())


def rise(policy: Policy) -> float:
    """By how much more than half its last variance the value loss rises at the swap, relative."""
    answers = problem("tree")
    half = float(answers.law(policy) @ change(policy)[:, -1].square()) / 2
    old, new = (
        value_at(seen, policy, group_size=2, alpha=ALPHA).loss
        for seen in (answers, replace(answers, reference=stranger()))
    )
    return abs(new - old - half) / half


def off_lower_alpha(name: str) -> float:
    """Total variation between n refreshes of VIMPO and VIMPO at alpha/n, n = 2 and 6."""
    answers = problem(name)
    ends = {n: answers.law(refreshed(answers, ALPHA, times=n)) for n in (2, TIMES)}
    return max(total_variation(x, laws.vimpo_law(answers, ALPHA / n)) for n, x in ends.items())


def off_values(on_the_way: bool) -> float:
    """Total variation of the last policy from pi_0 tilted by the sum of the values on the way, or
    by n times the last ones.
    """
    answers = problem("tree")
    policies = [policy for _, policy in refreshes(answers, ALPHA, times=TIMES)]
    summed = policies if on_the_way else [policies[-1]] * TIMES
    logits = answers.reference.clone()
    for law in map(answers.law, summed):
        logits += answers.by_token(law * answers.rewards) / answers.by_token(law) / ALPHA
    return total_variation(answers.law(answers.policy(logits)), answers.law(policies[-1]))


def off_gain(both: bool) -> float:
    """Largest distance of a refresh's gain of E[R] from alpha times both KLs, or one of them."""
    answers, errors = problem("tree"), []
    for seen, policy in refreshes(answers, ALPHA, times=TIMES):
        gain = float((answers.law(policy) - answers.law(seen.reference)) @ answers.rewards)
        nats = both_kls(answers, old=seen.reference, new=policy)
        if not both:
            nats = float(answers.visits(seen.reference) @ seen.kl(policy))
        errors.append(abs(gain - ALPHA * nats))
    return max(errors)


def over_bound(power: int) -> float:
    """By how much more than alpha log(1/pi_0(best))/n^power is still to gain after n refreshes."""
    answers = problem("tree")
    best = answers.rewards == answers.rewards.max()
    nats = -float(answers.law(answers.reference)[best].sum().log())
    over = [0.0]
    for n, (_, policy) in enumerate(refreshes(answers, ALPHA, times=TIMES), start=1):
        left = float(answers.rewards.max() - answers.law(policy) @ answers.rewards)
        over.append(left - ALPHA * nats / n**power)
    return max(over)


def nearer(alpha: float) -> float:
    """By how much nearer to pi* of alpha = 0.5 VIMPO ends after 32 refreshes than after one."""
    answers = problem("tree")
    goal = laws.tilt(answers, ALPHA)
    frozen = total_variation(laws.vimpo_law(answers, ALPHA), goal)
    moved = total_variation(answers.law(refreshed(answers, alpha, times=32)), goal)
    return max(0.0, frozen - moved)


def annealed(size: float) -> float:
    """How far the factor of the value loss is from 1 + `size` (1 - s)^2, K = 3, s = 0.9, 0.5."""
    answers, policy = problem("tree"), pi_v()
    at = partial(value_at, answers, policy, group_size=3)
    before = at(alpha=ALPHA).loss
    shares = (0.9, 0.5)
    return max(abs(at(alpha=s * ALPHA).loss / before - 1 - size * (1 - s) ** 2) for s in shares)


def push(factor: float) -> float:
    """Distance of the push of alpha -> alpha/2 from `factor` times that of a refresh, relative."""
    answers, policy = problem("tree"), pi_v()
    refresh, annealing = (
        value_at(seen, policy, group_size=2, alpha=alpha).gradient["logits"]
        for seen, alpha in ((replace(answers, reference=policy), ALPHA), (answers, ALPHA / 2))
    )
    return relative_error(annealing, factor * refresh)


def gauge(size: int) -> float:
    """How far the factor of a refresh half-way to pi* is from K/(1 + `size` u), K = 3."""
    answers, policy, K = problem("tree"), half_way(), 3
    law, fresh = answers.law(policy), replace(answers, reference=policy)
    # The implied value of an answer is what a swap to the policy itself would take off it.
    by_token = change_by_token(answers, policy, reference=policy, alpha=ALPHA)
    learnt = -along_answers(answers, by_token)[:, -1]
    centred = answers.rewards - law @ answers.rewards
    u = float(law @ (learnt - centred).square() / (law @ centred.square()))
    before, after = (
        value_at(seen, policy, group_size=K, alpha=ALPHA).loss for seen in (answers, fresh)
    )
    return abs(after / before - K / (1 + size * u))


def off_whole_refreshes(average: Average) -> float:
    """Total variation between four partial refreshes by a half and two whole ones."""
    answers = problem("tree")
    end = partly_refreshed(answers, ALPHA, times=4, rate=0.5, average=average)
    return total_variation(end, laws.tilt(answers, ALPHA / 2))


def off_any_tilt(answers: Answers) -> float:
    """Total variation between four partial refreshes by a half and the nearest tilt by R."""
    average: Average = "probabilities of answers"
    return off_tilts(answers, partly_refreshed(answers, ALPHA, times=4, rate=0.5, average=average))


def two_values() -> Answers:
    """The tree with rewards of two values."""
    answers = problem("tree")
    return replace(answers, rewards=(answers.rewards > 0.5).double())
