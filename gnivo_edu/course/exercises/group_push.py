"""Exercise 44: which way a group pushes.

GN-IVO as published is its own reference: in a group of K answers each one is pushed by its softmax
weight less 1/K,

    softmax(R/alpha)_i - 1/K.

Take a group in which m answers are right, R = 1, and the other K - m wrong, R = 0. All right ones
together are pushed by the weight that they hold, less m/K. Then a careless grader comes by, and
with chance p turns *all* rewards of the group round: 0 for 1, and 1 for 0.

Write `group_push(right, size, alpha, chance) -> float64 [n]`: for each m in `right`, how hard the
right answers together are pushed, on average over what the grader does.

- `right`, int64 [n]: numbers m of right answers, each from 0 to K;
- `size`, int >= 2: K;
- `alpha`, float > 0: the temperature, reward per nat, at least 0.01;
- `chance`, float from 0 to 1: p."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise

Counts = NDArray[np.int64]


def group_push(right: Counts, size: int, alpha: float, chance: float) -> Array:
    """The weight that right answers hold on average, less m/K [n].

    >>> group_push(np.array([1, 7]), size=8, alpha=0.2, chance=0.25).round(2)
    array([ 0.59, -0.11])
    """
    light = np.exp(-1 / alpha)
    clean = right / (right + (size - right) * light)
    turned = right * light / (right * light + size - right)
    return np.asarray((1 - chance) * clean + chance * turned - right / size)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def never_turned(right: Counts, size: int, alpha: float, chance: float) -> Array:
    """the grader is left out: with chance p the wrong answers are the ones that are paid."""
    return group_push(right, size, alpha, 0.0)


def scaled(right: Counts, size: int, alpha: float, chance: float) -> Array:
    """the clean push is multiplied by 1 - 2p: that holds for losses that are linear in R, and
    softmax weights of a group turned round are not the old ones with another sign.
    """
    return (1 - 2 * chance) * group_push(right, size, alpha, 0.0)


def coin_each(right: Counts, size: int, alpha: float, chance: float) -> Array:
    """the mean reward 1 - p or p of each answer goes into the softmax: the grader turns the whole
    group round or none of it, and the weights are to be averaged, not the rewards.
    """
    heavy = np.exp((1 - 2 * chance) / alpha)
    return np.asarray(right * heavy / (right * heavy + size - right) - right / size)


def one_over_k(right: Counts, size: int, alpha: float, chance: float) -> Array:
    """1/K is subtracted once: each of the m right answers is pushed by its weight less 1/K."""
    return group_push(right, size, alpha, chance) + (right - 1) / size


def nothing_subtracted(right: Counts, size: int, alpha: float, chance: float) -> Array:
    """nothing is subtracted: the pushes of a group add up to 0."""
    return group_push(right, size, alpha, chance) + right / size


def per_answer(right: Counts, size: int, alpha: float, chance: float) -> Array:
    """the push on one right answer is returned, not that on all m of them."""
    return np.asarray(group_push(right, size, alpha, chance) / np.maximum(right, 1))


def on_wrong_ones(right: Counts, size: int, alpha: float, chance: float) -> Array:
    """the push on the wrong answers is returned: it is that on the right ones with the other
    sign.
    """
    return -group_push(right, size, alpha, chance)


def chance_swapped(right: Counts, size: int, alpha: float, chance: float) -> Array:
    """p and 1 - p have changed places."""
    return group_push(right, size, alpha, 1 - chance)


def paid_turned_numbers(right: Counts, size: int, alpha: float, chance: float) -> Array:
    """in a group that is turned round K - m answers count as right: they are paid as if they were,
    but the push that is asked for is still that on the m right ones.
    """
    other = group_push(size - right, size, alpha, 0.0)
    return (1 - chance) * group_push(right, size, alpha, 0.0) + chance * other


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """By hand where a right answer weighs 3; then weights by the definition, answer by answer."""
    third = 1 / np.log(3)
    # K = 4, m = 1: 3/6 clean, 1/10 turned round, less 1/4.
    yield Case(
        "K = 4, m = 1, a right answer weighs 3, a quarter of groups is turned round",
        (np.array([1]), 4, third, 0.25),
        np.array([0.75 * 0.5 + 0.25 * 0.1 - 0.25]),
    )
    yield Case(
        "the same, m = 0 and 4: nothing to compare", (np.array([0, 4]), 4, third, 0.25), np.zeros(2)
    )
    for trial in range(3):
        size = int(rng.integers(3, 9))
        alpha = round(float(rng.uniform(0.15, 1)), 3)
        chance = round(float(rng.uniform(0.1, 0.45)), 3)
        right = rng.integers(1, size, size=3)
        where = (
            f"random groups {trial + 1}: m {right.tolist()} of {size}, alpha {alpha}, p {chance}"
        )
        yield Case(where, (right, size, alpha, chance), _by_answer(right, size, alpha, chance))
    yield Case(
        "alpha 0.01, K = 8, p = 0.25: the push turns beyond m = 6",
        (np.arange(1, 8), 8, 0.01, 0.25),
        0.75 - np.arange(1, 8) / 8,
    )


def _by_answer(right: Counts, size: int, alpha: float, chance: float) -> Array:
    pushes = []
    for m in right.tolist():
        rewards = (np.arange(size) < m).astype(np.float64)
        mean = np.zeros(size)
        for share, seen in ((1 - chance, rewards), (chance, 1 - rewards)):
            weights = np.exp(seen / alpha)
            mean += share * (weights / weights.sum() - 1 / size)
        pushes.append(mean[:m].sum())
    return np.array(pushes)


EXERCISE = Exercise(
    name="group_push",
    compares="the mean push on the right answers of a group",
    statement=__doc__,
    reference=group_push,
    gives="The push on all right answers together, for each m.",
    wrong_answers={
        "no grader": never_turned,
        "1 - 2p times": scaled,
        "mean rewards in the softmax": coin_each,
        "less 1/K": one_over_k,
        "nothing subtracted": nothing_subtracted,
        "one answer": per_answer,
        "wrong answers": on_wrong_ones,
        "p for 1 - p": chance_swapped,
        "right ones by report": paid_turned_numbers,
    },
    hints=(
        "Without the grader: m answers of weight e^{1/alpha} and K - m of weight 1. Which share "
        "of the whole do the m hold?",
        "With the rewards turned round the same m answers have weight 1, and the others "
        "e^{1/alpha}.",
        "(1 - p) times the first share plus p times the second, less m/K.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(),
    praise="few right answers are pushed up, and many are pushed down",
)
