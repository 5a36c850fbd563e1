"""Exercise 43: the temperature that flips leave.

Rewards are 0 or 1, and a careless grader turns each one round with chance p: R becomes 1 - R. A
loss that is quadratic in R, such as GVPO's, notices nothing but a smaller reward, (1 - 2p) R: it
ends at pi_ref e^{R/alpha'} with alpha' = alpha/(1 - 2p). GN-IVO, with raw weights and a reference
that stays, averages something else: the weight e^{R/alpha} of an answer. It ends at

    pi_ref(y) E[e^{R'/alpha}] / Z,    R' the reward that the grader reports.

A right answer now has another mean weight than a wrong one, and how they compare is all that
matters: it is a tilt again, by R over some alpha'.

Write `flipped_temperature(chances, alpha) -> float64 [n]`: the alpha' of GN-IVO's end, for each p.

- `chances`, float64 [n]: the chances p, each from 0 to less than 1/2;
- `alpha`, float > 0: the temperature, reward per nat. It may be as small as 0.001, where
  e^{1/alpha} is no float."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise


def flipped_temperature(chances: Array, alpha: float) -> Array:
    """1/log of the odds of the mean weights, with e^{1/alpha} divided out of both [n].

    >>> flipped_temperature(np.array([0.0, 0.25]), alpha=0.2).round(3)
    array([0.2  , 0.925])
    """
    light = np.exp(-1 / alpha)  # of a wrong answer, where a right one weighs 1
    right = (1 - chances) + chances * light
    wrong = chances + (1 - chances) * light
    # Without flips the odds are e^{1/alpha} itself, which may be no float.
    with np.errstate(divide="ignore"):
        nats = np.where(chances == 0, 1 / alpha, np.log(right) - np.log(wrong))
    return np.asarray(1 / nats)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def mean_reward(chances: Array, alpha: float) -> Array:
    """the mean reward is tilted by, alpha/(1 - 2p): that is GVPO; here e^{R'/alpha} is averaged."""
    return np.asarray(alpha / (1 - 2 * chances))


def only_right_ones(chances: Array, alpha: float) -> Array:
    """wrong answers keep the weight 1: they are turned round just as often, and are then paid."""
    light = np.exp(-1 / alpha)
    return np.asarray(1 / (np.log((1 - chances) + chances * light) + 1 / alpha))


def limit(chances: Array, alpha: float) -> Array:
    """the limit of a small alpha is returned, 1/log((1 - p)/p): it leaves alpha out."""
    with np.errstate(divide="ignore"):
        return np.asarray(1 / np.log((1 - chances) / chances))


def log_odds(chances: Array, alpha: float) -> Array:
    """the nats between a right and a wrong answer are returned: alpha' is one over them."""
    return np.asarray(1 / flipped_temperature(chances, alpha))


def upside_down(chances: Array, alpha: float) -> Array:
    """the weight of a wrong answer is divided by that of a right one: alpha' comes out negative."""
    return -flipped_temperature(chances, alpha)


def times_alpha(chances: Array, alpha: float) -> Array:
    """e^{alpha R} is averaged for e^{R/alpha}."""
    return flipped_temperature(chances, 1 / alpha)


def forgets_flips(chances: Array, alpha: float) -> Array:
    """alpha itself is returned, as if nothing had been turned round."""
    return np.full_like(chances, alpha)


def overflows(chances: Array, alpha: float) -> Array:
    """e^{1/alpha} overflows: divide it out of both mean weights."""
    heavy = np.exp(1 / alpha)
    right = (1 - chances) * heavy + chances
    wrong = chances * heavy + (1 - chances)
    return np.asarray(1 / np.log(right / wrong))


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """By hand: alpha = 1/log 4, where a right answer weighs 4; then chosen odds put into flips."""
    # (0.75 * 4 + 0.25)/(0.25 * 4 + 0.75) = 3.25/1.75.
    yield Case(
        "a right answer weighs 4, a quarter is turned round",
        (np.array([0.25]), 1 / np.log(4)),
        np.array([1 / np.log(13 / 7)]),
    )
    yield Case("no flips, alpha 0.5", (np.array([0.0]), 0.5), np.array([0.5]))
    for trial in range(3):
        alpha = round(float(rng.uniform(0.2, 2)), 3)
        heavy = np.exp(1 / alpha)
        odds = 1 + (heavy - 1) * rng.uniform(0.1, 0.9, size=3)
        # odds = ((1 - p) w + p)/(p w + 1 - p), solved for p.
        chances = (heavy - odds) / ((heavy - 1) * (odds + 1))
        where = f"random flips {trial + 1}: {chances.round(3).tolist()}, alpha {alpha}"
        yield Case(where, (chances, alpha), 1 / np.log(odds))
    yield Case(
        "alpha 0.001: odds of (1 - p)/p are the most that flips leave",
        (np.array([0.1, 0.25]), 0.001),
        1 / np.log([9.0, 3.0]),
    )


EXERCISE = Exercise(
    name="flipped_temperature",
    compares="the temperature at which GN-IVO ends under flips",
    statement=__doc__,
    reference=flipped_temperature,
    gives="alpha' for each chance of a flip.",
    wrong_answers={
        "the mean reward": mean_reward,
        "only right answers are flipped": only_right_ones,
        "the limit of small alpha": limit,
        "nats for temperature": log_odds,
        "odds upside down": upside_down,
        "e^{alpha R}": times_alpha,
        "no flips": forgets_flips,
        "overflow at alpha = 1e-3": overflows,
    },
    hints=(
        "A right answer is reported as 1 with chance 1 - p and as 0 with chance p. What is its "
        "mean weight? And a wrong one's?",
        "Call their quotient the odds. A tilt by R over alpha' makes the odds e^{1/alpha'}.",
        "alpha' = 1/log(odds). Divide both mean weights by e^{1/alpha}, and nothing overflows.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(),
    praise="no alpha, however small, tilts by more than log((1 - p)/p) nats",
)
