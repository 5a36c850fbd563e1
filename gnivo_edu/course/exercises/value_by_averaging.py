"""Exercise 6: V by averaging.

What is a prefix worth? Look at the answers that begin with it, and average e^{R/alpha} over them as
the reference does,

    V(s) = log E_ref[e^{R/alpha} | s] = log ( sum_{y through s} pi_ref(y) e^{R(y)/alpha} / sum_{y
    through s} pi_ref(y) )

Write `value_by_averaging(answers, logps, rewards, prefix, alpha) -> float`, in nats.

- `answers`: all n complete answers, each a tuple of tokens; their lengths differ;
- `logps`, `rewards`, float64 [n]: log pi_ref(y) and R(y) of each answer;
- `prefix`: a tuple of tokens. () is the beginning of every answer; a complete answer begins with
  itself;
- `alpha`, float > 0: the temperature, reward per nat; it may be as small as 0.001.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, same_number
from gnivo_edu.course.exercises.base import Case, Exercise, number
from gnivo_edu.course.exercises.enumerate_leaves import enumerate_leaves, policy

Tokens = tuple[int, ...]
Answers = tuple[Tokens, ...]


def value_by_averaging(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """log E_ref[e^{R/alpha} | prefix], nats.

    >>> answers, logps = ((0, 0), (0, 1), (1,)), np.log([0.3, 0.1, 0.6])
    >>> rewards = np.array([0.0, 1.0, 1.0])
    >>> round(value_by_averaging(answers, logps, rewards, prefix=(0,), alpha=0.5), 4)
    0.9545
    """
    through = np.array([y[: len(prefix)] == prefix for y in answers])
    mass = np.logaddexp.reduce(logps[through])
    return float(np.logaddexp.reduce(logps[through] + rewards[through] / alpha) - mass)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def average(logps: Array, rewards: Array, kept: NDArray[np.bool_], alpha: float) -> float:
    """The right average over the wrong answers: what the mistakes about prefixes share."""
    if not kept.any():
        return math.nan
    return float(
        np.logaddexp.reduce((logps + rewards / alpha)[kept]) - np.logaddexp.reduce(logps[kept])
    )


def undivided(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """the sum is not divided by the prefix's own probability: an average given s has weights that
    sum to 1.
    """
    through = np.array([y[: len(prefix)] == prefix for y in answers])
    return float(np.logaddexp.reduce(logps[through] + rewards[through] / alpha))


def divided_by_count(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """the sum is divided by the number of answers through the prefix: divide by their
    probability.
    """
    through = np.array([y[: len(prefix)] == prefix for y in answers])
    return float(
        np.logaddexp.reduce(logps[through] + rewards[through] / alpha) - math.log(through.sum())
    )


def one_token_less(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """the prefix's last token is not compared: `y[:len(prefix)]` has all of them."""
    return value_by_averaging(answers, logps, rewards, prefix[:-1], alpha)


def one_place_late(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """the prefix is looked for one place late: it starts at the first token, number 0."""
    kept = np.array([y[1 : 1 + len(prefix)] == prefix for y in answers])
    return average(logps, rewards, kept, alpha)


def anywhere(answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float) -> float:
    """answers that contain the prefix's tokens anywhere are kept: they have to begin with it."""
    kept = np.array([any(y[i : i + len(prefix)] == prefix for i in range(len(y))) for y in answers])
    return average(logps, rewards, kept, alpha)


def longer_only(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """the answer that is the prefix itself is left out: a complete answer is worth R/alpha."""
    kept = np.array([y[: len(prefix)] == prefix and len(y) > len(prefix) for y in answers])
    return average(logps, rewards, kept, alpha)


def ignores_prefix(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """all answers are averaged: keep those that begin with the prefix."""
    return average(logps, rewards, np.ones(len(answers), dtype=bool), alpha)


def log_inside(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """R/alpha is averaged: first e^{R/alpha}, then the mean, then the logarithm."""
    through = np.array([y[: len(prefix)] == prefix for y in answers])
    return float(np.average(rewards[through] / alpha, weights=np.exp(logps[through])))


def unweighted(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """the answers through the prefix count alike: each has the weight of its probability."""
    return value_by_averaging(answers, np.zeros_like(logps), rewards, prefix, alpha)


def reward_units(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """alpha * V is returned, in units of reward: the answer is in nats."""
    return alpha * value_by_averaging(answers, logps, rewards, prefix, alpha)


def overflows(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """e^{R/alpha} overflows: take the largest exponent out of the sum, and add it back after the
    logarithm.
    """
    through = np.array([y[: len(prefix)] == prefix for y in answers])
    law = np.exp(logps[through])
    return float(np.log(law @ np.exp(rewards[through] / alpha) / law.sum()))


def overflows_one_by_one(
    answers: Answers, logps: Array, rewards: Array, prefix: Tokens, alpha: float
) -> float:
    """math.exp(R/alpha) overflows: take the largest exponent out of the sum, and add it back after
    the logarithm.
    """
    kept = [
        (math.exp(p), r)
        for y, p, r in zip(answers, logps, rewards, strict=True)
        if y[: len(prefix)] == prefix
    ]
    return math.log(sum(p * math.exp(r / alpha) for p, r in kept) / sum(p for p, _ in kept))


# --- the check ------------------------------------------------------------------------------------


def tree_cases(rng: np.random.Generator, one_in: Callable[[int], int]) -> Iterator[Case]:
    """Random trees with an end token, and a random prefix in each."""
    for vocab_size, horizon in ((2, 4), (3, 3), (3, 4)):
        leaves = enumerate_leaves(
            policy(one_in(2**31), vocab_size), vocab_size, horizon, vocab_size - 1
        )
        answers = tuple(tokens for tokens, _ in leaves)
        p = np.array([probability for _, probability in leaves])
        rewards = rng.uniform(size=len(leaves))
        alpha, answer = round(float(rng.uniform(0.2, 2)), 3), answers[one_in(len(answers))]
        prefix = answer[: one_in(len(answer)) + 1]
        kept = np.array([y[: len(prefix)] == prefix for y in answers])
        expected = math.log(math.fsum(p[kept] * np.exp(rewards[kept] / alpha)) / math.fsum(p[kept]))
        where = (
            f"a random tree, V = {vocab_size}, {len(answers)} answers, prefix {prefix}, alpha "
            f"{alpha}"
        )
        yield Case(where, (answers, np.log(p), rewards, prefix, alpha), expected)


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Seven answers by hand, prefixes of every kind, random trees, then the limits."""
    answers = ((0, 1, 0), (0, 1, 1), (0, 2), (1, 0, 1), (1, 0, 2), (1, 2), (2,))
    p = np.array([0.1, 0.15, 0.25, 0.1, 0.1, 0.1, 0.2])
    rewards = np.array([0.0, 1.0, 0.5, 0.75, 0.0, 1.0, 0.25])
    logps, given = np.log(p), "probabilities 0.1 and 0.15, rewards 0 and 1"
    worked = math.log(0.4 + 0.6 * math.exp(2))
    where = f"{answers}, prefix (0, 1): two answers, {given}, alpha 0.5"
    yield Case(where, (answers, logps, rewards, (0, 1), 0.5), worked)
    order = [5, 3, 0, 6, 4, 2, 1]
    mixed = tuple(answers[i] for i in order)
    yield Case(
        "the same in another order", (mixed, logps[order], rewards[order], (0, 1), 0.5), worked
    )
    yield Case(
        "the same, every reward raised by 3", (answers, logps, rewards + 3, (0, 1), 0.5), worked + 6
    )
    log_z = math.log(float(p @ np.exp(2 * rewards)))
    yield Case("the empty prefix, whose value is log Z", (answers, logps, rewards, (), 0.5), log_z)
    yield Case("a complete answer of one token, (2,)", (answers, logps, rewards, (2,), 0.5), 0.5)
    yield Case(
        "a complete answer of two tokens, (1, 2)", (answers, logps, rewards, (1, 2), 0.5), 2.0
    )
    yield from tree_cases(rng, lambda n: int(rng.integers(n)))
    where = f"prefix (0, 1): two answers, {given}, alpha 0.001"
    yield Case(where, (answers, logps, rewards, (0, 1), 0.001), 1000 + math.log(0.6))


EXERCISE = Exercise(
    name="value_by_averaging",
    compares="V of a prefix, in nats",
    statement=__doc__,
    reference=value_by_averaging,
    gives="log E_ref[e^{R/alpha} | prefix], nats.",
    wrong_answers={
        "not divided by prefix mass": undivided,
        "divided by a count": divided_by_count,
        "off-by-one prefix": one_token_less,
        "off-by-one prefix, one place late": one_place_late,
        "prefix found anywhere": anywhere,
        "complete answer left out": longer_only,
        "ignores the prefix": ignores_prefix,
        "log inside the mean": log_inside,
        "unweighted leaves": unweighted,
        "reward units": reward_units,
        "overflow at alpha = 1e-3": overflows,
        "overflow of math.exp": overflows_one_by_one,
    },
    hints=(
        "Which answers begin with the prefix? Compare `y[:len(prefix)]` with it.",
        "They do not sum to 1 among themselves. What is their total probability?",
        "V is the log of a ratio of two sums: `np.logaddexp.reduce` of log pi_ref + R/alpha, "
        "minus that of log pi_ref.",
    ),
    cases=cases,
    parse=number,
    difference=same_number,
    praise="it averages e^{R/alpha} over the answers through the prefix, and over no others",
)
