"""Exercise 3: log Z.

The best policy tilts the reference: pi*(y) = pi_ref(y) e^{R(y)/alpha} / Z. What makes it sum to 1
is

    Z = sum_y pi_ref(y) e^{R(y)/alpha} = E_ref[e^{R/alpha}]

Write `log_z(logps, rewards, alpha) -> float`, in nats.

- `logps`, float64 [n]: log pi_ref(y) of all n complete answers; -inf for an answer that cannot be
  written;
- `rewards`, float64 [n]: R(y), in units of reward;
- `alpha`, float > 0: the temperature, reward per nat. It may be as small as 0.001, where
e^{1/alpha} is no float."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, same_number
from gnivo_edu.course.exercises.base import Case, Exercise, number
from gnivo_edu.course.exercises.trees import random_law


def log_z(logps: Array, rewards: Array, alpha: float) -> float:
    """log E_ref[e^{R/alpha}], nats, with the largest exponent taken out of the sum.

    >>> round(log_z(np.log([0.75, 0.25]), np.array([0.0, 1.0]), alpha=0.5), 4)
    0.9545
    """
    exponents = logps + rewards / alpha
    largest = exponents.max()
    return float(largest + np.log(np.exp(exponents - largest).sum()))


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def unweighted(logps: Array, rewards: Array, alpha: float) -> float:
    """all answers count alike: the mean is the reference's, so each answer is weighted by its
    probability.
    """
    return log_z(np.full(len(logps), -math.log(len(logps))), rewards, alpha)


def forgets_reference(logps: Array, rewards: Array, alpha: float) -> float:
    """e^{R/alpha} is added up without the answers' probabilities."""
    return log_z(np.zeros(len(logps)), rewards, alpha)


def without_alpha(logps: Array, rewards: Array, alpha: float) -> float:
    """the exponent is R: divide the reward by alpha first."""
    return log_z(logps, rewards, 1.0)


def times_alpha(logps: Array, rewards: Array, alpha: float) -> float:
    """the exponent is alpha * R: divide by alpha, so that a small alpha is greedy."""
    return log_z(logps, rewards, 1 / alpha)


def largest_reward(logps: Array, rewards: Array, alpha: float) -> float:
    """only the best answer counts, max R/alpha: the others add to Z as well."""
    return float(rewards.max() / alpha)


def log_inside(logps: Array, rewards: Array, alpha: float) -> float:
    """R/alpha is averaged: first e^{R/alpha}, then the mean, then the logarithm."""
    return float(np.exp(logps) @ rewards / alpha)


def overflows(logps: Array, rewards: Array, alpha: float) -> float:
    """e^{R/alpha} overflows: take the largest exponent out of the sum, and add it back after the
    logarithm.
    """
    return float(np.log((np.exp(logps) * np.exp(rewards / alpha)).sum()))


def overflows_one_by_one(logps: Array, rewards: Array, alpha: float) -> float:
    """math.exp(R/alpha) overflows: take the largest exponent out of the sum, and add it back after
    the logarithm.
    """
    return math.log(
        sum(math.exp(p) * math.exp(r / alpha) for p, r in zip(logps, rewards, strict=True))
    )


def largest_impossible(logps: Array, rewards: Array, alpha: float) -> float:
    """max R/alpha is taken out: if that answer is impossible, the rest underflows; use max(log
    pi_ref + R/alpha).
    """
    largest = (rewards / alpha).max()
    return float(largest + np.log(np.exp(logps + rewards / alpha - largest).sum()))


def not_added_back(logps: Array, rewards: Array, alpha: float) -> float:
    """the largest exponent is taken out of the sum and not added back after the logarithm."""
    return log_z(logps, rewards, alpha) - float((logps + rewards / alpha).max())


def z_itself(logps: Array, rewards: Array, alpha: float) -> float:
    """Z is returned instead of its logarithm."""
    return float(np.exp(log_z(logps, rewards, alpha)))


def reward_units(logps: Array, rewards: Array, alpha: float) -> float:
    """alpha * log Z is returned, in units of reward: the answer is in nats."""
    return alpha * log_z(logps, rewards, alpha)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Three answers by hand, what a shift and an order do to them, random answers, then the
    limits.
    """
    p, rewards = np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 0.5])
    worked = math.log(0.5 + 0.3 * math.exp(2) + 0.2 * math.e)
    where = "probabilities 0.5, 0.3, 0.2, rewards 0, 1, 0.5"
    yield Case(f"{where}, alpha 0.5", (np.log(p), rewards, 0.5), worked)
    yield Case(
        f"{where}, alpha 0.5, in another order",
        (np.log(p[[2, 0, 1]]), rewards[[2, 0, 1]], 0.5),
        worked,
    )
    yield Case(
        f"{where}, every reward raised by 3, alpha 0.5", (np.log(p), rewards + 3, 0.5), worked + 6
    )
    yield Case("no answer is rewarded: Z = 1", (np.log(p), np.zeros(3), 0.5), 0.0)
    for trial in range(4):
        n, alpha = int(rng.integers(2, 9)), round(float(rng.uniform(0.2, 2)), 3)
        logps, drawn = random_law(rng, n), rng.uniform(-1, 1, size=n)
        expected = math.log(math.fsum((np.exp(logps) * np.exp(drawn / alpha)).tolist()))
        yield Case(
            f"random case {trial + 1}: {n} answers, alpha {alpha}", (logps, drawn, alpha), expected
        )
    tiny = math.log(0.5 + 0.3 * math.exp(0.001) + 0.2 * math.exp(0.0005))
    yield Case(f"{where}, alpha 1000", (np.log(p), rewards, 1000.0), tiny)
    yield Case(f"{where}, alpha 0.001", (np.log(p), rewards, 0.001), 1000 + math.log(0.3))
    yield Case(
        f"{where}, minus 2 each, alpha 0.001", (np.log(p), rewards - 2, 0.001), math.log(0.3) - 1000
    )
    impossible = (
        np.array([math.log(0.4), math.log(0.6), -np.inf]),
        np.array([0.0, 0.1, 1.0]),
        0.001,
    )
    where = (
        "probabilities 0.4, 0.6, 0, rewards 0, 0.1, 1, alpha 0.001: the best answer cannot be "
        "written"
    )
    yield Case(where, impossible, 100 + math.log(0.6))


EXERCISE = Exercise(
    name="log_z",
    compares="log Z, in nats",
    statement=__doc__,
    reference=log_z,
    gives="log E_ref[e^{R/alpha}], nats.",
    wrong_answers={
        "unweighted mean": unweighted,
        "forgets pi_ref": forgets_reference,
        "R without 1/alpha": without_alpha,
        "alpha R for R/alpha": times_alpha,
        "max": largest_reward,
        "log inside the mean": log_inside,
        "overflow at alpha = 1e-3": overflows,
        "overflow of math.exp": overflows_one_by_one,
        "takes out an impossible answer's exponent": largest_impossible,
        "largest exponent not added back": not_added_back,
        "Z for log Z": z_itself,
        "reward units": reward_units,
    },
    hints=(
        "Z is a mean of e^{R/alpha}. Whose mean: are all answers equally likely?",
        "A probability in front of e^{R/alpha} can go into the exponent: e^{log pi_ref + R/alpha}.",
        "Subtract the largest exponent before exp and add it back after log. "
        "`np.logaddexp.reduce` does just that.",
    ),
    cases=cases,
    parse=number,
    difference=same_number,
    praise="each answer has its probability's weight, and a tiny alpha does not overflow",
)
