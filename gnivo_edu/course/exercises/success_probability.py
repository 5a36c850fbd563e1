"""Exercise 9: from nats to a chance.

Nats are opaque. Where the reward is 1 for ending right and 0 for ending wrong, V(s) = log
E_ref[e^{R/alpha} | s] hides an everyday number, the chance p that the reference, going on from s,
ends right:

    e^V = (1 - p) + p e^{1/alpha}

Write `success_probability(values, alpha) -> float64 [...]`: p, of the same shape as `values`.

- `values`, float64 [...], any shape: soft values V, from 0 (surely wrong) to 1/alpha (surely
  right), in nats;
- `alpha`, float > 0: the temperature. It may be as small as 0.001, where e^{1/alpha} is no float.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise


def success_probability(values: Array, alpha: float) -> Array:
    """(e^V - 1)/(e^{1/alpha} - 1), with e^{1/alpha} divided out of both, so that nothing overflows.

    >>> success_probability(np.log([1.0, 0.75 + 0.25 * np.exp(2)]), alpha=0.5).round(12)
    array([0.  , 0.25])
    """
    never = np.exp(-1 / alpha)
    return (np.exp(values - 1 / alpha) - never) / (1 - never)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def sigmoid(values: Array, alpha: float) -> Array:
    """sigmoid(V) is returned: V is no log-odds; solve e^V = (1 - p) + p e^{1/alpha} for p."""
    return 1 / (1 + np.exp(-values))


def alpha_v(values: Array, alpha: float) -> Array:
    """alpha V is returned: that is a value in units of reward, and more than the chance unless V is
    0 or 1/alpha.
    """
    return alpha * values


def no_ones(values: Array, alpha: float) -> Array:
    """both 1s are missing, e^{V - 1/alpha}: surely wrong, V = 0, has to give 0."""
    return np.exp(values - 1 / alpha)


def numerator_without_one(values: Array, alpha: float) -> Array:
    """the -1 above is missing: surely wrong, V = 0, has to give 0."""
    return np.exp(values) / np.expm1(1 / alpha)


def denominator_without_one(values: Array, alpha: float) -> Array:
    """the -1 below is missing: surely right, V = 1/alpha, has to give 1."""
    return np.expm1(values) / np.exp(1 / alpha)


def plus_ones(values: Array, alpha: float) -> Array:
    """a 1 is added where it has to be subtracted, above and below."""
    return (np.exp(values) + 1) / (np.exp(1 / alpha) + 1)


def alpha_for_inverse(values: Array, alpha: float) -> Array:
    """e^alpha stands for e^{1/alpha}."""
    return np.expm1(values) / np.expm1(alpha)


def forgets_alpha(values: Array, alpha: float) -> Array:
    """alpha is left out: being surely right is worth e^{1/alpha}, not e."""
    return np.expm1(values) / np.expm1(1.0)


def overflows(values: Array, alpha: float) -> Array:
    """e^{1/alpha} overflows: divide it out of numerator and denominator."""
    return np.expm1(values) / np.expm1(1 / alpha)


def overflows_in_alpha(values: Array, alpha: float) -> Array:
    """math.exp(1/alpha) overflows: divide e^{1/alpha} out of numerator and denominator."""
    return np.expm1(values) / (math.exp(1 / alpha) - 1)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """A chance of 1/4 by hand, one number, the two ends, random chances put into nats, then the
    limits.
    """
    quarter = math.log(0.75 + 0.25 * math.exp(2))
    yield Case(
        "V of a chance of 1/4 at alpha 0.5, as one number", (np.array(quarter), 0.5), np.array(0.25)
    )
    yield Case(
        "surely wrong and surely right, alpha 0.5",
        (np.array([0.0, 2.0]), 0.5),
        np.array([0.0, 1.0]),
    )
    for shape in ((3,), (2, 4), (2, 2, 2)):
        p, alpha = rng.uniform(size=shape).round(3), round(float(rng.uniform(0.1, 3)), 3)
        values = np.log(1 - p + p * np.exp(1 / alpha))
        yield Case(
            f"random chances, shape {shape}, the first is {p.flat[0]:g}, alpha {alpha}",
            (values, alpha),
            p,
        )
    p = np.array([0.0, 0.3, 1.0])
    yield Case("chances 0, 0.3, 1, alpha 1000", (np.log1p(p * np.expm1(0.001)), 1000.0), p)
    values = np.array([0.0, 1000 + math.log(0.3), 1000.0])
    yield Case("chances 0, 0.3, 1, alpha 0.001", (values, 0.001), p)


EXERCISE = Exercise(
    name="success_probability",
    compares="the chance of ending right",
    statement=__doc__,
    reference=success_probability,
    gives="The chance of ending right, of the shape of `values`.",
    wrong_answers={
        "sigmoid(V)": sigmoid,
        "alpha V": alpha_v,
        "e^{V - 1/alpha}": no_ones,
        "missing -1": numerator_without_one,
        "missing -1 in the denominator": denominator_without_one,
        "plus 1": plus_ones,
        "e^alpha": alpha_for_inverse,
        "forgets alpha": forgets_alpha,
        "overflow at alpha = 1e-3": overflows,
        "overflow of math.exp": overflows_in_alpha,
    },
    hints=(
        "An answer is either right, worth e^{1/alpha}, or wrong, worth e^0 = 1. How does e^V mix "
        "the two?",
        "Solve e^V = (1 - p) + p e^{1/alpha} for p. Try V = 0 and V = 1/alpha: they must give 0 "
        "and 1.",
        "p = (e^V - 1)/(e^{1/alpha} - 1). Multiply both by e^{-1/alpha}, and no exponent is "
        "positive any more.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(),
    praise="V = 0 is surely wrong, V = 1/alpha surely right, and a tiny alpha does not overflow",
)
