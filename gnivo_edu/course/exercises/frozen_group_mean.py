"""Exercise 27: a group scattered over micro-batches.

A trainer shuffles its answers and cuts them into micro-batches, so the answers to one prompt land
in several of them. GVPO compares the answers of a whole group:

    L = sum over groups of  1/(2 (K - 1)) sum_i ( (R_i - mean R) - alpha (h_i - mean h) )^2

with h_i = log pi_theta(y_i) - log pi_ref(y_i), and both means over the K answers of the group. What
descent on L pushes on, answer by answer, is

    - dL / d log pi_theta(y_i) = alpha/(K - 1) ( (R_i - mean R) - alpha (h_i - mean h) )

and that is also what one micro-batch needs for its share of the gradient, if the means are those of
the *whole* group, computed once before the batch is cut, without gradient.

Write `frozen_group_mean(rewards, logratios, groups, rows, alpha) -> float64 [len(rows)]`.

- `rewards`, `logratios`, float64 [B]: R_i and h_i of all B answers of the batch, shuffled;
- `groups`, int [B]: the number of the prompt each one answers; every group has the same size K, but
  which K you count;
- `rows`, int [b]: the answers of this micro-batch, by their place in the batch, in any order;
- `alpha`, float > 0: the temperature, reward per nat.

Return the push on each answer of the micro-batch, in the order of `rows`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, array, by_entry, finite_differences
from gnivo_edu.course.exercises.base import Case, Exercise

Ints = NDArray[np.int64]


def frozen_group_mean(
    rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float
) -> Array:
    """- dL/d log pi of the answers in `rows`, the means taken over their whole groups.

    >>> two = np.array([0, 0])
    >>> frozen_group_mean(np.array([1.0, 0.0]), np.zeros(2), two, rows=np.array([1]), alpha=0.5)
    array([-0.25])
    """
    score = rewards - alpha * logratios
    same = groups[rows][:, None] == groups
    size = same.sum(axis=1)
    return alpha / (size - 1) * (score[rows] - same @ score / size)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def parts(
    rewards: Array, logratios: Array, groups: Ints, rows: Ints
) -> tuple[Array, Array, Array, Array]:
    """R, h of the rows; who in the batch is of their group, [b, B]; K: what the mistakes combine
    wrongly.
    """
    same = (groups[rows][:, None] == groups).astype(float)
    return rewards[rows], logratios[rows], same, same.sum(axis=1)


def local_mean(rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float) -> Array:
    """the means are those of the group's answers in this micro-batch: take them over the whole
    group.
    """
    score = (rewards - alpha * logratios)[rows]
    here = (groups[rows][:, None] == groups[rows]).astype(float)
    size = parts(rewards, logratios, groups, rows)[3]
    return alpha / (size - 1) * (score - here @ score / here.sum(axis=1))


def micro_batch_mean(
    rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float
) -> Array:
    """the means are those of the micro-batch, whoever is in it: each answer is compared with its
    own whole group.
    """
    score = (rewards - alpha * logratios)[rows]
    return alpha / (parts(rewards, logratios, groups, rows)[3] - 1) * (score - score.mean())


def batch_mean(rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float) -> Array:
    """the means are those of the whole batch: each answer is compared with its own group."""
    score = rewards - alpha * logratios
    return alpha / (parts(rewards, logratios, groups, rows)[3] - 1) * (score[rows] - score.mean())


def micro_batch_size(
    rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float
) -> Array:
    """K is the size of the micro-batch, len(rows): it is the size of the whole group."""
    R, h, same, size = parts(rewards, logratios, groups, rows)
    score = rewards - alpha * logratios
    return alpha / (len(rows) - 1) * (R - alpha * h - same @ score / size)


def members_here(rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float) -> Array:
    """K counts the group's answers in this micro-batch: it is the size of the whole group."""
    R, h, same, size = parts(rewards, logratios, groups, rows)
    here = (groups[rows][:, None] == groups[rows]).sum(axis=1)
    return alpha / (here - 1) * (R - alpha * h - same @ (rewards - alpha * logratios) / size)


def uncentred(rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float) -> Array:
    """h is not centred: without its group mean the pushes of a group do not add up to 0."""
    R, h, same, size = parts(rewards, logratios, groups, rows)
    return alpha / (size - 1) * (R - same @ rewards / size - alpha * h)


def only_rewards(rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float) -> Array:
    """h is left out: that is right at the beginning only, where the policy is the reference."""
    R, _, same, size = parts(rewards, logratios, groups, rows)
    return alpha / (size - 1) * (R - same @ rewards / size)


def over_size(rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float) -> Array:
    """the sum is divided by K: it is divided by K - 1, which makes L an unbiased estimate whatever
    K is.
    """
    size = parts(rewards, logratios, groups, rows)[3]
    return frozen_group_mean(rewards, logratios, groups, rows, alpha) * (size - 1) / size


def others(rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float) -> Array:
    """the means leave the answer itself out, as RLOO's do: GVPO's include it, and the K - 1 is in
    front already.
    """
    size = parts(rewards, logratios, groups, rows)[3]
    return frozen_group_mean(rewards, logratios, groups, rows, alpha) * size / (size - 1)


def sign(rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float) -> Array:
    """the slope dL/d log pi is returned: the push is minus the slope."""
    return -frozen_group_mean(rewards, logratios, groups, rows, alpha)


def without_alpha(
    rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float
) -> Array:
    """the alpha in front is missing: it comes from the derivative of alpha h."""
    return frozen_group_mean(rewards, logratios, groups, rows, alpha) / alpha


def alpha_on_reward(
    rewards: Array, logratios: Array, groups: Ints, rows: Ints, alpha: float
) -> Array:
    """alpha multiplies R instead of h: alpha log pi/pi_ref is what has the unit of a reward."""
    R, h, same, size = parts(rewards, logratios, groups, rows)
    return alpha / (size - 1) * (alpha * R - h - same @ (alpha * rewards - logratios) / size)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Two groups of three by hand, cut in several ways, then random batches differentiated by
    finite differences.
    """
    rewards = np.array([1.0, 3.0, 0.0, 5.0, 2.0, 1.0])
    logratios = np.array([2.0, 0.0, 4.0, 2.0, 0.0, -2.0])
    groups = np.array([7, 2, 7, 2, 7, 2])
    # Scores R - h/2: group 7 has 0, -2, 2 (mean 0); group 2 has 3, 4, 2 (mean 3). In front: 0.5/2.
    worked = np.array([0.0, 0.0, -0.5, 0.25, 0.5, -0.25])
    batch = "two groups of three, R = 1, 0, 2 and 3, 5, 1, h = 2, 4, 0 and 0, 2, -2, alpha 0.5"
    for cut in ([3, 2, 0], [5, 4, 2, 3], [2, 3]):
        given = (rewards, logratios, groups, np.array(cut), 0.5)
        yield Case(f"{batch}; the micro-batch holds rows {cut}", given, worked[cut])
    everything = np.arange(6)
    yield Case(
        "the same, all six in one micro-batch",
        (rewards, logratios, groups, everything, 0.5),
        worked,
    )
    lifted = logratios + np.where(groups == 7, 3.0, -1.0)
    where = "the same, h of a group raised by 3, of the other lowered by 1: that cancels"
    yield Case(where, (rewards, lifted, groups, everything, 0.5), worked)
    for trial in range(3):
        N, K = int(rng.integers(2, 4)), int(rng.integers(3, 6))
        shuffled = rng.permutation(np.repeat(rng.choice(50, size=N, replace=False), K))
        paid = rng.uniform(size=N * K)
        h = rng.normal(size=N * K)
        alpha = round(float(rng.uniform(0.3, 2)), 3)
        rows = rng.permutation(N * K)[: int(rng.integers(2, N * K))]
        where = (
            f"random batch {trial + 1}: {N} groups of {K}, {len(rows)} rows, alpha {alpha}; by "
            "finite differences"
        )
        loss_of = functools.partial(loss, rewards=paid, groups=shuffled, alpha=alpha)
        pushes = -finite_differences(loss_of, h, h=0.5)
        yield Case(where, (paid, h, shuffled, rows, alpha), pushes[rows])
    tied = (np.full(4, 0.5), np.array([1.0, -1.0, 0.0, 0.0]), np.full(4, 9), np.array([0, 2]), 1.0)
    yield Case(
        "equal rewards, h = 1, -1, 0, 0, alpha 1: the log-ratios are levelled",
        tied,
        np.array([-1 / 3, 0.0]),
    )


def loss(logratios: Array, rewards: Array, groups: Ints, alpha: float) -> float:
    """L of the whole batch, group by group; a parabola."""
    total = 0.0
    for group in np.unique(groups):
        R, h = rewards[groups == group], logratios[groups == group]
        total += float(np.var((R - R.mean()) - alpha * (h - h.mean()), ddof=1)) / 2
    return total


EXERCISE = Exercise(
    name="frozen_group_mean",
    compares="GVPO's push on the answers of one micro-batch",
    statement=__doc__,
    reference=frozen_group_mean,
    gives="- dL/d log pi of the answers in `rows`, the means taken over their whole groups.",
    wrong_answers={
        "micro-batch local mean": local_mean,
        "mean over the micro-batch": micro_batch_mean,
        "mean over the batch instead of the group": batch_mean,
        "K of the micro-batch": micro_batch_size,
        "K counts the members here": members_here,
        "no centring of h": uncentred,
        "h left out": only_rewards,
        "1/K for 1/(K - 1)": over_size,
        "leave-one-out mean": others,
        "sign": sign,
        "alpha in front missing": without_alpha,
        "alpha on R": alpha_on_reward,
    },
    hints=(
        "R and h enter only through s = R - alpha h. Compute s for all B answers, and its mean "
        "for each group.",
        "`groups[rows][:, None] == groups` says who in the whole batch belongs to the group of "
        "each row.",
        "alpha/(K - 1) times (s of the row minus the mean of s over its whole group). Look up "
        "only these with `rows`.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("row", 0), tolerance=1e-8),
    praise="however the batch is cut, the pushes are those of the whole groups",
)
