"""Exercise 18: everybody is measured against the others.

REINFORCE needs a baseline that does not depend on the response it is subtracted from. With K
responses to one prompt there is a free one: the mean reward of the K - 1 others,

    A_i = R_i - 1/(K - 1) sum_{j != i} R_j

Left out of its own baseline, a response keeps the gradient unbiased; left in, it is pulled back by
its own luck.

Write `rloo_advantage(rewards) -> float64 [N, K]`.

- `rewards`, float64 [N, K]: row n holds R_1 ... R_K, the rewards of the K >= 2 responses to prompt
  n. A KL that is paid out of the reward has been subtracted already.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise


def rloo_advantage(rewards: Array) -> Array:
    """R_i minus the mean reward of the other responses to the same prompt, [N, K], reward units.

    >>> rloo_advantage(np.array([[1.0, 0.0], [0.5, 0.5]]))
    array([[ 1., -1.],
           [ 0.,  0.]])
    """
    others = rewards.sum(axis=1, keepdims=True) - rewards
    return rewards - others / (rewards.shape[1] - 1)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def includes_itself(rewards: Array) -> Array:
    """R_i is part of its own baseline: leave it out of the mean, and divide by K - 1."""
    return rewards - rewards.mean(axis=1, keepdims=True)


def divides_by_k(rewards: Array) -> Array:
    """the sum of the others is divided by K: there are K - 1 of them."""
    return rewards - (rewards.sum(axis=1, keepdims=True) - rewards) / rewards.shape[1]


def not_divided(rewards: Array) -> Array:
    """the sum of the others is subtracted: take their mean."""
    return rewards - (rewards.sum(axis=1, keepdims=True) - rewards)


def rescaled_backwards(rewards: Array) -> Array:
    """R_i minus the mean of all K is multiplied by (K - 1)/K: leaving R_i out multiplies it by K/(K
    - 1).
    """
    size = rewards.shape[1]
    return includes_itself(rewards) * (size - 1) / size


def divides_by_std(rewards: Array) -> Array:
    """the advantage is divided by the standard deviation of the group: that is GRPO, RLOO keeps
    units of reward.
    """
    return rloo_advantage(rewards) / rewards.std(axis=1, ddof=1, keepdims=True)


def over_prompts(rewards: Array) -> Array:
    """the mean runs over the prompts (axis 0): a row is a prompt, so the others lie along axis
    1.
    """
    return rloo_advantage(rewards.T).T


def over_the_batch(rewards: Array) -> Array:
    """the mean runs over all responses to all prompts: an easy prompt's responses say nothing about
    a hard one's.
    """
    return rloo_advantage(rewards.reshape(1, -1)).reshape(rewards.shape)


def sign(rewards: Array) -> Array:
    """the reward is subtracted from the baseline: better than the others is to be positive."""
    return -rloo_advantage(rewards)


def baseline(rewards: Array) -> Array:
    """the baseline is returned: subtract it from the reward."""
    return rewards - rloo_advantage(rewards)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Two prompts by hand, what shifts and orders do to them, random prompts term by term, then the
    limits.
    """
    rewards = np.array([[1.0, 0.0, 0.5], [0.25, 0.25, 1.0]])
    worked = np.array([[0.75, -0.75, 0.0], [-0.375, -0.375, 0.75]])
    yield Case("two prompts with rewards 1, 0, 0.5 and 0.25, 0.25, 1", (rewards,), worked)
    raised = rewards + np.array([[3.0], [-2.0]])
    yield Case("the same, shifted by 3 and by -2: nothing changes", (raised,), worked)
    yield Case("the same, responses in reverse", (rewards[:, ::-1],), worked[:, ::-1])
    yield Case("the same, every reward doubled", (2 * rewards,), 2 * worked)
    yield Case("the second prompt alone", (rewards[1:],), worked[1:])
    for trial in range(3):
        shape = int(rng.integers(1, 5)), int(rng.integers(3, 7))
        drawn = rng.normal(size=shape)
        expected = [[row[i] - np.delete(row, i).mean() for i in range(shape[1])] for row in drawn]
        yield Case(f"random prompts {trial + 1}: shape {shape}", (drawn,), np.array(expected))
    pair = np.array([[1.0, 0.25]])
    yield Case(
        "K = 2, rewards 1 and 0.25: each against the other", (pair,), np.array([[0.75, -0.75]])
    )
    yield Case(
        "all responses earn the same: nobody stands out", (np.full((2, 4), 0.5),), np.zeros((2, 4))
    )


EXERCISE = Exercise(
    name="rloo_advantage",
    compares="the leave-one-out advantage of every response, in units of reward",
    statement=__doc__,
    reference=rloo_advantage,
    gives="R_i minus the mean reward of the other responses to the same prompt, [N, K].",
    wrong_answers={
        "includes self": includes_itself,
        "/K for /(K-1)": divides_by_k,
        "sum for mean": not_divided,
        "(K-1)/K for K/(K-1)": rescaled_backwards,
        "divides by std": divides_by_std,
        "mean over prompts": over_prompts,
        "mean over the batch": over_the_batch,
        "sign": sign,
        "baseline for advantage": baseline,
    },
    hints=(
        "What do the others of the same prompt earn together, if you know what all K earn "
        "together?",
        "`rewards.sum(axis=1, keepdims=True) - rewards` is the sum of the others. How many others "
        "are there?",
        "Divide that sum by `rewards.shape[1] - 1` and subtract it from `rewards`: each row adds "
        "up to 0.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("prompt", 0), ("response", 0)),
    praise="each response is measured against the others of its prompt, and against nothing else",
)
