"""Exercise 8: the credit of every step.

A step took the answer from s_{t-1} to s_t. What it was worth is the change in value, which is also
how much more the best policy likes it than the reference does,

    credit_t = V(s_t) - V(s_{t-1}) = log pi*(y_t | s_{t-1}) - log pi_ref(y_t | s_{t-1})

with V(s_T) = R/alpha. Over the answer the credits add up to R/alpha - log Z.

Write `step_credit(values, reward, alpha) -> float64 [T]`: the credits of steps 1 ... T, in nats.

- `values`, float64 [T]: V(s_0), ..., V(s_{T-1}), in nats: the states before each step. V(s_T) is
  yours to add;
- `reward`, float: R(y), in units of reward;
- `alpha`, float > 0: the temperature, reward per nat.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.course.exercises.trees import random_walk


def step_credit(values: Array, reward: float, alpha: float) -> Array:
    """V(s_t) - V(s_{t-1}), t = 1..T, [T], nats.

    >>> step_credit(np.array([1.0, 1.5, 0.5]), reward=1.0, alpha=0.5)
    array([ 0.5, -1. ,  1.5])
    """
    return np.diff(np.append(values, reward / alpha))


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def value_itself(values: Array, reward: float, alpha: float) -> Array:
    """V(s_t) itself is returned: a step's credit is what it changed."""
    return np.append(values[1:], reward / alpha)


def value_before(values: Array, reward: float, alpha: float) -> Array:
    """V(s_{t-1}) itself is returned: a step's credit is what it changed."""
    return values.copy()


def from_the_beginning(values: Array, reward: float, alpha: float) -> Array:
    """V(s_t) - V(s_0) is returned, the credit of all the steps so far: subtract the value just
    before the step.
    """
    return np.cumsum(step_credit(values, reward, alpha))


def sign(values: Array, reward: float, alpha: float) -> Array:
    """V(s_{t-1}) - V(s_t) is returned: a step that helps has positive credit."""
    return -step_credit(values, reward, alpha)


def last_step_dropped(values: Array, reward: float, alpha: float) -> Array:
    """the last step is dropped: append V(s_T) = R/alpha before taking differences."""
    return np.diff(values)


def last_step_free(values: Array, reward: float, alpha: float) -> Array:
    """the last step gets no credit: it goes from V(s_{T-1}) to R/alpha."""
    return np.append(np.diff(values), 0.0)


def ends_at_zero(values: Array, reward: float, alpha: float) -> Array:
    """V is 0 at the end, as if no reward came: V(s_T) = R/alpha."""
    return np.diff(np.append(values, 0.0))


def first_step_whole(values: Array, reward: float, alpha: float) -> Array:
    """the first step is credited with all of V(s_1): it started from V(s_0) = log Z, not from 0."""
    credit = step_credit(values, reward, alpha)
    credit[0] += values[0]
    return credit


def reward_undivided(values: Array, reward: float, alpha: float) -> Array:
    """V(s_T) = R instead of R/alpha: the reward has to be put in nats."""
    return step_credit(values, reward, 1.0)


def reward_units(values: Array, reward: float, alpha: float) -> Array:
    """the credits are multiplied by alpha, which puts them in units of reward: the answer is in
    nats.
    """
    return alpha * step_credit(values, reward, alpha)


def shared_evenly(values: Array, reward: float, alpha: float) -> Array:
    """all steps share alike: that has the right sum, and tells no step from another."""
    return np.full(len(values), (reward / alpha - values[0]) / len(values))


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Answers by hand, a shift of all rewards, random answers with log pi*/pi_ref from the
    policies, a single step.
    """
    values = np.array([1.0, 1.5, 0.5, 1.25])
    worked = np.array([0.5, -1.0, 0.75, 0.75])
    yield Case("values 1, 1.5, 0.5, 1.25, reward 1, alpha 0.5", (values, 1.0, 0.5), worked)
    yield Case(
        "the same, every reward raised by 3: all values rise by 6", (values + 6, 4.0, 0.5), worked
    )
    yield Case(
        "values 1, 1.5, 0.5, 1.25, but reward 0",
        (values, 0.0, 0.5),
        np.array([0.5, -1.0, 0.75, -1.25]),
    )
    for trial in range(4):
        vocab_size, horizon = int(rng.integers(2, 4)), int(rng.integers(2, 5))
        alpha = (round(float(rng.uniform(0.2, 2)), 3), 0.002)[trial == 3]
        where = f"random answer {trial + 1}: V = {vocab_size}, T = {horizon}, alpha {alpha}"
        walk = random_walk(rng, vocab_size, horizon, alpha)
        optimal = np.diff(walk.optimal_logps, prepend=0.0)  # log pi* of each token
        yield Case(where, (walk.values, walk.reward, alpha), optimal - walk.logps)
    yield Case(
        "a single step, log Z = -0.5, reward -1, alpha 1",
        (np.array([-0.5]), -1.0, 1.0),
        np.array([-0.5]),
    )


EXERCISE = Exercise(
    name="step_credit",
    compares="the credit of every step of one answer, in nats",
    statement=__doc__,
    reference=step_credit,
    gives="V(s_t) - V(s_{t-1}), t = 1..T, [T], nats.",
    wrong_answers={
        "V itself": value_itself,
        "V before the step": value_before,
        "V - V(empty)": from_the_beginning,
        "sign": sign,
        "last step dropped": last_step_dropped,
        "last step without credit": last_step_free,
        "V = 0 at the end": ends_at_zero,
        "first step from 0": first_step_whole,
        "R for R/alpha at the end": reward_undivided,
        "reward units": reward_units,
        "shared evenly": shared_evenly,
    },
    hints=(
        "How much did the value change from just before the step to just after it?",
        "T steps have T + 1 states. `values` has the first T of them: what is V at the complete "
        "answer?",
        "Append `reward / alpha` to `values`, then take differences of neighbours (np.diff).",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("step", 1)),
    praise="the credits add up to R/alpha - log Z, and each step has its own",
)
