"""Exercise 46: the jump of the loss at a refresh.

VIMPO's value loss asks the log-ratios of an answer to say its reward, less the mean reward of the
*other* answers of its group:

    x_i = l_i - (R_i - b_i),    b_i = mean of R_j over j != i,    loss = mean of x_i^2 / 2.

l_i, what they say, is alpha times the sum over tokens of log pi/pi_ref - KL(pi || pi_ref). At a
refresh the policy becomes its own reference: every l_i is 0, and nothing else has changed.

Write `jump_at_refresh(learnt, rewards) -> float`, the loss after the refresh over the loss before
it, on the same groups.

- `learnt`, float64 [G, K]: l_i of K answers in each of G groups before the refresh, reward units;
- `rewards`, float64 [G, K]: R_i.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise


def jump_at_refresh(learnt: Array, rewards: Array) -> float:
    """The mean of (R - b)^2 over that of (l - (R - b))^2.

    >>> jump_at_refresh(np.array([[0.5, -0.5]]), np.array([[1.0, 0.0]]))
    4.0
    """
    size = rewards.shape[1]
    target = size / (size - 1) * (rewards - rewards.mean(axis=1, keepdims=True))
    return float((target**2).mean() / ((learnt - target) ** 2).mean())


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def _targets(rewards: Array) -> Array:
    """R less the mean of the others."""
    size = rewards.shape[1]
    return np.asarray(size / (size - 1) * (rewards - rewards.mean(axis=1, keepdims=True)))


def _jump(learnt: Array, target: Array) -> float:
    return float((target**2).mean() / ((learnt - target) ** 2).mean())


def own_included(learnt: Array, rewards: Array) -> float:
    """b is the mean of the whole group: the answer's own reward is not among the others'."""
    return _jump(learnt, rewards - rewards.mean(axis=1, keepdims=True))


def batch_mean(learnt: Array, rewards: Array) -> float:
    """b is the mean of all groups: only the others of the same group are meant."""
    return _jump(learnt, rewards - rewards.mean())


def no_baseline(learnt: Array, rewards: Array) -> float:
    """no baseline is subtracted: the log-ratios say a reward less that of the others."""
    return _jump(learnt, rewards)


def upside_down(learnt: Array, rewards: Array) -> float:
    """the loss before is divided by the loss after."""
    return 1 / jump_at_refresh(learnt, rewards)


def root(learnt: Array, rewards: Array) -> float:
    """the root mean squares are compared: the loss is in squares."""
    return float(np.sqrt(jump_at_refresh(learnt, rewards)))


def by_group(learnt: Array, rewards: Array) -> float:
    """the ratio is taken in each group and then averaged: a loss is a mean over all groups."""
    target = _targets(rewards)
    return float(((target**2).mean(axis=1) / ((learnt - target) ** 2).mean(axis=1)).mean())


def sign(learnt: Array, rewards: Array) -> float:
    """l is added to R - b instead of compared with it."""
    return _jump(-learnt, _targets(rewards))


def group_size(learnt: Array, rewards: Array) -> float:
    """K is returned: that is the jump at the rest, where all has been learned."""
    return float(rewards.shape[1])


def difference(learnt: Array, rewards: Array) -> float:
    """the losses are subtracted: a factor is asked for."""
    target = _targets(rewards)
    return float(((target**2).mean() - ((learnt - target) ** 2).mean()) / 2)


def of_learnt(learnt: Array, rewards: Array) -> float:
    """what was learned is taken for the loss after the refresh: then l is 0, and R - b is left."""
    target = _targets(rewards)
    return float((learnt**2).mean() / ((learnt - target) ** 2).mean())


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Two groups by hand, what shifts and units do, random groups by loops, and the two limits."""
    rewards = np.array([[1.0, 0.0, 0.5], [1.0, 1.0, 2.5]])
    learnt = np.array([[0.5, -0.5, 0.25], [-0.5, -0.25, 1.0]])
    # Targets 0.75, -0.75, 0 and -0.75, -0.75, 1.5; residuals -0.25, 0.25, 0.25, 0.25, 0.5, -0.5.
    worked = np.asarray(4.5 / 0.75)
    yield Case("two groups of three by hand", (learnt, rewards), worked)
    raised = rewards + np.array([[3.0], [-1.0]])
    yield Case("the same, rewards of each group raised", (learnt, raised), worked)
    yield Case("the same, in other units", (10 * learnt, 10 * rewards), worked)
    yield Case("the same, answers in reverse", (learnt[:, ::-1], rewards[:, ::-1]), worked)
    for trial in range(3):
        G, K = int(rng.integers(2, 5)), int(rng.integers(2, 6))
        said, paid = 0.3 * rng.normal(size=(G, K)), rng.random((G, K))
        before = after = 0.0
        for i, j in np.ndindex(G, K):
            others = [paid[i, k] for k in range(K) if k != j]
            target = paid[i, j] - sum(others) / len(others)
            after += target**2
            before += (said[i, j] - target) ** 2
        where = f"random groups {trial + 1}: G = {G}, K = {K}"
        yield Case(where, (said, paid), np.asarray(after / before))
    yield Case("nothing learned: no jump", (np.zeros((2, 3)), rewards), np.asarray(1.0))


EXERCISE = Exercise(
    name="jump_at_refresh",
    compares="the loss after a refresh over the loss before it",
    statement=__doc__,
    reference=jump_at_refresh,
    gives="The mean of (R - b)^2 over that of (l - (R - b))^2, a number.",
    wrong_answers={
        "own reward in the mean": own_included,
        "mean of the batch": batch_mean,
        "no baseline": no_baseline,
        "upside down": upside_down,
        "root": root,
        "ratio by group": by_group,
        "sign": sign,
        "K itself": group_size,
        "difference": difference,
        "what was learned": of_learnt,
    },
    hints=(
        "What is x_i when l_i is 0?",
        "The mean of the others is (sum of the group - R_i)/(K - 1).",
        "Two means of squares over all groups and answers: of R - b, and of l - (R - b).",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(),
    praise="once everything has been learned, that factor is K",
)
