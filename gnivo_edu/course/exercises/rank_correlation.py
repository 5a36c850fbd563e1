"""Exercise 33: do two lists agree in their order?

Spearman's rank correlation replaces every number by its rank, the smallest by 1, the largest by n,
and then takes the ordinary correlation of the ranks a and b:

    r = sum (a_i - mean a)(b_i - mean b) / sqrt(sum (a_i - mean a)^2  sum (b_i - mean b)^2)

Equal numbers share the mean of the ranks that they take up together: 5, 7, 7, 9 have the ranks 1,
2.5, 2.5, 4.

Write `rank_correlation(x, y) -> float`, between -1 and 1.

- `x`, `y`, float64 [n]: two values of each of n prefixes, in nats, n >= 2. Neither is constant.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, same_number
from gnivo_edu.course.exercises.base import Case, Exercise, number


def ranks(values: Array) -> Array:
    """Ranks from 1 on; equal values share their mean rank.

    >>> ranks(np.array([7.0, 5.0, 9.0, 7.0]))
    array([2.5, 1. , 4. , 2.5])
    """
    below = (values[None, :] < values[:, None]).sum(axis=1)
    same = (values[None, :] == values[:, None]).sum(axis=1)
    return np.asarray(below + (same + 1) / 2, dtype=np.float64)


def correlation(a: Array, b: Array) -> float:
    """The ordinary correlation of two lists.

    >>> correlation(np.array([1.0, 2.0]), np.array([5.0, 3.0]))
    -1.0
    """
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def rank_correlation(x: Array, y: Array) -> float:
    """Correlation of the ranks; equal values share their mean rank.

    >>> round(rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([0.0, 0.5, 0.5])), 4)
    0.866
    """

    def ranks(values: Array) -> Array:
        below = (values[None, :] < values[:, None]).sum(axis=1)
        same = (values[None, :] == values[:, None]).sum(axis=1)
        return np.asarray(below + (same + 1) / 2, dtype=np.float64)

    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def in_order(values: Array) -> Array:
    """Ranks by place: of equal values the first gets the lower one."""
    return np.asarray(
        np.argsort(np.argsort(values, kind="stable"), kind="stable") + 1.0, dtype=np.float64
    )


def plain(x: Array, y: Array) -> float:
    """the numbers themselves are correlated: rank them first."""
    return correlation(x, y)


def ties_in_order(x: Array, y: Array) -> float:
    """equal numbers get different ranks, by their place in the list: they share the mean of these
    ranks.
    """
    return correlation(in_order(x), in_order(y))


def argsort_once(x: Array, y: Array) -> float:
    """argsort is taken for the ranks: it says which entry comes first, not which place an entry
    gets.
    """
    return correlation(
        np.argsort(x, kind="stable").astype(float), np.argsort(y, kind="stable").astype(float)
    )


def lowest_rank(x: Array, y: Array) -> float:
    """equal numbers all get the lowest of their ranks: they share the mean."""
    return correlation(*((v[None, :] < v[:, None]).sum(axis=1).astype(float) for v in (x, y)))


def dense_ranks(x: Array, y: Array) -> float:
    """equal numbers count as one: after two numbers that share a rank, one rank is left out."""
    return correlation(*(np.unique(v, return_inverse=True)[1].astype(float) for v in (x, y)))


def short_formula(x: Array, y: Array) -> float:
    """the formula 1 - 6 sum d^2 / (n (n^2 - 1)) is used: it holds only where no two numbers are
    equal.
    """
    n = len(x)
    return float(1 - 6 * ((ranks(x) - ranks(y)) ** 2).sum() / (n * (n * n - 1)))


def turned_round(x: Array, y: Array) -> float:
    """one list is ranked from the top and the other from the bottom: the sign is turned round."""
    return correlation(ranks(x), ranks(-y))


def not_centred(x: Array, y: Array) -> float:
    """the mean rank is not subtracted: then everything agrees with everything."""
    a, b = ranks(x), ranks(y)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def mixed_divisors(x: Array, y: Array) -> float:
    """a covariance over n - 1 is divided by standard deviations over n: np.cov and .std() differ in
    that.
    """
    a, b = ranks(x), ranks(y)
    return float(np.cov(a, b)[0, 1] / (a.std() * b.std()))


def squared(x: Array, y: Array) -> float:
    """the correlation is squared: the sign is lost, and so is the scale."""
    return rank_correlation(x, y) ** 2


def one_ranked(x: Array, y: Array) -> float:
    """only the first list is ranked: rank both."""
    return correlation(ranks(x), y)


# --- the check ------------------------------------------------------------------------------------


def by_pairs(x: Array, y: Array) -> float:
    """Without ranks: each is a sum of signs over pairs, so the correlation is one of sums of
    signs.
    """
    a, b = (np.sign(v[:, None] - v[None, :]).sum(axis=1) for v in (x, y))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Six numbers by hand, without and with ties, then random lists with many ties, and the two
    ends.
    """
    x, y = np.array([0.1, 3.0, 0.7, 9.0, 1.5, 2.0]), np.array([5.0, 6.0, 1.0, 9.5, 8.0, 2.0])
    # Ranks 1 5 2 6 3 4 and 3 4 1 6 5 2: the squared differences sum to 4 + 1 + 1 + 0 + 4 + 4 = 14,
    # so 1 - 84/210.
    yield Case("six pairs, no ties", (x, y), 1 - 84 / 210)
    tied = np.array([5.0, 5.0, 1.0, 8.0, 8.0, 8.0])
    yield Case("six pairs, ties in the second list", (x, tied), by_pairs(x, tied))
    for trial in range(3):
        n = int(rng.integers(9, 16))
        u, v = rng.integers(0, 6, size=n) / 2.0, rng.standard_normal(n).round(1)
        u[:3], v[:2] = (0.0, 0.0, 4.0), (-2.0, 2.0)
        yield Case(
            f"random lists {trial + 1}: {n} pairs, ties in the first", (u, v), by_pairs(u, v)
        )
    yield Case("the same order, another scale", (x, np.exp(x) - 4), 1.0)
    yield Case("the order turned round", (x, -(x**3)), -1.0)


EXERCISE = Exercise(
    name="rank_correlation",
    compares="Spearman's rank correlation",
    statement=__doc__,
    reference=rank_correlation,
    gives="Correlation of the ranks; equal values share their mean rank.",
    wrong_answers={
        "Pearson's": plain,
        "ranks one only": one_ranked,
        "argsort once": argsort_once,
        "ties in order": ties_in_order,
        "lowest rank": lowest_rank,
        "dense ranks": dense_ranks,
        "formula without ties": short_formula,
        "sign": turned_round,
        "not centred": not_centred,
        "n and n - 1": mixed_divisors,
        "squared": squared,
    },
    hints=(
        "The rank of a number can be counted: how many are smaller, and how many are equal to it, "
        "itself included?",
        "If `below` are smaller and `same` are equal, the ranks that these take up are below + 1 "
        "... below + same. "
        "What is their mean?",
        "`(values[None, :] < values[:, None]).sum(axis=1)` counts the smaller ones, for all at "
        "once. Then centre both "
        "lists of ranks, and divide the sum of products by the square root of the product of the "
        "sums of squares.",
    ),
    cases=cases,
    parse=number,
    difference=same_number,
    praise="it compares orders, and equal numbers share their rank",
)
