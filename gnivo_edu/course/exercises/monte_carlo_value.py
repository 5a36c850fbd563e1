"""Exercise 35: a value from samples, and how far off it is.

Where continuations cannot be listed, some are drawn: n of them from the reference, all from one
prefix. Put their mean in the place of the expectation,

    V_n = log( (1/n) sum_i w_i ),   w_i = e^{R_i / alpha}

That is a random number. Its standard error is, for large n, that of the mean relative to the mean,

    SE = (standard deviation of w) / (mean of w) / sqrt(n),

with the standard deviation of a sample (n - 1 below). And it is biased: a logarithm bends
downwards, so that the log of a mean lies below the log of the expectation on average, by SE^2 / 2
for large n.

Write `monte_carlo_value(rewards, alpha) -> (value, standard_error, bias)`, three floats in nats.

- `rewards`, float64 [n], n >= 2: the rewards of the continuations.
- `alpha`, float > 0: the temperature. It may be as small as 0.001, where e^{R/alpha} is no float.

The bias is the mean of V_n - V: mind its sign. The value is V_n as it is, not corrected.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, by_part, same_number, tuple_of
from gnivo_edu.course.exercises.base import Case, Exercise, number

Found = tuple[float, float, float]


def monte_carlo_value(rewards: Array, alpha: float) -> Found:
    """log of the mean of e^{R/alpha}, its standard error and its bias, with the largest exponent
    taken out first.

    >>> [round(x, 4) for x in monte_carlo_value(np.array([0.0, 1.0, 1.0, 1.0]), alpha=1.0)]
    [0.828, 0.1877, -0.0176]
    """
    exponents = rewards / alpha
    largest = exponents.max()
    weights = np.exp(exponents - largest)
    error = weights.std(ddof=1) / weights.mean() / np.sqrt(len(weights))
    return float(np.log(weights.mean()) + largest), float(error), float(-(error**2) / 2)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def overflows(rewards: Array, alpha: float) -> Found:
    """e^{R/alpha} overflows: take the largest exponent out first, and add it back after the
    logarithm.
    """
    weights = np.exp(rewards / alpha)
    error = weights.std(ddof=1) / weights.mean() / np.sqrt(len(weights))
    return float(np.log(weights.mean())), float(error), float(-(error**2) / 2)


def mean_of_logs(rewards: Array, alpha: float) -> Found:
    """the logarithm is inside the mean: the mean of R/alpha is no soft value."""
    return float((rewards / alpha).mean()), *monte_carlo_value(rewards, alpha)[1:]


def reward_units(rewards: Array, alpha: float) -> Found:
    """the value is multiplied by alpha: that is in units of reward, V is in nats."""
    value, error, bias = monte_carlo_value(rewards, alpha)
    return alpha * value, error, bias


def log_of_the_sum(rewards: Array, alpha: float) -> Found:
    """the weights are summed up and not divided by n."""
    value, error, bias = monte_carlo_value(rewards, alpha)
    return value + math.log(len(rewards)), error, bias


def best(rewards: Array, alpha: float) -> Found:
    """the best continuation is taken for the value: V is the log of a mean."""
    return float(rewards.max() / alpha), *monte_carlo_value(rewards, alpha)[1:]


def corrected(rewards: Array, alpha: float) -> Found:
    """the bias is taken out of the value already: asked for is the estimate as it is."""
    value, error, bias = monte_carlo_value(rewards, alpha)
    return value - bias, error, bias


def _with_error(rewards: Array, alpha: float, error: float) -> Found:
    return monte_carlo_value(rewards, alpha)[0], float(error), float(-(error**2) / 2)


def no_root_n(rewards: Array, alpha: float) -> Found:
    """the spread is not divided by the root of n: the mean of many is more certain than one of
    them.
    """
    return _with_error(
        rewards, alpha, monte_carlo_value(rewards, alpha)[1] * math.sqrt(len(rewards))
    )


def divided_by_n(rewards: Array, alpha: float) -> Found:
    """the spread is divided by n: it is the variance of a mean that falls like 1/n."""
    return _with_error(
        rewards, alpha, monte_carlo_value(rewards, alpha)[1] / math.sqrt(len(rewards))
    )


def absolute(rewards: Array, alpha: float) -> Found:
    """the spread is not divided by the mean of the weights: that is the error of e^V and not of
    V.
    """
    value, error, _ = monte_carlo_value(rewards, alpha)
    return _with_error(rewards, alpha, error * float(np.exp(value)))


def of_rewards(rewards: Array, alpha: float) -> Found:
    """the spread is that of R/alpha: the mean is taken of the weights."""
    return _with_error(
        rewards, alpha, float((rewards / alpha).std(ddof=1)) / math.sqrt(len(rewards))
    )


def population(rewards: Array, alpha: float) -> Found:
    """the standard deviation divides by n: that of a sample divides by n - 1, ddof=1."""
    n = len(rewards)
    return _with_error(
        rewards, alpha, monte_carlo_value(rewards, alpha)[1] * math.sqrt((n - 1) / n)
    )


def sign(rewards: Array, alpha: float) -> Found:
    """the bias has the wrong sign: the log of a mean is too low on average."""
    value, error, bias = monte_carlo_value(rewards, alpha)
    return value, error, -bias


def no_half(rewards: Array, alpha: float) -> Found:
    """the bias lacks its 1/2: the second derivative of a function stands in its series with 1/2."""
    value, error, bias = monte_carlo_value(rewards, alpha)
    return value, error, 2 * bias


def unbiased(rewards: Array, alpha: float) -> Found:
    """the bias is said to be 0: the mean is right on average, its logarithm is not."""
    value, error, _ = monte_carlo_value(rewards, alpha)
    return value, error, 0.0


# --- the check ------------------------------------------------------------------------------------


def _by_hand(rewards: list[float], alpha: float) -> Found:
    """The same from sums of exact terms, for rewards that do not overflow."""
    w = [math.exp(r / alpha) for r in rewards]
    n, mean = len(w), math.fsum(w) / len(w)
    variance = math.fsum((x - mean) ** 2 for x in w) / (n - 1)
    return math.log(mean), math.sqrt(variance / n) / mean, -variance / n / mean**2 / 2


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Four continuations by hand, what orders and constants do to them, random ones, then the
    limits.
    """
    rewards = [0.0, 1.0, 1.0, 0.5]
    worked = _by_hand(rewards, 0.5)
    where = "rewards 0, 1, 1, 0.5; alpha 0.5: w = 1, e^2, e^2, e"
    yield Case(where, (np.array(rewards), 0.5), worked)
    yield Case("the same, the other way round", (np.array(rewards[::-1]), 0.5), worked)
    raised = (worked[0] + 6, *worked[1:])
    yield Case(
        "the same, every reward raised by 3: only the value moves",
        (np.array(rewards) + 3, 0.5),
        raised,
    )
    yield Case("the same rewards doubled, alpha doubled", (2 * np.array(rewards), 1.0), worked)
    for trial in range(3):
        n, alpha = int(rng.integers(5, 40)), round(float(rng.uniform(0.2, 2)), 3)
        drawn = rng.uniform(size=n)
        where = f"random rewards {trial + 1}: n = {n}, alpha {alpha}"
        yield Case(where, (drawn, alpha), _by_hand(drawn.tolist(), alpha))
    yield Case("five continuations that all earn 0.7", (np.full(5, 0.7), 0.5), (1.4, 0.0, 0.0))
    steep = (
        1000 - math.log(3),
        1.0,
        -0.5,
    )  # one weight of three counts: spread 3^{-1/2}, mean 1/3, root of 3
    yield Case("rewards 0.2, 1, 0.5; alpha 0.001", (np.array([0.2, 1.0, 0.5]), 0.001), steep)


EXERCISE = Exercise(
    name="monte_carlo_value",
    compares="V of a prefix from samples, its standard error and its bias, in nats",
    statement=__doc__,
    reference=monte_carlo_value,
    gives="Value, standard error and bias of the estimate, nats.",
    wrong_answers={
        "overflow at small alpha": overflows,
        "mean of logs": mean_of_logs,
        "reward units": reward_units,
        "log of the sum": log_of_the_sum,
        "the best one": best,
        "bias taken out": corrected,
        "not divided by the root of n": no_root_n,
        "divided by n": divided_by_n,
        "error of e^V": absolute,
        "spread of R/alpha": of_rewards,
        "ddof 0": population,
        "wrong bias sign": sign,
        "bias without 1/2": no_half,
        "no bias": unbiased,
    },
    hints=(
        "Subtract the largest R/alpha before you take exponentials; what does that do to the log "
        "of the mean?",
        "The factor that you took out cancels in (standard deviation)/(mean): the error needs no "
        "correction.",
        "std(ddof=1), divided by the mean and by np.sqrt(n); the bias is minus half its square.",
    ),
    cases=cases,
    parse=tuple_of(
        "three numbers, (value, standard_error, bias)",
        number,
        number,
        number,
        kinds=(list, tuple, np.ndarray),
    ),
    difference=by_part(value=same_number, standard_error=same_number, bias=same_number),
    praise="the estimate, how far it strays, and to which side",
)
