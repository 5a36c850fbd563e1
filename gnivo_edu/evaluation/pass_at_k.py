"""Pass@k, maj@k and their intervals: numpy float64, nothing about models.

Two sources of chance stand behind every number here: the samples that were drawn to a problem, and
the problems that happen to be in the set. Estimators deal with the first (`pass_at_k`,
`majority_at_k` are unbiased); intervals resample whole problems, so that they carry both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
DRAWS = 10_000  # resamplings: the ends of a 95% interval then move by about 1% of its width from seed to seed
AT_ONCE = 1 << 20  # problems times resamplings held at a time


def pass_at_k(correct: ArrayLike, samples: ArrayLike, k: int) -> Array:
    """The chance that a set of k of the n samples drawn to a problem holds a right one; unbiased
    for 1 - (1 - p)^k.

        pass@k = 1 - C(n - c, k) / C(n, k) = 1 - prod_{i<k} (n - c - i) / (n - i)

    `correct` (c) and `samples` (n) int, broadcast against each other; float64 of their common
    shape. The product has no large numbers in it. Raises ValueError on k < 1, on c outside 0..n,
    and on k > n: from fewer than k samples no unbiased estimate exists, whatever c is.

    Source: Chen et al. 2021, Evaluating Large Language Models Trained on Code (arXiv:2107.03374),
        eq. 1.

    >>> pass_at_k([0, 1, 2, 4], 4, k=2).round(4)
    array([0.    , 0.5   , 0.8333, 1.    ])
    >>> pass_at_k(0, 2, k=3)
    Traceback (most recent call last):
    ValueError: pass@3 needs at least 3 samples to a problem, got 2: draw more, or ask for a smaller k
    """
    c, n = np.broadcast_arrays(np.asarray(correct), np.asarray(samples))
    if c.dtype.kind not in "iu" or n.dtype.kind not in "iu":
        raise ValueError(
            f"correct and samples are counts: give integers, got {c.dtype} and {n.dtype}"
        )
    check_k(k, int(n.min()) if n.size else k)
    if ((c < 0) | (c > n)).any():
        bad = np.argmax(((c < 0) | (c > n)).ravel())
        raise ValueError(f"of {n.ravel()[bad]} samples {c.ravel()[bad]} cannot be correct")
    i = np.arange(k)
    wrong = np.maximum(n[..., None] - c[..., None] - i, 0)
    return np.asarray(1 - np.prod(wrong / (n[..., None] - i), axis=-1))


def check_k(k: int, samples: int) -> None:
    """Raise ValueError unless 1 <= k <= samples."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if k > samples:
        raise ValueError(
            f"pass@{k} needs at least {k} samples to a problem, got {samples}: draw more, or ask "
            "for a smaller k"
        )


def majority_at_k(votes: Sequence[Hashable | None], right: Hashable, k: int) -> float:
    """The chance that the majority of k of the n votes on one problem is `right`: exact over all
    C(n, k) sets of votes.

    A tie of m answers is settled by lot: the right one, if it is among them, gets 1/m. None is an
    abstention: it takes one of the k places and votes for nothing; where all abstain there is no
    majority. Since every set of k samples is counted once, the estimate is unbiased for the
    majority of k fresh samples. No enumeration: with m_a votes for answer a, the sets in which the
    right answer has j votes and ties with q others are a coefficient of

        C(m_right, j) x^j (1 + x)^{m_None} prod_{a wrong} (sum_{i<j} C(m_a, i) x^i + y C(m_a, j)
        x^j)

    in exact integers. Raises ValueError on k < 1 and k > n.

    >>> majority_at_k(["7", "7", "5", None], right="7", k=3)
    0.75
    """
    check_k(k, len(votes))
    counts = Counter(votes)
    silent, mine = counts.pop(None, 0), counts.pop(right, 0)
    total = Fraction(0)
    for j in range(1, min(mine, k) + 1):
        ways = {
            (i, 0): comb(silent, i) for i in range(min(silent, k - j) + 1)
        }  # (votes cast, ties) -> sets
        for count in counts.values():
            ways = _with_answer(ways, count, j, k - j)
        share = sum(
            Fraction(number, ties + 1) for (cast, ties), number in ways.items() if cast == k - j
        )
        total += comb(mine, j) * share
    return float(total / comb(len(votes), k))


def _with_answer(
    ways: dict[tuple[int, int], int], count: int, most: int, room: int
) -> dict[tuple[int, int], int]:
    """The sets after one more wrong answer with `count` votes has got at most `most` of them."""
    found: dict[tuple[int, int], int] = Counter()
    for (cast, ties), number in ways.items():
        for i in range(min(count, most, room - cast) + 1):
            found[cast + i, ties + (i == most)] += number * comb(count, i)
    return found


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

    >>> found = bootstrap_interval([0.0, 1.0, 1.0, 0.5])
    >>> found.mean, found.ends
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

    >>> found = paired_difference([0.0, 0.5, 1.0], [0.25, 0.75, 1.0])
    >>> found.mean.__round__(4), found.ends
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
