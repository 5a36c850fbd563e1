"""Exercise 42: what a right answer weighs.

Of the K answers to a question m are right and earn 1, the others earn 0. With one update a draw
every log-ratio is 0, and GN-IVO with softmax weights is a policy gradient, as GRPO and Dr. GRPO
are: a number stands before the gradient of each answer. Write it for one of the *right* answers:

- GN-IVO: its share of softmax(R/alpha) in the group, less 1/K, the share of log-ratios of 0;
- GRPO: (R - mean of R) / s, with s the standard deviation of the group's rewards as a sample
  (divided by K - 1);
- Dr. GRPO: R - mean of R.

Write `winner_weight(m, K, alpha) -> [GN-IVO, GRPO, Dr. GRPO]`.

- `m`, int, 1..K-1; `K`, int, at least 2; `alpha`, float, the temperature of GN-IVO.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise


def winner_weight(m: int, K: int, alpha: float) -> Array:
    """The weights of a right answer, [3].

    >>> winner_weight(1, 2, 0.2).round(4)
    array([0.4933, 0.7071, 0.5   ])
    """
    p, w = m / K, np.exp(1 / alpha)
    deviation = np.sqrt(p * (1 - p) * K / (K - 1))
    return np.array([w / (m * w + K - m) - 1 / K, (1 - p) / deviation, 1 - p])


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def no_share(m: int, K: int, alpha: float) -> Array:
    """the 1/K is left out: then a group whose answers are all right would still push."""
    return winner_weight(m, K, alpha) + np.array([1 / K, 0, 0])


def alpha_times(m: int, K: int, alpha: float) -> Array:
    """the reward is multiplied by alpha: it is divided by it."""
    return winner_weight(m, K, 1 / alpha)


def raw(m: int, K: int, alpha: float) -> Array:
    """raw weights e^{R/alpha} are taken for their softmax in the group."""
    p, w = m / K, np.exp(1 / alpha)
    rest = winner_weight(m, K, alpha)[1:]
    return np.array([w * (1 - p) - (1 - p), *rest])


def winners_only(m: int, K: int, alpha: float) -> Array:
    """the right answers share the whole weight: the wrong ones have a small share, e^0 each."""
    return np.array([1 / m - 1 / K, *winner_weight(m, K, alpha)[1:]])


def population(m: int, K: int, alpha: float) -> Array:
    """the standard deviation divides by K: of a sample it divides by K - 1."""
    gnivo, grpo, dr = winner_weight(m, K, alpha)
    return np.array([gnivo, grpo * np.sqrt(K / (K - 1)), dr])


def variance(m: int, K: int, alpha: float) -> Array:
    """GRPO's advantage is divided by the variance: it is divided by its root."""
    p = m / K
    gnivo, _, dr = winner_weight(m, K, alpha)
    return np.array([gnivo, (1 - p) / (p * (1 - p) * K / (K - 1)), dr])


def others(m: int, K: int, alpha: float) -> Array:
    """the mean is that of the other answers, as RLOO's: here an answer counts in its own mean."""
    gnivo, grpo, _ = winner_weight(m, K, alpha)
    return np.array([gnivo, grpo, 1 - (m - 1) / (K - 1)])


def loser(m: int, K: int, alpha: float) -> Array:
    """the weight of a wrong answer is returned: asked for is that of a right one."""
    return -winner_weight(m, K, alpha) * m / (K - m)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """A pair by hand, groups counted reward by reward, then alpha large and small."""
    e = np.exp(2.0)
    worked = np.array([e / (e + 3) - 0.25, 1.5, 0.75])  # of 1, 0, 0, 0 the deviation is 1/2
    yield Case("one right of four, alpha = 0.5", (1, 4, 0.5), worked)
    for trial in range(4):
        K = int(rng.integers(3, 10))
        m, alpha = int(rng.integers(1, K)), float(rng.uniform(0.2, 2))
        yield Case(f"random {trial + 1}: {m} right of {K}", (m, K, alpha), _counted(m, K, alpha))
    yield Case("alpha = 10: hardly a difference", (2, 4, 10.0), _counted(2, 4, 10.0))
    yield Case("alpha = 0.1: winners take nearly all", (1, 8, 0.1), _counted(1, 8, 0.1))


def _counted(m: int, K: int, alpha: float) -> Array:
    """Answer by answer."""
    rewards = [1.0] * m + [0.0] * (K - m)
    mean = sum(rewards) / K
    deviation = (sum((r - mean) ** 2 for r in rewards) / (K - 1)) ** 0.5
    weights = [float(np.exp(r / alpha)) for r in rewards]
    share = weights[0] / sum(weights)
    return np.array([share - 1 / K, (1 - mean) / deviation, 1 - mean])


EXERCISE = Exercise(
    name="winner_weight",
    compares="the weights of a right answer",
    statement=__doc__,
    reference=winner_weight,
    gives="The weights of a right answer under GN-IVO, GRPO and Dr. GRPO, [3].",
    wrong_answers={
        "no 1/K": no_share,
        "alpha R": alpha_times,
        "raw": raw,
        "winners only": winners_only,
        "population deviation": population,
        "variance": variance,
        "leave one out": others,
        "of a wrong one": loser,
    },
    hints=(
        "Two kinds of answers, m and K - m of them: what does each weigh in the softmax?",
        "With w = e^{1/alpha} a right answer has the share w / (m w + K - m).",
        "The variance of m ones and K - m zeros is p (1 - p), p = m/K; as a sample K/(K - 1) times "
        "that. The mean of the rewards is p.",
    ),
    praise="you know what one right answer weighs beside the others, in three methods",
    cases=cases,
    parse=array,
    difference=by_entry(("method", 0)),
)
