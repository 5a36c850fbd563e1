"""Intervals and rank correlation: numpy float64, nothing about models."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan, comb, cos, isfinite, pi, sin, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
DRAWS = 10_000  # resamplings: from seed to seed the ends of a 95% interval move by 1% of its width
AT_ONCE = 1 << 20  # problems times resamplings held at a time


@dataclass(frozen=True)
class Interval:
    """A mean over problems and the ends of its interval."""

    mean: float
    low: float
    high: float

    @property
    def ends(self) -> list[float]:
        """[low, high]."""
        return [self.low, self.high]

    @property
    def width(self) -> float:
        """high - low."""
        return self.high - self.low


def bootstrap_interval(
    values: ArrayLike, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """The mean of one value per problem [N], with the percentile bootstrap interval over problems.

    N problems are drawn with replacement `draws` times; `low` and `high` are the (1 - level)/2 and
    (1 + level)/2 quantiles of the means. A problem is drawn with all its samples, so that the
    interval carries both the choice of problems and, without resampling them, the samples. It is
    for the mean over problems like these, not for the mean over these very ones, and is a little
    too short for few problems (by about sqrt(1 - 1/N), and more where values pile up at 0 or 1).
    Raises ValueError on fewer than two problems, and on values that are not finite.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    >>> interval = bootstrap_interval([0.0, 1.0, 1.0, 0.5])
    >>> interval.mean, interval.ends
    (0.625, [0.25, 1.0])
    """
    data = _checked(values)
    low, high = _quantiles(_means(data, draws, np.random.default_rng(seed)), level)
    return Interval(float(data.mean()), low, high)


def paired_difference(
    first: ArrayLike, second: ArrayLike, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Mean of second - first over the same problems in the same order, [N] each, with its bootstrap
    interval.

    How hard a problem is drops out of its own difference. Raises ValueError on different numbers of
    problems.

    >>> gain = paired_difference([0.0, 0.5, 1.0], [0.25, 0.75, 1.0])
    >>> round(gain.mean, 4), gain.ends
    (0.1667, [0.0, 0.25])
    """
    a, b = _checked(first), _checked(second)
    if a.shape != b.shape:
        raise ValueError(f"pairs need the same problems: got {len(a)} and {len(b)}")
    return bootstrap_interval(b - a, level, draws, seed)


def unpaired_difference(
    first: ArrayLike, second: ArrayLike, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Mean of second minus mean of first, each with problems of its own: the two are resampled
    apart.

    What is left where two models were tried on different problems; on the same problems it is too
    wide.

    >>> unpaired_difference([0.0, 0.5, 1.0], [0.25, 0.75, 1.0]).width > 0.9
    True
    """
    a, b = _checked(first), _checked(second)
    rng = np.random.default_rng(seed)
    low, high = _quantiles(_means(b, draws, rng) - _means(a, draws, rng), level)
    return Interval(float(b.mean() - a.mean()), low, high)


def _checked(values: ArrayLike) -> Array:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or len(data) < 2:
        raise ValueError(
            "an interval over problems needs one value for each of two or more, got shape "
            f"{data.shape}"
        )
    if not np.isfinite(data).all():
        raise ValueError("an interval needs finite values: leave out problems that do not count")
    return data


def _means(data: Array, draws: int, rng: np.random.Generator) -> Array:
    """Means [draws] of N problems drawn with replacement."""
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    rows = max(1, AT_ONCE // len(data))
    sizes = [(min(rows, draws - start), len(data)) for start in range(0, draws, rows)]
    return np.concatenate(
        [data[rng.integers(len(data), size=size, dtype=np.int32)].mean(axis=1) for size in sizes]
    )


def _quantiles(means: Array, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level must be above 0 and below 1, got {level}")
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def median_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Ends of an interval of the median of the law that drew some values: two of the values, at the
    same rank from below and from above.

    How many of n values lie below the median is binomial(n, 1/2), whatever the law: with the k-th
    from each end the interval covers it with chance 1 - 2 P(binomial < k). k is the largest that
    keeps `level`; below 6 values none does for 0.95, and the ends are the smallest and the largest.

    Source: Conover 1999, Practical Nonparametric Statistics, section 3.2.

    >>> median_interval([3.0, 1.0, 2.0, 9.0, 5.0, 4.0, 8.0, 7.0, 6.0])
    (2.0, 8.0)
    """
    ranked = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ranked)
    below, k = 0.5**n, 1  # the chance that fewer than k values lie below the median
    while k < n // 2 and 1 - 2 * (below + comb(n, k) * 0.5**n) >= level:
        below, k = below + comb(n, k) * 0.5**n, k + 1
    return float(ranked[k - 1]), float(ranked[n - k])


def wilson(share: float, count: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a chance, from the share of successes among `count` trials.

    >>> [round(end, 4) for end in wilson(0.0, 16)]
    [0.0, 0.1936]
    """
    z = _normal_quantile(level)
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    # A share of 0 or 1 is itself an end of the interval: middle -+ reach hits it but for rounding.
    low = 0.0 if share == 0 else max(middle - reach, 0.0)
    high = 1.0 if share == 1 else min(middle + reach, 1.0)
    return low, high


def t_quantile(level: float, freedom: int) -> float:
    """Two-sided quantile of Student's law: the t with P(-t < T < t) = `level`.

    Found by halving, as P is a finite sum; above 200 degrees of freedom by an expansion, to six
    digits.

    Source: Abramowitz and Stegun, 26.7.3, 26.7.4 and 26.7.5.

    >>> [round(t_quantile(0.95, freedom), 3) for freedom in (1, 2, 4, 15, 1000)]
    [12.706, 4.303, 2.776, 2.131, 1.962]
    """
    z = _normal_quantile(level)
    if freedom < 1:
        raise ValueError(f"Student's law needs at least one degree of freedom, got {freedom}")
    if freedom > 200:
        return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    low, high = 0.0, 1.0
    while _within(high, freedom) < level:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """P(-t < T < t) of Student's law."""
    angle = atan(t / sqrt(freedom))
    odd = freedom % 2
    term = cos(angle) if odd else 1.0
    total = 0.0 if freedom == 1 else term
    for n in range(3 if odd else 2, freedom - 1, 2):
        term *= cos(angle) ** 2 * (n - 1) / n
        total += term
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """The mean of a few values, such as one a seed, with the interval of Student's law; of one
    value the value itself, with ends that are nan. Raises ValueError where there is none.

    >>> t_interval([0.0, 0.5, 1.0]).ends[0].__round__(3), t_interval([0.5]).low
    (-0.742, nan)
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not len(data):
        raise ValueError("an interval needs at least one value")
    mean = float(data.mean())
    if len(data) == 1:
        return Interval(mean, float("nan"), float("nan"))
    reach = t_quantile(level, len(data) - 1) * float(data.std(ddof=1)) / sqrt(len(data))
    return Interval(mean, mean - reach, mean + reach)


def _normal_quantile(level: float) -> float:
    if not (isfinite(level) and 0 < level < 1):
        raise ValueError(
            f"the level of an interval lies between 0 and 1, such as 0.95, got {level}"
        )
    return NormalDist().inv_cdf(0.5 + level / 2)


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's rank correlation: the correlation of the ranks, ties sharing their mean rank; nan
    if all are equal.

    >>> round(rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([0.0, 0.5, 0.5])), 4)
    0.866
    """
    a, b = (_ranks(np.asarray(v, dtype=np.float64)) for v in (x, y))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else float("nan")


def _ranks(values: Array) -> Array:
    # Values that are equal but for rounding are ties: R/alpha of two right answers may differ in
    # the last bit.
    _, place, counts = np.unique(values.round(12), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], dtype=np.float64)
