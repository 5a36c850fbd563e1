"""Exercise 31: how sure is a difference?

Two models were tried on the same N problems. Problem i gave the one the score a_i and the other
b_i. The second is better by the mean of b_i - a_i; but on other problems of the same kind that
would have been another number. The bootstrap asks the data: draw N of the problems with putting
back, each with both of its scores, and take the mean difference; do that often; the 2.5% and 97.5%
quantiles of these means are the ends of a 95% interval.

Write `paired_interval(first, second, picks) -> [low, high]`.

- `first`, `second`, float64 [N]: the scores of the two models, problem by problem. Second minus
  first is asked for.
- `picks`, int64 [D, N]: row d holds the numbers of the N problems that are drawn in resampling d.
  Use these for both models, and `np.quantile` as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise

Picks = NDArray[np.int64]


def paired_interval(first: Array, second: Array, picks: Picks) -> Array:
    """The 95% percentile interval of the mean of second - first, [2], in units of the scores.

    >>> picks = np.array([[0, 0], [0, 1], [1, 1]])
    >>> paired_interval(np.zeros(2), np.array([0.1, 0.3]), picks).round(3)
    array([0.105, 0.295])
    """
    means = (second - first)[picks].mean(axis=1)
    return np.quantile(means, [0.025, 0.975])


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def difference_of_ends(first: Array, second: Array, picks: Picks) -> Array:
    """an interval is made for each model and their ends are subtracted, low from low: the pairs are
    lost.
    """
    return np.quantile(second[picks].mean(axis=1), ENDS) - np.quantile(
        first[picks].mean(axis=1), ENDS
    )


def farthest_ends(first: Array, second: Array, picks: Picks) -> Array:
    """an interval is made for each model and the opposite ends are subtracted: that is far too
    wide.
    """
    return (
        np.quantile(second[picks].mean(axis=1), ENDS)
        - np.quantile(first[picks].mean(axis=1), ENDS)[::-1]
    )


def unpaired(first: Array, second: Array, picks: Picks) -> Array:
    """the two models get problems of their own: each problem is drawn with both of its scores."""
    means = second[np.roll(picks, 1, axis=0)].mean(axis=1) - first[picks].mean(axis=1)
    return np.quantile(means, ENDS)


def sorted_first(first: Array, second: Array, picks: Picks) -> Array:
    """the scores are sorted before they are subtracted: then a problem meets another one."""
    return paired_interval(np.sort(first), np.sort(second), picks)


def sign(first: Array, second: Array, picks: Picks) -> Array:
    """the second is subtracted from the first: a second that is better is to be positive."""
    return paired_interval(second, first, picks)


def of_problems(first: Array, second: Array, picks: Picks) -> Array:
    """the quantiles of the single differences are taken: they tell where a problem lies, not where
    the mean does.
    """
    return np.quantile(second - first, ENDS)


def single_draws(first: Array, second: Array, picks: Picks) -> Array:
    """the drawn differences are not averaged before the quantiles are taken: each resampling has
    one mean.
    """
    return np.quantile((second - first)[picks], ENDS)


def wrong_axis(first: Array, second: Array, picks: Picks) -> Array:
    """the mean runs over the resamplings (axis 0): a row is a resampling, so its problems lie along
    axis 1.
    """
    return np.quantile((second - first)[picks].mean(axis=0), ENDS)


def ninety(first: Array, second: Array, picks: Picks) -> Array:
    """5% is left out at each end: a 95% interval leaves out 2.5%."""
    return np.quantile((second - first)[picks].mean(axis=1), [0.05, 0.95])


def extremes(first: Array, second: Array, picks: Picks) -> Array:
    """the smallest and the largest mean are returned: the more often you draw, the wider that
    gets.
    """
    means = (second - first)[picks].mean(axis=1)
    return np.array([means.min(), means.max()])


def turned_round(first: Array, second: Array, picks: Picks) -> Array:
    """the interval is mirrored at the mean: that is the basic bootstrap; asked for are the
    quantiles themselves.
    """
    return np.asarray(2 * (second - first).mean() - paired_interval(first, second, picks)[::-1])


def about_zero(first: Array, second: Array, picks: Picks) -> Array:
    """the mean difference is subtracted: the interval lies around the difference, not around 0."""
    return np.asarray(paired_interval(first, second, picks) - (second - first).mean())


ENDS = (0.025, 0.975)

# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Four problems by hand, what shifts and orders do to them, random problems draw by draw, then
    the limits.
    """
    first, second = np.array([0.1, 0.6, 0.9, 0.3]), np.array([0.5, 0.4, 1.0, 0.6])
    picks = np.array([[0, 0, 0, 3], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3], [0, 1, 2, 3]])
    worked = np.array([-0.17, 0.3675])  # the means are 0.375, -0.2, 0.1, 0.3 and 0.15
    yield Case(
        "four problems better by 0.4, -0.2, 0.1 and 0.3; five resamplings",
        (first, second, picks),
        worked,
    )
    yield Case("the same, models exchanged", (second, first, picks), -worked[::-1])
    yield Case("the same, the second raised by 0.25", (first, second + 0.25, picks), worked + 0.25)
    harder = np.array([0.5, -0.25, 0.125, -1.0])
    yield Case(
        "the same, problems harder and easier for both",
        (first + harder, second + harder, picks),
        worked,
    )
    yield Case("the same, resamplings in another order", (first, second, picks[::-1]), worked)
    for trial in range(3):
        N, D = int(rng.integers(5, 12)), int(rng.integers(20, 60))
        a, b, drawn = rng.random(N), rng.random(N), rng.integers(N, size=(D, N))
        means = sorted(sum(b[i] - a[i] for i in row) / N for row in drawn.tolist())
        yield Case(f"random scores {trial + 1}: N = {N}, D = {D}", (a, b, drawn), _ends(means))
    yield Case(
        "a model beside itself: no difference, and no doubt", (first, first, picks), np.zeros(2)
    )


def _ends(means: list[float]) -> Array:
    """The two quantiles by hand: between neighbours of the sorted list, in proportion."""
    ends = []
    for share in ENDS:
        place = share * (len(means) - 1)
        below = int(place)
        above = min(below + 1, len(means) - 1)
        ends.append(means[below] + (place - below) * (means[above] - means[below]))
    return np.array(ends)


EXERCISE = Exercise(
    name="paired_interval",
    compares="the ends of the 95% interval of second minus first",
    statement=__doc__,
    reference=paired_interval,
    gives="The 95% percentile interval of the mean of second - first, [2].",
    wrong_answers={
        "difference of ends": difference_of_ends,
        "farthest ends": farthest_ends,
        "unpaired": unpaired,
        "sorted first": sorted_first,
        "sign": sign,
        "quantiles of problems": of_problems,
        "not averaged": single_draws,
        "wrong axis": wrong_axis,
        "90%": ninety,
        "smallest and largest": extremes,
        "turned round": turned_round,
        "around zero": about_zero,
    },
    hints=(
        "A problem that is drawn brings both of its scores. What is the one number per problem "
        "that matters?",
        "`(second - first)[picks]` is [D, N]: the differences that each resampling has drawn.",
        "Take the mean of each row, then `np.quantile(..., [0.025, 0.975])` of these D means.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("end", 0)),
    praise="every problem is drawn with both of its scores, and the interval is that of the mean",
)
