"""Exercise 16: pin the shift.

A free V_theta is known up to one constant for each depth. A policy knows more: its probabilities of
the prefixes of one depth sum to 1. Written through a policy, pi_theta(s_t) = pi_ref(s_t)
e^{V_theta(s_t)}, so that

    E_ref[e^{V_theta}] = sum_{s_t} pi_ref(s_t) e^{V_theta(s_t)} = 1        at every depth t

Take from V_theta, at each depth, the one constant that makes this true. What is left is V - log Z:
the depths can now be compared, and V_theta(s_t) - V_theta(s_{t-1}) is the credit of a step.

Write `pin_the_shift(v_theta, prefix_logps) -> list of T arrays`, the pinned V_theta, of the same
shapes, in nats.

- `v_theta`: a list of T arrays, entry t - 1 float64 [V**t]: V_theta of every prefix of t tokens.
  Some may be 1000;
- `prefix_logps`: a list of T arrays of the same shapes: log pi_ref(prefix), -inf where the
reference never goes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, arrays, by_depth, frozen
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.course.exercises.trees import backward, prefix_law, random_tables

Depths = list[Array]


def pin_the_shift(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """V_theta - log E_ref[e^{V_theta}] at each depth, nats.

    >>> pinned = pin_the_shift([np.log([1.0, 3.0])], [np.log([0.5, 0.5])])
    >>> np.exp(pinned[0]).round(12)
    array([0.5, 1.5])
    """
    return [
        v - np.logaddexp.reduce(logps + v) for v, logps in zip(v_theta, prefix_logps, strict=True)
    ]


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def constants(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """log E_ref[e^{V_theta}] of each depth, nats."""
    return [np.logaddexp.reduce(logps + v) for v, logps in zip(v_theta, prefix_logps, strict=True)]


def unchanged(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """V_theta is returned as it is."""
    return list(v_theta)


def subtracts_mean(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """the mean of V_theta is subtracted: it is e^{V_theta} that has mean 1."""
    return [v - v.mean() for v in v_theta]


def subtracts_reference_mean(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """the reference's mean of V_theta is subtracted: average e^{V_theta}, then take the
    logarithm.
    """
    return [v - np.exp(logps) @ v for v, logps in zip(v_theta, prefix_logps, strict=True)]


def subtracts_max(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """the largest V_theta is subtracted: that makes the best prefix 0, not the mean of e^{V_theta}
    1.
    """
    return [v - v.max() for v in v_theta]


def uniform(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """all prefixes count alike: the mean is the reference's."""
    return [v - np.logaddexp.reduce(v) + math.log(len(v)) for v in v_theta]


def forgets_reference(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """e^{V_theta} is added up without the reference's probabilities."""
    return [v - np.logaddexp.reduce(v) for v in v_theta]


def last_depth(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """the last depth's constant is subtracted at every depth: each has its own."""
    return [v - constants(v_theta, prefix_logps)[-1] for v in v_theta]


def last_depth_only(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """only the last depth is pinned: every depth has to be."""
    return [*v_theta[:-1], pin_the_shift(v_theta, prefix_logps)[-1]]


def all_together(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """one constant is taken over all depths together: each depth has its own."""
    pooled = np.logaddexp.reduce(constants(v_theta, prefix_logps)) - math.log(len(v_theta))
    return [v - pooled for v in v_theta]


def adds(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """the constant is added: take it away."""
    return [v + c for v, c in zip(v_theta, constants(v_theta, prefix_logps), strict=True)]


def the_policy(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """log pi_ref is left in, which gives log pi_theta: the pinned V_theta is log
    pi_theta/pi_ref.
    """
    return [
        v + logps
        for v, logps in zip(pin_the_shift(v_theta, prefix_logps), prefix_logps, strict=True)
    ]


def overflows(v_theta: Depths, prefix_logps: Depths) -> Depths:
    """e^{V_theta} overflows: take the largest exponent out of the sum, and add it back after the
    logarithm.
    """
    return [
        v - np.log(np.exp(logps) @ np.exp(v))
        for v, logps in zip(v_theta, prefix_logps, strict=True)
    ]


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Two depths by hand, other shifts of the same, random trees whose V - log Z is known, then the
    limits.
    """
    law = [frozen(np.log([0.6, 0.4])), frozen(np.log([0.42, 0.18, 0.1, 0.3]))]
    v_theta = [frozen(np.log([1.0, 6.0])), frozen(np.log([2.0, 2.0, 1.0, 5.0]))]  # means 3 and 2.8
    worked = [np.log([1 / 3, 2.0]), np.log(np.array([2.0, 2.0, 1.0, 5.0]) / 2.8)]
    where = "V = 2, reference 0.6 0.4, then 0.42 0.18 0.1 0.3; e^{V_theta} 1 6, then 2 2 1 5"
    yield Case(where, (v_theta, law), worked)
    shifted = [frozen(v_theta[0] + 3), frozen(v_theta[1] - 7)]
    yield Case(
        "the same, V_theta shifted by 3 and by -7: pinned, it is the same", (shifted, law), worked
    )
    yield Case("already pinned", ([frozen(v) for v in worked], law), worked)
    for vocab_size, horizon, eos in ((2, 3, None), (3, 2, None), (3, 3, int(rng.integers(3)))):
        tables = random_tables(rng, vocab_size, horizon, eos)
        alpha = round(float(rng.uniform(0.2, 2)), 3)
        values = backward(tables, rng.uniform(size=vocab_size**horizon), alpha)
        laws = prefix_law(tables)
        fitted = [
            frozen(v + c)
            for v, c in zip(values[1:], rng.normal(scale=2, size=horizon), strict=True)
        ]
        where = (
            f"V shifted at random, a random tree, V = {vocab_size}, T = {horizon}, end token "
            f"{eos}, alpha {alpha}"
        )
        # Where the reference never goes, V_theta means nothing: there nothing is asked for.
        pinned = [
            np.ma.array(v - values[0], mask=law == -np.inf)
            for v, law in zip(values[1:], laws[1:], strict=True)
        ]
        yield Case(where, (fitted, laws[1:]), pinned)
    large = [frozen([1000.0, 999.0])], [frozen(np.log([0.5, 0.5]))]
    expected = [np.array([0.0, -1.0]) - math.log(0.5 + 0.5 / math.e)]
    yield Case("reference 0.5 0.5, V_theta 1000 999", large, expected)


EXERCISE = Exercise(
    name="pin_the_shift",
    compares="the pinned V_theta of every prefix, in nats",
    statement=__doc__,
    reference=pin_the_shift,
    gives="V_theta - log E_ref[e^{V_theta}] at each depth, nats.",
    wrong_answers={
        "unchanged": unchanged,
        "subtracts the mean": subtracts_mean,
        "subtracts the reference's mean": subtracts_reference_mean,
        "max": subtracts_max,
        "uniform weights": uniform,
        "forgets pi_ref": forgets_reference,
        "last depth only": last_depth_only,
        "last depth's constant": last_depth,
        "one constant for all depths": all_together,
        "sign": adds,
        "log pi_theta for the log-ratio": the_policy,
        "overflow at large V_theta": overflows,
    },
    hints=(
        "Subtracting c from V_theta divides E_ref[e^{V_theta}] by e^c. Which c brings it to 1?",
        "c = log E_ref[e^{V_theta}], the reference's mean over the prefixes of one depth; a log "
        "Z, depth by depth.",
        "For each depth: `v - np.logaddexp.reduce(logps + v)`.",
    ),
    cases=cases,
    parse=arrays,
    difference=by_depth(1, ("prefix", 0)),
    praise="at every depth e^{V_theta} has mean 1 under the reference, so V_theta is V - log Z",
)
