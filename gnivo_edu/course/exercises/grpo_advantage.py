"""Exercise 19: the advantage of GRPO.

GRPO has no critic: a response is good if it is better than its group. Its advantage is its reward,
centred and scaled within the group,

    A_i = (R_i - mean R) / (std R + 1e-4),      std R = sqrt( 1/(K - 1) sum_i (R_i - mean R)^2 )

The mean includes R_i. The standard deviation has Bessel's correction, K - 1, and the 1e-4 is added
to it outside the root, both as in TRL. Where all responses earn the same, every advantage is 0.

Write `grpo_advantage(rewards) -> float64 [N, K]`.

- `rewards`, float64 [N, K]: row n holds the rewards of the K >= 2 responses to prompt n.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise


def grpo_advantage(rewards: Array) -> Array:
    """(R - mean)/(std + 1e-4) within each group, std with Bessel's correction, [N, K], no unit.

    >>> grpo_advantage(np.array([[1.0, 0.0], [0.5, 0.5]])).round(4)
    array([[ 0.707, -0.707],
           [ 0.   ,  0.   ]])
    """
    mean = rewards.mean(axis=1, keepdims=True)
    std = rewards.std(axis=1, ddof=1, keepdims=True)
    return (rewards - mean) / (std + 1e-4)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def moments(rewards: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each group, [N, 1]: what the mistakes combine wrongly."""
    return rewards.mean(axis=1, keepdims=True), rewards.std(axis=1, ddof=1, keepdims=True)


def nan_on_ties(rewards: Array) -> Array:
    """the 1e-4 is missing: where all responses earn the same, std is 0, and 0/0 is nan."""
    mean, std = moments(rewards)
    return (rewards - mean) / std


def batch_std(rewards: Array) -> Array:
    """the standard deviation is that of the whole batch: each prompt has its own."""
    mean, _ = moments(rewards)
    return (rewards - mean) / (rewards.std(ddof=1) + 1e-4)


def batch_mean(rewards: Array) -> Array:
    """the mean is that of the whole batch: the responses to an easy prompt would all be praised."""
    _, std = moments(rewards)
    return (rewards - rewards.mean()) / (std + 1e-4)


def batch_both(rewards: Array) -> Array:
    """mean and standard deviation are those of the whole batch: each prompt has its own."""
    return (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)


def batch_both_by_k(rewards: Array) -> Array:
    """mean and standard deviation are those of the whole batch, and the variance is divided by its
    size, numpy's default: each prompt has its own, with ddof=1.
    """
    return (rewards - rewards.mean()) / (rewards.std() + 1e-4)


def batch_std_by_k(rewards: Array) -> Array:
    """the standard deviation is that of the whole batch, and the variance is divided by its size,
    numpy's default: each prompt has its own, with ddof=1.
    """
    mean, _ = moments(rewards)
    return (rewards - mean) / (rewards.std() + 1e-4)


def without_mean(rewards: Array) -> Array:
    """the mean is not subtracted: rewards are divided by std, and even the worst response is
    praised.
    """
    _, std = moments(rewards)
    return rewards / (std + 1e-4)


def without_std(rewards: Array) -> Array:
    """nothing is divided by std: that is Dr. GRPO."""
    mean, _ = moments(rewards)
    return rewards - mean


def wrong_ddof(rewards: Array) -> Array:
    """the variance is divided by K, numpy's default: ask for ddof=1."""
    mean, _ = moments(rewards)
    return (rewards - mean) / (rewards.std(axis=1, keepdims=True) + 1e-4)


def leave_one_out(rewards: Array) -> Array:
    """the mean is that of the others: RLOO leaves R_i out, GRPO does not."""
    size = rewards.shape[1]
    return grpo_advantage(rewards) * size / (size - 1)


def variance(rewards: Array) -> Array:
    """the variance stands for its root, the standard deviation."""
    mean, std = moments(rewards)
    return (rewards - mean) / (std**2 + 1e-4)


def inside_the_root(rewards: Array) -> Array:
    """the 1e-4 is added to the variance: it is added to the standard deviation, outside the
    root.
    """
    mean, std = moments(rewards)
    return (rewards - mean) / np.sqrt(std**2 + 1e-4)


def smaller_epsilon(rewards: Array) -> Array:
    """std + 1e-6 stands for std + 1e-4: verl's number; the two differ visibly where rewards are
    nearly equal.
    """
    mean, std = moments(rewards)
    return (rewards - mean) / (std + 1e-6)


def over_prompts(rewards: Array) -> Array:
    """mean and std run over the prompts (axis 0): a group is a row, so they run along axis 1."""
    return grpo_advantage(rewards.T).T


def sign(rewards: Array) -> Array:
    """the reward is subtracted from the mean: better than the group is to be positive."""
    return -grpo_advantage(rewards)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Three prompts by hand, one of them tied, what shifts do to them, random prompts, then the
    limits.
    """
    rewards = np.array([[0.5, 0.5, 0.5], [1.0, 0.0, 0.5], [0.0, 0.75, 0.0]])
    centred = np.array([[0.0, 0.0, 0.0], [0.5, -0.5, 0.0], [-0.25, 0.5, -0.25]])
    worked = centred / (np.sqrt([[0.0], [0.25], [0.1875]]) + 1e-4)
    yield Case("rewards 0.5 0.5 0.5 (a tie: std is 0), 1 0 0.5 and 0 0.75 0", (rewards,), worked)
    raised = rewards + np.array([[3.0], [-2.0], [0.5]])
    what = "each prompt's rewards shifted, by 3, -2 and 0.5"
    yield Case(f"the same, {what}: nothing changes", (raised,), worked)
    yield Case("the same, responses in reverse", (rewards[:, ::-1],), worked[:, ::-1])
    yield Case("the last two prompts alone", (rewards[1:],), worked[1:])
    for trial in range(3):
        shape = int(rng.integers(2, 5)), int(rng.integers(3, 7))
        drawn = rng.normal(scale=0.5, size=shape)
        rows = []
        for row in drawn:
            mean = sum(row) / len(row)
            rows.append(
                [
                    (r - mean)
                    / (np.sqrt(sum((q - mean) ** 2 for q in row) / (len(row) - 1)) + 1e-4)
                    for r in row
                ]
            )
        yield Case(f"random prompts {trial + 1}: shape {shape}", (drawn,), np.array(rows))
    near = np.array([[0.5, 0.5 + 2e-4, 0.5 - 2e-4], [1.0, 0.0, 0.5]])
    expected = np.array([[0.0, 2 / 3, -2 / 3], worked[1]])
    yield Case(
        "rewards 0.5 0.5002 0.4998 and 1 0 0.5: the 1e-4 matters in the first", (near,), expected
    )
    yield Case("every response to every prompt fails", (np.zeros((2, 4)),), np.zeros((2, 4)))


EXERCISE = Exercise(
    name="grpo_advantage",
    compares="the group-relative advantage of every response",
    statement=__doc__,
    reference=grpo_advantage,
    gives="(R - mean)/(std + 1e-4) within each group, [N, K].",
    wrong_answers={
        "nan on ties": nan_on_ties,
        "batch-wide std": batch_std,
        "batch-wide mean": batch_mean,
        "batch-wide mean and std": batch_both,
        "batch mean and std, ddof 0": batch_both_by_k,
        "batch std, ddof 0": batch_std_by_k,
        "std without mean": without_mean,
        "mean without std": without_std,
        "wrong ddof": wrong_ddof,
        "leave-one-out mean": leave_one_out,
        "variance for std": variance,
        "1e-4 inside the root": inside_the_root,
        "1e-6 for 1e-4": smaller_epsilon,
        "over the prompts": over_prompts,
        "sign": sign,
    },
    hints=(
        "A group is a row of `rewards`. Along which axis do its mean and its standard deviation "
        "run?",
        "`rewards.std(axis=1, keepdims=True)` divides by K inside the root. Which argument makes "
        "that K - 1?",
        "(rewards - mean) / (std + 1e-4), with `ddof=1`; the 1e-4 keeps a tied group at 0 instead "
        "of 0/0.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("prompt", 0), ("response", 0)),
    praise="each group is centred and scaled by itself, and a tied group stays finite",
)
