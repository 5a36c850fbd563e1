"""Exercise 41: is it a win?

Two methods were trained from the same S seeds. Seed s gave the one the score a_s and the other b_s,
so that the second is better by d_s = b_s - a_s there. Another five seeds would have given another
mean: Student's interval says how far it may lie,

    mean of d  -+  t * sd(d) / sqrt(S),

with sd the standard deviation of a sample (divided by S - 1) and t the two-sided quantile of
Student's law at S - 1 degrees of freedom. Who looks at m such differences and calls each one a win
whose interval lies apart from 0 will find one by luck, unless each interval is made wider: with
95% for all of them together each gets the level 1 - 0.05/m (Bonferroni).

Write `seeds_that_count(first, second, comparisons, quantile) -> [low, high]`.

- `first`, `second`, float64 [S]: the scores of the two methods, seed by seed. Second minus first is
  asked for.
- `comparisons`, int: m.
- `quantile(level, freedom)`: the two-sided quantile t; `quantile(0.95, 4)` is 2.776.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.statistics import t_quantile

Quantile = Callable[[float, int], float]


def seeds_that_count(first: Array, second: Array, comparisons: int, quantile: Quantile) -> Array:
    """The interval of the mean of second - first that holds together with all others, [2].

    >>> seeds_that_count(np.zeros(2), np.array([0.1, 0.3]), 1, t_quantile).round(3)
    array([-1.071,  1.471])
    """
    d = second - first
    t = quantile(1 - 0.05 / comparisons, len(d) - 1)
    reach = t * d.std(ddof=1) / np.sqrt(len(d))
    return np.array([d.mean() - reach, d.mean() + reach])


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def uncorrected(first: Array, second: Array, comparisons: int, quantile: Quantile) -> Array:
    """the number of comparisons is left out: each interval holds by itself, and not all of them
    together.
    """
    return seeds_that_count(first, second, 1, quantile)


def level_divided(first: Array, second: Array, comparisons: int, quantile: Quantile) -> Array:
    """the level 0.95 is divided by the number of comparisons: it is the 0.05 that they share."""
    d = second - first
    reach = quantile(0.95 / comparisons, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    return np.array([d.mean() - reach, d.mean() + reach])


def unpaired(first: Array, second: Array, comparisons: int, quantile: Quantile) -> Array:
    """the variances of the two are added, as if they had seeds of their own: what a seed does to
    both is counted as doubt.
    """
    middle = second.mean() - first.mean()
    variance = first.var(ddof=1) + second.var(ddof=1)
    t = quantile(1 - 0.05 / comparisons, len(first) - 1)
    reach = t * np.sqrt(variance / len(first))
    return np.array([middle - reach, middle + reach])


def spread_of_seeds(first: Array, second: Array, comparisons: int, quantile: Quantile) -> Array:
    """the standard deviation is not divided by the root of S: it tells where a seed lies, not where
    the mean does.
    """
    d = second - first
    reach = quantile(1 - 0.05 / comparisons, len(d) - 1) * d.std(ddof=1)
    return np.array([d.mean() - reach, d.mean() + reach])


def of_a_population(first: Array, second: Array, comparisons: int, quantile: Quantile) -> Array:
    """the squares are divided by S: that is numpy's default, and too small for a sample."""
    d = second - first
    reach = quantile(1 - 0.05 / comparisons, len(d) - 1) * d.std() / np.sqrt(len(d))
    return np.array([d.mean() - reach, d.mean() + reach])


def freedom(first: Array, second: Array, comparisons: int, quantile: Quantile) -> Array:
    """t is taken at S degrees of freedom: the mean has used one of them."""
    d = second - first
    reach = quantile(1 - 0.05 / comparisons, len(d)) * d.std(ddof=1) / np.sqrt(len(d))
    return np.array([d.mean() - reach, d.mean() + reach])


def normal(first: Array, second: Array, comparisons: int, quantile: Quantile) -> Array:
    """the normal law is taken for Student's, as for many seeds: with five it is far too sure."""
    return seeds_that_count(first, second, comparisons, lambda level, n: t_quantile(level, 10**6))


def sign(first: Array, second: Array, comparisons: int, quantile: Quantile) -> Array:
    """the second is subtracted from the first: a second that is better is to be positive."""
    return seeds_that_count(second, first, comparisons, quantile)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Differences by hand, what a common shift and more comparisons do to them, random scores sum
    by sum, then the limit.
    """
    first, second = np.array([0.5, 0.75, 0.25]), np.array([0.625, 1.0, 0.625])
    # d = 0.125, 0.25, 0.375: mean 0.25, sd 0.125, and t(0.95, 2) = 4.302652729749459.
    worked = 0.25 + np.array([-1, 1]) * 4.302652729749459 * 0.125 / 3**0.5
    yield Case("better by 1/8, 2/8 and 3/8, one comparison", (first, second, 1, t_quantile), worked)
    yield Case("the same, methods exchanged", (second, first, 1, t_quantile), -worked[::-1])
    seeds = np.array([0.5, -0.25, 1.0])
    yield Case(
        "the same, seeds that are kinder or harder to both",
        (first + seeds, second + seeds, 1, t_quantile),
        worked,
    )
    # t(0.995, 2) = 14.089047275555227
    ten = 0.25 + np.array([-1, 1]) * 14.089047275555227 * 0.125 / 3**0.5
    yield Case("the same among ten comparisons", (first, second, 10, t_quantile), ten)
    for trial in range(3):
        S, m = int(rng.integers(4, 9)), int(rng.integers(2, 40))
        a, b = rng.random(S), rng.random(S)
        yield Case(
            f"random scores {trial + 1}: S = {S}, m = {m}", (a, b, m, t_quantile), _ends(a, b, m)
        )
    same = np.array([0.5, 0.25])
    yield Case("a method beside itself", (same, same, 7, t_quantile), np.zeros(2))


def _ends(first: Array, second: Array, m: int) -> Array:
    """The interval sum by sum."""
    differences = [float(b - a) for a, b in zip(first, second, strict=True)]
    S = len(differences)
    mean = sum(differences) / S
    square = sum((d - mean) ** 2 for d in differences) / (S - 1) / S
    reach = t_quantile(1 - 0.05 / m, S - 1) * square**0.5
    return np.array([mean - reach, mean + reach])


EXERCISE = Exercise(
    name="seeds_that_count",
    compares="the ends of the interval of second minus first",
    statement=__doc__,
    reference=seeds_that_count,
    gives="The interval of the mean of second - first that holds together with all others, [2].",
    wrong_answers={
        "uncorrected": uncorrected,
        "level divided": level_divided,
        "unpaired": unpaired,
        "spread of seeds": spread_of_seeds,
        "population": of_a_population,
        "S degrees of freedom": freedom,
        "normal law": normal,
        "sign": sign,
    },
    hints=(
        "A seed gives both methods a score. What is the one number per seed that matters?",
        "`d = second - first`; `d.std(ddof=1)` divides by S - 1. What is the level of one interval "
        "if m of them share an error of 0.05?",
        "`quantile(1 - 0.05 / comparisons, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))` on "
        "either side of `d.mean()`.",
    ),
    praise="you can say which difference of a table is one, however many it has",
    cases=cases,
    parse=array,
    difference=by_entry(("end", 0)),
)
