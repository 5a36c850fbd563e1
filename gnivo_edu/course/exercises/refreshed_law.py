"""Exercise 45: the end of n refreshes.

GVPO and GN-IVO rest at the reference tilted by the rewards,

    pi_1(y) = pi_0(y) e^{R(y)/alpha} / Z.

A refresh makes this policy the new reference, and the same loss, at the same alpha, is trained to
its rest once more: pi_2 is pi_1 tilted in the same way, and so on. After n rests there are n
helpings of R/alpha on the first reference.

Write `refreshed_law(reference, rewards, alpha, times) -> float64 [n]`, the probabilities of all
answers after so many rests.

- `reference`, float64 [n]: the probabilities pi_0(y), all positive, with sum 1;
- `rewards`, float64 [n]: R(y);
- `alpha`, float > 0: the temperature, reward per nat; it may be as small as 0.001;
- `times`, int >= 0: how often a rest was reached. 0: nothing was trained; it may be 1,000.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.course.exercises.best_of_k_law import law_difference


def refreshed_law(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """pi_0 e^{n R/alpha} / Z [n], n = `times`.

    >>> refreshed_law(np.array([0.5, 0.5]), np.array([0.0, np.log(3)]), alpha=1.0, times=2)
    array([0.1, 0.9])
    """
    logs = np.log(reference) + times * rewards / alpha
    law = np.exp(logs - logs.max())
    return np.asarray(law / law.sum())


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def once(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """`times` is left out: each rest tilts the last one, so that n rests are n tilts."""
    return refreshed_law(reference, rewards, alpha, times=1)


def weaker(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """alpha is multiplied by n: n helpings of R/alpha are one at alpha/n."""
    return refreshed_law(reference, rewards / max(times, 1), alpha, times=1)


def one_too_few(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """the refreshes between n rests are counted, n - 1 of them: each rest is a tilt, the first one
    too.
    """
    return refreshed_law(reference, rewards, alpha, times - 1)


def one_too_many(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """one rest more than n is counted."""
    return refreshed_law(reference, rewards, alpha, times + 1)


def doubled(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """the tilt is squared at each refresh: the next helping is R/alpha again, however far the
    reference has gone.
    """
    return refreshed_law(reference, rewards, alpha, times=2 ** min(times, 1_000))


def power(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """the first law pi_1 is raised to the power n: then pi_0 is counted n times, and it is there
    once.
    """
    logs = times * (np.log(reference) + rewards / alpha)
    law = np.exp(logs - logs.max())
    return np.asarray(law / law.sum())


def forgets_reference(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """pi_0 is left out: it is in pi_1, and so in all that follow."""
    return refreshed_law(np.full_like(reference, 1 / len(reference)), rewards, alpha, times)


def alpha_times_reward(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """alpha multiplies R: a reward of alpha is one nat."""
    return refreshed_law(reference, rewards, 1 / alpha, times)


def unnormalised(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """the tilt is not divided by its sum Z."""
    with np.errstate(over="ignore"):
        return np.asarray(reference * np.exp(times * rewards / alpha))


def overflow(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """e^{n R/alpha} overflows, and inf over inf is nan: take the largest exponent out before
    np.exp.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        law = reference * np.exp(times * rewards / alpha)
        return np.asarray(law / law.sum())


def greedy(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """all goes to the best answers: after any number of refreshes something is left for the
    others.
    """
    best = reference * (rewards == rewards.max())
    return np.asarray(best / best.sum())


def logarithms(reference: Array, rewards: Array, alpha: float, times: int) -> Array:
    """log-probabilities are returned: the answer is probabilities."""
    return np.asarray(np.log(refreshed_law(reference, rewards, alpha, times).clip(1e-300)))


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Odds by hand, what shifts and units do, tilts one after the other, and the limits."""
    reference, rewards = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.5, 1.0]) * np.log(4)
    # Three helpings multiply the odds by 2^3 and 4^3.
    worked = np.array([0.5, 0.3 * 8, 0.2 * 64]) / 15.7
    where = "reference 0.5 0.3 0.2, R 0, log 2 and log 4, alpha 1, three rests"
    yield Case(where, (reference, rewards, 1.0, 3), worked)
    yield Case("the same, R and alpha halved", (reference, rewards / 2, 0.5, 3), worked)
    yield Case("the same, every R raised by 2", (reference, rewards + 2, 1.0, 3), worked)
    yield Case(
        "the same, answers in reverse", (reference[::-1], rewards[::-1], 1.0, 3), worked[::-1]
    )
    for trial in range(3):
        size, times = int(rng.integers(2, 7)), int(rng.integers(3, 6))
        alpha = round(float(rng.uniform(0.3, 2)), 3)
        first, random_rewards = rng.dirichlet(np.full(size, 2.0)), rng.random(size)
        law = first
        for _ in range(times):
            tilted = law * np.exp(random_rewards / alpha)
            law = tilted / tilted.sum()
        where = f"random law {trial + 1}: {size} answers, alpha {alpha}, {times} rests"
        yield Case(where, (first, random_rewards, alpha, times), law)
    yield Case("nothing trained: the reference", (reference, rewards, 1.0, 0), reference)
    sharp = np.array([0.0, 0.0, 1.0])
    yield Case("1,000 rests at alpha 0.001: no overflow", (reference, rewards, 0.001, 1_000), sharp)


EXERCISE = Exercise(
    name="refreshed_law",
    compares="the law after n refreshes",
    statement=__doc__,
    reference=refreshed_law,
    gives="pi_0 e^{n R/alpha} / Z [n], n = `times`.",
    wrong_answers={
        "once": once,
        "alpha n for alpha/n": weaker,
        "one too few": one_too_few,
        "one too many": one_too_many,
        "doubled each time": doubled,
        "power of the first law": power,
        "forgets pi_0": forgets_reference,
        "alpha R for R/alpha": alpha_times_reward,
        "unnormalised": unnormalised,
        "overflow": overflow,
        "greedy": greedy,
        "log-probabilities for probabilities": logarithms,
    },
    hints=(
        "Write down log pi_2. How often is R/alpha in it, and how often log pi_0?",
        "log pi_n = log pi_0 + n R/alpha - a constant, which makes the sum one.",
        "Take the largest of these logarithms out before np.exp, then divide by the sum.",
    ),
    cases=cases,
    parse=array,
    difference=law_difference(1e-9),
    praise="n rests at alpha are one at alpha/n",
)
