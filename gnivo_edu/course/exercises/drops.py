"""Exercise 38: the first drop and the last missed chance.

Let p_0, p_1, ..., p_T be the chance of ending right before the first step of an answer and after
each of its T steps. Two steps can be asked for, and often they are not the same:

    first drop              the first step t with p_t < p_{t-1}
    last missed chance      the last step before which there was one: the last t with p_{t-1} > 0

Neither need be the step of the largest drop: a mistake may cost little by itself, and a check that
could have mended it may cost the rest.

Write `drops(chances) -> (first, last)`, two arrays of integers [N]; steps count from 1.

- `chances`, float64 [N, T + 1]: row i holds p_0 ... p_T of answer i. All answers are wrong: they
  start with a chance and end with p_T = 0. Chances may come from samples, so that one of 0 may rise
  again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, by_entry, by_part, tuple_of, whole_numbers
from gnivo_edu.course.exercises.base import Case, Exercise

Pair = tuple[NDArray[np.int64], NDArray[np.int64]]


def drops(chances: Array) -> Pair:
    """The first step that lowers the chance, and the last before which there was one, from 1 on.

    >>> drops(np.array([[0.5, 0.25, 0.25, 0.0]]))
    (array([1]), array([3]))
    """
    first = (np.diff(chances, axis=1) < 0).argmax(axis=1) + 1
    last = chances.shape[1] - (chances > 0)[:, ::-1].argmax(axis=1)
    return first, last


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def from_0(chances: Array) -> Pair:
    """steps are counted from 0: the first step leads from p_0 to p_1, and is step 1."""
    first, last = drops(chances)
    return first - 1, last - 1


def largest_for_first(chances: Array) -> Pair:
    """the first drop is taken to be the largest one: a mistake may cost less than what comes
    later.
    """
    return np.diff(chances, axis=1).argmin(axis=1) + 1, drops(chances)[1]


def largest_for_last(chances: Array) -> Pair:
    """the last missed chance is taken to be the largest drop: a small chance may be missed last."""
    return drops(chances)[0], np.diff(chances, axis=1).argmin(axis=1) + 1


def last_fall(chances: Array) -> Pair:
    """the last missed chance is taken to be the first step after which the chance is 0: it may rise
    once more.
    """
    return drops(chances)[0], (chances[:, 1:] == 0).argmax(axis=1) + 1


def below_start(chances: Array) -> Pair:
    """every chance is compared with p_0: a drop is one from the state before."""
    return (chances[:, 1:] < chances[:, :1]).argmax(axis=1) + 1, drops(chances)[1]


def rises(chances: Array) -> Pair:
    """the first rise is returned: a drop is p_t < p_{t-1}."""
    return (np.diff(chances, axis=1) > 0).argmax(axis=1) + 1, drops(chances)[1]


def state_for_step(chances: Array) -> Pair:
    """the last state with a chance is returned: the step that misses it is the next one."""
    return drops(chances)[0], drops(chances)[1] - 1


# --- the check ------------------------------------------------------------------------------------


def step_by_step(chances: Array) -> Pair:
    """The same, one answer and one step at a time."""
    first, last = [], []
    for row in chances:
        falls = [t for t in range(1, len(row)) if row[t] < row[t - 1]]
        alive = [t for t in range(1, len(row)) if row[t - 1] > 0]
        first.append(min(falls))
        last.append(max(alive))
    return np.array(first), np.array(last)


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Three answers by hand, random ones step by step, then one step alone."""
    chances = np.array(
        [
            [0.5, 0.75, 0.625, 0.25, 0.125, 0.0, 0.0],  # falls below its start later than it falls
            [0.25, 0.5, 0.0, 0.0, 0.125, 0.0, 0.0],  # thought lost once too early
            [0.25, 0.25, 0.125, 0.375, 0.375, 0.125, 0.0],  # lost at the very end
        ]
    )
    yield Case("three answers of six steps", (chances,), (np.array([2, 2, 2]), np.array([5, 5, 6])))
    yield Case("the third alone", (chances[2:],), (np.array([2]), np.array([6])))
    for trial in range(4):
        shape = int(rng.integers(2, 6)), int(rng.integers(4, 8))
        drawn = rng.integers(0, 5, size=shape) / 4
        drawn[:, 0], drawn[:, -1] = rng.integers(1, 5, size=shape[0]) / 4, 0.0
        yield Case(f"random chances {trial + 1}: shape {shape}", (drawn,), step_by_step(drawn))
    yield Case(
        "one step, and it is wrong", (np.array([[0.5, 0.0]]),), (np.array([1]), np.array([1]))
    )


EXERCISE = Exercise(
    name="drops",
    compares="the first drop and the last missed chance of every answer, steps counted from 1",
    statement=__doc__,
    reference=drops,
    gives="The first step that lowers the chance, and the last before which there was one, from 1.",
    wrong_answers={
        "counts from 0": from_0,
        "largest for first": largest_for_first,
        "largest for last": largest_for_last,
        "first 0 for last": last_fall,
        "compares with the start": below_start,
        "rises": rises,
        "state for step": state_for_step,
    },
    hints=(
        "`np.diff(chances, axis=1)` has the change over each step; `argmax` of a mask is its first "
        "True.",
        "The last state with a chance: turn the rows round, `(chances > 0)[:, ::-1]`, and look for "
        "the first True.",
        "That many states from the end: the step is `chances.shape[1]` less it, counted from 1.",
    ),
    cases=cases,
    parse=tuple_of("a pair of arrays", whole_numbers, whole_numbers),
    difference=by_part(
        first_drop=by_entry(("answer", 1)), last_missed_chance=by_entry(("answer", 1))
    ),
    praise="where it began to go wrong, and where it was lost",
)
