"""Exercise 5: one step back.

The soft value V(s) = log E_ref[e^{R/alpha} | s] needs no list of answers: a prefix takes it from
its children,

    V(s) = log sum_a pi_ref(a | s) e^{V(s, a)}

and at a complete answer V = R/alpha. Going backwards from there gives V everywhere.

Write `soft_value_backup(next_logps, next_values) -> float64 [...]`, the values V(s) in nats.

- `next_logps`, float64 [..., V]: log pi_ref(a | s), for one prefix [V] or for many [..., V] at
  once; -inf allowed;
- `next_values`, float64 [..., V]: V(s, a), the value of the prefix that token a leads to. It is in
  nats: alpha is in it already. It may be as large as 1000, where e^V is no float.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.course.exercises.trees import random_law


def soft_value_backup(next_logps: Array, next_values: Array) -> Array:
    """log sum_a pi_ref(a|s) e^{V(s,a)} [...], nats, with the largest exponent taken out of the sum.

    >>> soft_value_backup(np.log([0.75, 0.25]), np.array([0.0, 2.0])).round(4)
    np.float64(0.9545)
    """
    exponents = next_logps + next_values
    largest = exponents.max(axis=-1, keepdims=True)
    total = np.exp(exponents - largest).sum(axis=-1)
    return largest[..., 0] + np.log(total)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def hard_max(next_logps: Array, next_values: Array) -> Array:
    """the best child's value is taken: the reference does not always go there."""
    return next_values.max(axis=-1)


def largest_term(next_logps: Array, next_values: Array) -> Array:
    """only the largest term of the sum is kept: the other children count too."""
    return (next_logps + next_values).max(axis=-1)


def mean_of_values(next_logps: Array, next_values: Array) -> Array:
    """V is averaged: average e^V under the reference, then take the logarithm."""
    return (np.exp(next_logps) * next_values).sum(axis=-1)


def uniform_children(next_logps: Array, next_values: Array) -> Array:
    """all children count alike: each has the reference's probability."""
    return soft_value_backup(np.full_like(next_logps, -math.log(next_logps.shape[-1])), next_values)


def forgets_reference(next_logps: Array, next_values: Array) -> Array:
    """e^V is added up without the reference's probabilities."""
    return soft_value_backup(np.zeros_like(next_logps), next_values)


def base_two(next_logps: Array, next_values: Array) -> Array:
    """the logarithm is to base 2: nats take the natural one."""
    return soft_value_backup(next_logps, next_values) / math.log(2)


def reward_units(next_logps: Array, next_values: Array) -> Array:
    """alpha enters again (0.5 here): these values are in nats, so it is in them already."""
    return 0.5 * soft_value_backup(next_logps, next_values / 0.5)


def reward_units_paper(next_logps: Array, next_values: Array) -> Array:
    """alpha enters again (0.2 here): these values are in nats, so it is in them already."""
    return 0.2 * soft_value_backup(next_logps, next_values / 0.2)


def not_logged(next_logps: Array, next_values: Array) -> Array:
    """the mean of e^V is returned without the logarithm."""
    return np.exp(next_logps + next_values).sum(axis=-1)


def over_prefixes(next_logps: Array, next_values: Array) -> Array:
    """the sum runs along axis 0, over prefixes: the tokens lie along the last axis."""
    return np.logaddexp.reduce(next_logps + next_values, axis=0)


def overflows(next_logps: Array, next_values: Array) -> Array:
    """e^V overflows or underflows: take the largest exponent out of the sum, and add it back after
    the logarithm.
    """
    return np.log((np.exp(next_logps) * np.exp(next_values)).sum(axis=-1))


def one_shift(next_logps: Array, next_values: Array) -> Array:
    """one largest exponent serves all prefixes: low ones underflow, so take each prefix's own
    (keepdims).
    """
    exponents = next_logps + next_values
    return exponents.max() + np.log(np.exp(exponents - exponents.max()).sum(axis=-1))


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """One prefix by hand, what shifts and orders do to it, many prefixes at once, then the
    limits.
    """
    p, values = np.array([0.5, 0.3, 0.2]), np.array([0.0, 2.0, -1.0])
    worked = math.log(0.5 + 0.3 * math.exp(2) + 0.2 * math.exp(-1))
    where = "probabilities 0.5 0.3 0.2, next values 0 2 -1"
    yield Case(where, (np.log(p), values), np.array(worked))
    yield Case(f"{where}, each raised by 3", (np.log(p), values + 3), np.array(worked + 3))
    yield Case(
        f"{where}, tokens in another order",
        (np.log(p[[2, 0, 1]]), values[[2, 0, 1]]),
        np.array(worked),
    )
    yield Case(
        "all next values are 1.5: then V is 1.5", (np.log(p), np.full(3, 1.5)), np.array(1.5)
    )
    for shape in ((3, 3), (4, 2), (2, 3, 5)):
        logps, drawn = random_law(rng, *shape), rng.normal(scale=2, size=shape).round(3)
        means = (np.exp(logps) * np.exp(drawn)).sum(axis=-1)
        where = f"random prefixes, shape {shape}, the first next value is {drawn.flat[0]:g}"
        yield Case(where, (logps, drawn), np.log(means))
    yield Case("one token, next value -2", (np.zeros(1), np.array([-2.0])), np.array(-2.0))
    impossible = np.array([math.log(0.25), -np.inf, math.log(0.75)])
    expected = np.array(math.log(0.25 + 0.75 * math.e))
    yield Case(
        "an impossible token of value 9 changes nothing",
        (impossible, np.array([0.0, 9.0, 1.0])),
        expected,
    )
    high = np.array([[1000.0, 0.0], [-1000.0, -1002.0]])
    expected = np.array([1000 + math.log(0.5), math.log(0.5 + 0.5 * math.exp(-2)) - 1000])
    yield Case(
        "two prefixes, next values 1000 0 and -1000 -1002",
        (np.full((2, 2), math.log(0.5)), high),
        expected,
    )


EXERCISE = Exercise(
    name="soft_value_backup",
    compares="V(s) from the values one token later, in nats",
    statement=__doc__,
    reference=soft_value_backup,
    gives="log sum_a pi_ref(a|s) e^{V(s,a)} [...], nats.",
    wrong_answers={
        "hard max": hard_max,
        "largest term": largest_term,
        "mean of V": mean_of_values,
        "uniform children": uniform_children,
        "forgets pi_ref": forgets_reference,
        "base 2": base_two,
        "reward units": reward_units,
        "reward units, alpha 0.2": reward_units_paper,
        "no logarithm": not_logged,
        "along the wrong axis": over_prefixes,
        "overflow at large V": overflows,
        "one shift for all prefixes": one_shift,
    },
    hints=(
        "V(s) is the logarithm of a mean of e^V. Whose mean is it, and over what?",
        "A product of a probability and e^V is e^{log pi_ref + V}. Sum over the last axis.",
        "Take each prefix's largest exponent out (`max(axis=-1, keepdims=True)`), or use "
        "`np.logaddexp.reduce`.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(),
    praise="each child counts with its probability, and a large value does not overflow",
)
