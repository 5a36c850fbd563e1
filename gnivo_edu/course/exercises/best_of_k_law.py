"""Exercise 26: the law of the best of K.

Sample K answers, keep one of highest reward. No loss, no gradient; yet the winner has a law of its
own, and it is not a tilt. The winner's reward is at most r if all K are, so with F(r) = P(R <= r)
and F(r-) = P(R < r) under the sampler

    P(the winner's reward is r) = F(r)^K - F(r-)^K

Answers of equal reward share this as the sampler does: in proportion to their own probabilities.

Write `best_of_k_law(probs, rewards, group_size) -> float64 [n]`, the probability that each answer
is the winner.

- `probs`, float64 [n]: the probability of each of all n answers under the sampler, all positive,
  with sum 1;
- `rewards`, float64 [n]: their rewards, in any order; some may be equal, exactly;
- `group_size`, int >= 1: K, how many independent answers are drawn, with repetition.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise


def best_of_k_law(probs: Array, rewards: Array, group_size: int) -> Array:
    """(F(r)^K - F(r-)^K) times the answer's share of all answers of its reward, [n].

    >>> best_of_k_law(np.array([0.5, 0.25, 0.25]), np.array([0.0, 1.0, 1.0]), group_size=2)
    array([0.25 , 0.375, 0.375])
    """
    below = (rewards < rewards[:, None]) @ probs
    tied = (rewards == rewards[:, None]) @ probs
    return ((below + tied) ** group_size - below**group_size) * probs / tied


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def levels(probs: Array, rewards: Array) -> tuple[Array, Array, Array]:
    """F(r), F(r-) and P(R = r) at each answer's reward, [n]: what the mistakes combine wrongly."""
    upto, below = (rewards <= rewards[:, None]) @ probs, (rewards < rewards[:, None]) @ probs
    return upto, below, (rewards == rewards[:, None]) @ probs


def ignores_ties(probs: Array, rewards: Array, group_size: int) -> Array:
    """every answer of a tie gets the whole of F(r)^K - F(r-)^K: they have to share it."""
    upto, below, _ = levels(probs, rewards)
    return upto**group_size - below**group_size


def splits_equally(probs: Array, rewards: Array, group_size: int) -> Array:
    """a tie is split into equal parts: an answer that is drawn more often also wins more often."""
    return ignores_ties(probs, rewards, group_size) / (rewards == rewards[:, None]).sum(axis=1)


def by_order(probs: Array, rewards: Array, group_size: int) -> Array:
    """ties are settled by the order of the answers: sorted and summed up one by one, the last of a
    tie wins it.
    """
    order = np.argsort(rewards, kind="stable")
    upto = np.cumsum(probs[order])
    won = np.empty(len(probs))
    won[order] = np.diff(np.append(0.0, upto) ** group_size)
    return won


def power(probs: Array, rewards: Array, group_size: int) -> Array:
    """p^K is returned, the chance that all K draws are this one answer."""
    return np.asarray(probs**group_size)


def power_normalised(probs: Array, rewards: Array, group_size: int) -> Array:
    """p^K is normalised: that sharpens the sampler and does not look at the rewards."""
    return np.asarray(probs**group_size / (probs**group_size).sum())


def times_k(probs: Array, rewards: Array, group_size: int) -> Array:
    """K p is returned, how often the answer is drawn on average: that is no probability, and looks
    at no reward.
    """
    return group_size * probs


def ever_drawn(probs: Array, rewards: Array, group_size: int) -> Array:
    """1 - (1 - p)^K is returned, the chance that the answer is drawn at all: it has to win, too."""
    return np.asarray(1 - (1 - probs) ** group_size)


def softmax(probs: Array, rewards: Array, group_size: int) -> Array:
    """p e^{K R} is normalised: that is a tilt, but only the order of the rewards counts here, not
    their size.
    """
    tilted = probs * np.exp(group_size * (rewards - rewards.max()))
    return np.asarray(tilted / tilted.sum())


def softmax_alone(probs: Array, rewards: Array, group_size: int) -> Array:
    """softmax(K R) is returned: only the order of the rewards counts here, and what is rarely drawn
    rarely wins.
    """
    return softmax(np.ones_like(probs), rewards, group_size)


def density(probs: Array, rewards: Array, group_size: int) -> Array:
    """K p F(r)^{K-1} is returned, the rule for densities: here two draws can have the same
    reward.
    """
    upto, _, _ = levels(probs, rewards)
    return np.asarray(group_size * probs * upto ** (group_size - 1))


def strictly_below(probs: Array, rewards: Array, group_size: int) -> Array:
    """K p F(r-)^{K-1} is returned, with all other draws strictly worse: the same answer may be
    drawn twice, or tied.
    """
    _, below, _ = levels(probs, rewards)
    return np.asarray(group_size * probs * below ** (group_size - 1))


def cumulative(probs: Array, rewards: Array, group_size: int) -> Array:
    """F(r-)^K is not subtracted: F(r)^K is the chance that the winner earns at most r."""
    upto, _, tied = levels(probs, rewards)
    return np.asarray(upto**group_size * probs / tied)


def worst(probs: Array, rewards: Array, group_size: int) -> Array:
    """the worst of K is kept: turn the inequalities round."""
    return best_of_k_law(probs, -rewards, group_size)


def sampler(probs: Array, rewards: Array, group_size: int) -> Array:
    """the sampler's own law is returned: it is that of K = 1."""
    return probs.copy()


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Four answers by hand, what orders and scales do to them, random laws draw by draw, then the
    limits.
    """
    probs, rewards = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 1.0, 0.5])
    worked = np.array([0.01, 0.3, 0.45, 0.24])  # F is 0.1, 0.5, 1
    where = "probabilities 0.1 0.2 0.3 0.4, rewards 0 1 1 0.5, K = 2"
    yield Case(where, (probs, rewards, 2), worked)
    yield Case("the same, answers in reverse", (probs[::-1], rewards[::-1], 2), worked[::-1])
    stretched = 10 * rewards**3 - 7
    yield Case(
        "the same, rewards -7, 3, 3 and -5.75: the order is the same", (probs, stretched, 2), worked
    )
    yield Case("the same, K = 1: the sampler itself", (probs, rewards, 1), probs)
    yield Case(
        "the same, K = 1000: one of the best",
        (probs, rewards, 1000),
        np.array([0.0, 0.4, 0.6, 0.0]),
    )
    for trial in range(3):
        size, group_size = int(rng.integers(3, 6)), int(rng.integers(2, 5))
        drawn, paid = rng.dirichlet(np.full(size, 2.0)), rng.integers(0, 3, size=size) / 2
        draws = size**group_size
        where = (
            f"random law {trial + 1}: {size} answers with rewards {paid}, K = {group_size}; all "
            f"{draws} draws"
        )
        yield Case(where, (drawn, paid, group_size), draw_by_draw(drawn, paid, group_size))
    where = "all rewards equal, K = 8: nothing to choose"
    yield Case(where, (probs, np.full(4, 0.5), 8), probs)


def draw_by_draw(probs: Array, rewards: Array, group_size: int) -> Array:
    """The winner's law by going through all groups of K answers, a tie shared equally by the draws
    that reach it.
    """
    won = np.zeros(len(probs))
    for group in itertools.product(range(len(probs)), repeat=group_size):
        best = [i for i in group if rewards[i] == max(rewards[list(group)])]
        for i in best:
            won[i] += np.prod(probs[list(group)]) / len(best)
    return won


def law_difference(tolerance: float) -> Callable[[Array, Array], str | None]:
    """How two laws [n] differ, or None; what is not a law is called that."""
    compare = by_entry(("answer", 0), tolerance=tolerance)

    def difference(got: Array, expected: Array) -> str | None:
        problem = compare(got, expected)
        if problem is None or got.shape != expected.shape:
            return problem
        if (got < 0).any():
            return f"{problem}; yours has negative probabilities"
        total = float(got.sum())
        return (
            problem
            if abs(total - 1) < 1e-6
            else f"{problem}; yours add up to {total:.6g}, not to 1"
        )

    return difference


EXERCISE = Exercise(
    name="best_of_k_law",
    compares="the probability of every answer to be the best of K",
    statement=__doc__,
    reference=best_of_k_law,
    gives="The probability [n] that each answer is the best of K draws.",
    wrong_answers={
        "ignores ties": ignores_ties,
        "splits ties equally": splits_equally,
        "ties by order": by_order,
        "p^K": power,
        "p^K, normalised": power_normalised,
        "K p": times_k,
        "drawn at all": ever_drawn,
        "softmax": softmax,
        "softmax without p": softmax_alone,
        "rule for densities": density,
        "others strictly worse": strictly_below,
        "F^K alone": cumulative,
        "worst of K": worst,
        "the sampler itself": sampler,
    },
    hints=(
        "When is the winner's reward at most r? And when is it less than r?",
        "`rewards <= rewards[:, None]` is a table: row i marks the answers no better than i. Add "
        "up their `probs`.",
        "F(r)^K - F(r-)^K is shared by the answers of reward r: multiply by `probs` over the sum "
        "of their `probs`.",
    ),
    cases=cases,
    parse=array,
    difference=law_difference(1e-9),
    praise=(
        "it is a law, ties are shared as the sampler draws them, and only the order of the "
        "rewards counts"
    ),
)
