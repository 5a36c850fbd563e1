"""Claims of a reference that moves: notebooks/moving_reference.md tells them, theorems 6 to 8."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor

from gnivo_edu import exact
from gnivo_edu.population import Answers, laws, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
    ONE_STEP,
    TREE,
    fails,
    holds,
    holds_if,
    off_tilts,
)
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

PAGE = "notebooks/theorems.md"
QUESTION = "under VIMPO's paper page, question"
ON_POLICY = "on-policy, leave-one-out mean"
TIMES = 6


def _pi_v() -> Policy:
    answers = problem("tree")
    return answers.from_law(laws.vimpo_law(answers, ALPHA))


def _half_way() -> Policy:
    answers = problem("tree")
    return answers.tilted(answers.rewards / (2 * ALPHA))


def _stranger() -> Policy:
    return problem("tree").from_tables(exact.random_reference(3, 3, seed=7))


def _change(policy: Policy) -> Tensor:
    """What a swap to the stranger adds to the implied values, [n, T], reward."""
    answers = problem("tree")
    by_token = change_by_token(answers, policy, reference=_stranger(), alpha=ALPHA)
    return along_answers(answers, by_token)


def _mean_change(writer: Policy) -> float:
    """Its largest mean after 1, 2, 3 tokens on a writer's answers."""
    return float((problem("tree").law(writer) @ _change(_pi_v())).abs().max())


def _rise(policy: Policy) -> float:
    """By how much more than half its last variance the value loss rises at the swap, relative."""
    answers = problem("tree")
    half = float(answers.law(policy) @ _change(policy)[:, -1].square()) / 2
    old, new = (
        value_at(seen, policy, group_size=2, alpha=ALPHA).loss
        for seen in (answers, replace(answers, reference=_stranger()))
    )
    return abs(new - old - half) / half


def _off_lower_alpha(name: str) -> float:
    """Total variation between n refreshes of VIMPO and VIMPO at alpha/n, n = 2 and 6."""
    answers = problem(name)
    ends = {n: answers.law(refreshed(answers, ALPHA, times=n)) for n in (2, TIMES)}
    return max(total_variation(x, laws.vimpo_law(answers, ALPHA / n)) for n, x in ends.items())


def _off_values(on_the_way: bool) -> float:
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


def _off_gain(both: bool) -> float:
    """Largest distance of a refresh's gain of E[R] from alpha times both KLs, or one of them."""
    answers, errors = problem("tree"), []
    for seen, policy in refreshes(answers, ALPHA, times=TIMES):
        gain = float((answers.law(policy) - answers.law(seen.reference)) @ answers.rewards)
        nats = both_kls(answers, old=seen.reference, new=policy)
        if not both:
            nats = float(answers.visits(seen.reference) @ seen.kl(policy))
        errors.append(abs(gain - ALPHA * nats))
    return max(errors)


def _over_bound(power: int) -> float:
    """By how much more than alpha log(1/pi_0(best))/n^power is still to gain after n refreshes."""
    answers = problem("tree")
    best = answers.rewards == answers.rewards.max()
    nats = -float(answers.law(answers.reference)[best].sum().log())
    over = [0.0]
    for n, (_, policy) in enumerate(refreshes(answers, ALPHA, times=TIMES), start=1):
        left = float(answers.rewards.max() - answers.law(policy) @ answers.rewards)
        over.append(left - ALPHA * nats / n**power)
    return max(over)


def _nearer(alpha: float) -> float:
    """By how much nearer to pi* of alpha = 0.5 VIMPO ends after 32 refreshes than after one."""
    answers = problem("tree")
    goal = laws.tilt(answers, ALPHA)
    frozen = total_variation(laws.vimpo_law(answers, ALPHA), goal)
    moved = total_variation(answers.law(refreshed(answers, alpha, times=32)), goal)
    return max(0.0, frozen - moved)


def _annealed(size: float) -> float:
    """How far the factor of the value loss is from 1 + `size` (1 - s)^2, K = 3, s = 0.9, 0.5."""
    answers, policy = problem("tree"), _pi_v()
    at = partial(value_at, answers, policy, group_size=3)
    before = at(alpha=ALPHA).loss
    shares = (0.9, 0.5)
    return max(abs(at(alpha=s * ALPHA).loss / before - 1 - size * (1 - s) ** 2) for s in shares)


def _push(factor: float) -> float:
    """Distance of the push of alpha -> alpha/2 from `factor` times that of a refresh, relative."""
    answers, policy = problem("tree"), _pi_v()
    refresh, annealing = (
        value_at(seen, policy, group_size=2, alpha=alpha).gradient["logits"]
        for seen, alpha in ((replace(answers, reference=policy), ALPHA), (answers, ALPHA / 2))
    )
    return relative_error(annealing, factor * refresh)


def _gauge(size: int) -> float:
    """How far the factor of a refresh half-way to pi* is from K/(1 + `size` u), K = 3."""
    answers, policy, K = problem("tree"), _half_way(), 3
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


def _off_whole_refreshes(average: Average) -> float:
    """Total variation between four partial refreshes by a half and two whole ones."""
    answers = problem("tree")
    end = partly_refreshed(answers, ALPHA, times=4, rate=0.5, average=average)
    return total_variation(end, laws.tilt(answers, ALPHA / 2))


def _off_any_tilt(answers: Answers) -> float:
    average: Average = "probabilities of answers"
    return off_tilts(answers, partly_refreshed(answers, ALPHA, times=4, rate=0.5, average=average))


def _two_values() -> Answers:
    answers = problem("tree")
    return replace(answers, rewards=(answers.rewards > 0.5).double())


CLAIMS = [
    holds(
        "vimpo-swap-mean",
        "A swap of the reference changes VIMPO's implied values by nothing on average, after "
        "every token.",
        source=f"{QUESTION} 1; {PAGE}, theorem 6",
        read="third party",
        where=f"{TREE}, at pi_V, answers of the policy; the new reference is a stranger",
        unit="largest mean change, reward",
        number=lambda: _mean_change(_pi_v()),
        unless="the answers are the old reference's",
        counterfactual=lambda: _mean_change(problem("tree").reference),
    ),
    holds(
        "vimpo-swap-rise",
        "At its rest a swap raises VIMPO's value loss by half the variance of what it adds to "
        "whole answers.",
        source=f"{QUESTION} 1; notebooks/moving_reference.md",
        read="third party",
        kind="corollary",
        where=f"{TREE}, K = 2, {ON_POLICY}; the new reference is a stranger",
        unit="relative",
        number=lambda: _rise(_pi_v()),
        unless="the policy is half-way to pi*, where the loss does not rest",
        counterfactual=lambda: _rise(_half_way()),
    ),
    holds_if(
        "vimpo-refreshes",
        "n refreshes of VIMPO, each at its rest, are VIMPO at alpha/n.",
        source=f"{QUESTION} 2; {PAGE}, theorem 6",
        read="third party",
        where=f"{TREE}, {ON_POLICY}, n = 2, 6; the counterfactual: {ONE_STEP}",
        unit="total variation from VIMPO at alpha/n",
        number=lambda: _off_lower_alpha("tree"),
        unless="answers have one token",
        counterfactual=lambda: _off_lower_alpha("one step"),
    ),
    holds(
        "vimpo-refresh-values",
        "n refreshes of VIMPO tilt pi_0 in every state by the sum of the values on the way.",
        source=f"{PAGE}, theorem 7",
        read="third party",
        where=f"{TREE}, {ON_POLICY}, n = {TIMES}",
        unit="total variation from that tilt",
        number=lambda: _off_values(on_the_way=True),
        unless="it is n times the last values, as at alpha/n",
        counterfactual=lambda: _off_values(on_the_way=False),
    ),
    holds(
        "vimpo-refresh-gain",
        "A refresh of VIMPO raises E[R] by exactly alpha (KL(new||old) + KL(old||new)), where the "
        "old policy goes.",
        source=f"{PAGE}, theorem 7",
        read="third party",
        where=f"{TREE}, {ON_POLICY}, refreshes 1 to {TIMES}, each at its rest",
        unit="reward",
        number=lambda: _off_gain(both=True),
        unless="only KL(new||old) is counted",
        counterfactual=lambda: _off_gain(both=False),
    ),
    holds(
        "vimpo-refresh-bound",
        "After n refreshes of VIMPO at most alpha log(1/pi_0(best))/n of E[R] is still to gain.",
        source=f"{PAGE}, theorem 7",
        read="third party",
        where=f"{TREE}, {ON_POLICY}, n = 1 to {TIMES}",
        unit="reward above the bound",
        number=lambda: _over_bound(power=1),
        unless="the bound falls as 1/n^2",
        counterfactual=lambda: _over_bound(power=2),
    ),
    fails(
        "vimpo-moving-target",
        "A reference that moves takes VIMPO away from the optimum that it would have if frozen.",
        source=f"{QUESTION} 2, one reading",
        read="third party",
        where=f"{TREE}, {ON_POLICY}; 32 refreshes at 32 alpha",
        unit="total variation by which it ends nearer to pi* of alpha",
        number=lambda: _nearer(32 * ALPHA),
        unless="alpha is not raised with the number of refreshes",
        counterfactual=lambda: _nearer(ALPHA),
    ),
    holds(
        "vimpo-anneal",
        "Annealing alpha to s alpha multiplies VIMPO's value loss at its rest by "
        "1 + (K - 1)(1 - s)^2.",
        source=f"{QUESTION} 3; {PAGE}, theorem 6",
        read="third party",
        where=f"{TREE}, K = 3, {ON_POLICY}, s = 0.9, 0.5",
        unit="factor",
        number=lambda: _annealed(size=2),
        unless="K stands for K - 1",
        counterfactual=lambda: _annealed(size=3),
    ),
    holds(
        "vimpo-anneal-push",
        "Annealing alpha to s alpha pushes as a refresh does, s(1 - s) times as hard.",
        source=f"{QUESTION} 3; notebooks/moving_reference.md",
        read="third party",
        kind="corollary",
        where=f"{TREE}, K = 2, {ON_POLICY}, s = 1/2, at pi_V",
        unit="distance from that push, relative",
        number=lambda: _push(factor=0.25),
        unless="it is 1 - s times as hard",
        counterfactual=lambda: _push(factor=0.5),
    ),
    holds(
        "vimpo-refresh-gauge",
        "A refresh multiplies VIMPO's value loss by K/(1 + (K - 1) u), u the share of the "
        "variance of rewards that was not learnt.",
        source=f"{QUESTION} 3; notebooks/moving_reference.md",
        read="third party",
        where=f"{TREE}, K = 3, {ON_POLICY}, half-way to pi*",
        unit="factor",
        number=lambda: _gauge(size=2),
        unless="K stands for K - 1",
        counterfactual=lambda: _gauge(size=3),
    ),
    holds_if(
        "partial-refreshes",
        "n refreshes of GN-IVO or GVPO by a part eta count for n eta whole ones.",
        source=f"{PAGE}, theorem 8",
        read="third party",
        where=f"{TREE}, n = 4, eta = 1/2, each at its rest, logits of a table averaged",
        unit="total variation from two whole refreshes",
        number=lambda: _off_whole_refreshes("logits"),
        unless="log-probabilities of whole answers are averaged",
        counterfactual=lambda: _off_whole_refreshes("log-probabilities of answers"),
    ),
    holds_if(
        "partial-refreshes-tilt",
        "Refreshed in part, by an average of probabilities, GN-IVO or GVPO end at a tilt by R.",
        source=f"{PAGE}, theorem 8",
        read="third party",
        where=f"{TREE}, n = 4, eta = 1/2, each at its rest",
        unit="total variation from the nearest tilt by R, by least squares",
        number=lambda: _off_any_tilt(problem("tree")),
        unless="rewards take two values",
        counterfactual=lambda: _off_any_tilt(_two_values()),
    ),
]
