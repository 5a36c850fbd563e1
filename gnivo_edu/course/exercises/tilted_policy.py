"""Exercise 4: the tilted policy.

Of all policies, one has the largest E[R] - alpha KL(pi || pi_ref): the reference, tilted towards
reward,

    log pi*(y | x) = log pi_ref(y | x) + R(x, y)/alpha - log Z(x)

Write `tilted_policy(logps, rewards, alpha) -> float64 [N, n]`, the log-probabilities log pi*(y | x)
in nats.

- `logps`, float64 [N, n]: row x holds log pi_ref(y | x) of all n answers to prompt x; -inf for an
  impossible one;
- `rewards`, float64 [N, n]: R(x, y), in units of reward;
- `alpha`, float > 0: the temperature, reward per nat; it may be as small as 0.001.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.course.exercises.trees import random_law


def tilted_policy(logps: Array, rewards: Array, alpha: float) -> Array:
    """log pi*(y | x) [N, n], nats: tilt, then normalise each prompt's row.

    >>> logps = tilted_policy(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]]), alpha=1 / np.log(3))
    >>> np.exp(logps).round(12)
    array([[0.25, 0.75]])
    """
    tilted = logps + rewards / alpha
    return tilted - np.logaddexp.reduce(tilted, axis=1, keepdims=True)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def forgets_reference(logps: Array, rewards: Array, alpha: float) -> Array:
    """softmax(R/alpha) is returned, without pi_ref: the reference is what gets tilted."""
    return tilted_policy(np.zeros_like(logps), rewards, alpha)


def forgets_rewards(logps: Array, rewards: Array, alpha: float) -> Array:
    """the reference is returned as it is."""
    return tilted_policy(logps, np.zeros_like(rewards), alpha)


def times_alpha(logps: Array, rewards: Array, alpha: float) -> Array:
    """alpha * R stands for R/alpha: a small alpha is to tilt more, not less."""
    return tilted_policy(logps, rewards, 1 / alpha)


def without_alpha(logps: Array, rewards: Array, alpha: float) -> Array:
    """R stands for R/alpha."""
    return tilted_policy(logps, rewards, 1.0)


def lowers_rewards(logps: Array, rewards: Array, alpha: float) -> Array:
    """R/alpha is subtracted: reward is to make an answer more likely."""
    return tilted_policy(logps, -rewards, alpha)


def across_prompts(logps: Array, rewards: Array, alpha: float) -> Array:
    """all prompts are normalised together: every prompt has a Z of its own, so each row sums to
    1.
    """
    tilted = logps + rewards / alpha
    return tilted - np.logaddexp.reduce(tilted, axis=None)


def over_prompts(logps: Array, rewards: Array, alpha: float) -> Array:
    """the sum runs over the prompts (axis 0): a row is a prompt, so its answers lie along axis
    1.
    """
    tilted = logps + rewards / alpha
    return tilted - np.logaddexp.reduce(tilted, axis=0, keepdims=True)


def unnormalised(logps: Array, rewards: Array, alpha: float) -> Array:
    """log Z is not subtracted: the probabilities do not sum to 1."""
    return logps + rewards / alpha


def probabilities(logps: Array, rewards: Array, alpha: float) -> Array:
    """probabilities are returned: the answer is their logarithm."""
    return np.exp(tilted_policy(logps, rewards, alpha))


def overflows(logps: Array, rewards: Array, alpha: float) -> Array:
    """e^{R/alpha} overflows: stay with logarithms, and take the largest exponent out of the sum."""
    tilted = np.exp(logps) * np.exp(rewards / alpha)
    return np.log(tilted / tilted.sum(axis=1, keepdims=True))


def underflows(logps: Array, rewards: Array, alpha: float) -> Array:
    """the logarithm of a probability that underflowed to 0 is taken: stay with logarithms to the
    end.
    """
    return np.log(np.exp(tilted_policy(logps, rewards, alpha)))


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Two prompts by hand, what shifts and orders do to them, random prompts, then the limits."""
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    rewards = np.array([[0.0, 1.0, 0.5], [1.0, 0.0, 0.25]])
    tilted = p * np.exp(2 * rewards)
    worked = np.log(tilted / tilted.sum(axis=1, keepdims=True))
    logps = np.log(p)
    where = "two prompts, reference 0.5 0.3 0.2 and 0.1 0.2 0.7, rewards 0 1 0.5 and 1 0 0.25"
    yield Case(f"{where}, alpha 0.5", (logps, rewards, 0.5), worked)
    raised = rewards + np.array([[3.0], [-2.0]])
    what = "the first prompt's rewards raised by 3, the second's lowered by 2"
    yield Case(f"the same, {what}", (logps, raised, 0.5), worked)
    yield Case(
        "the same, answers in reverse", (logps[:, ::-1], rewards[:, ::-1], 0.5), worked[:, ::-1]
    )
    yield Case("the second prompt alone", (logps[1:], rewards[1:], 0.5), worked[1:])
    yield Case("all rewards equal: nothing to prefer", (logps, np.ones((2, 3)), 0.5), logps)
    for trial in range(3):
        shape = int(rng.integers(1, 4)), int(rng.integers(2, 6))
        alpha = round(float(rng.uniform(0.2, 2)), 3)
        drawn = random_law(rng, *shape), rng.uniform(-1, 1, size=shape), alpha
        yield Case(
            f"random case {trial + 1}: shape {shape}, alpha {alpha}", drawn, tilted_policy(*drawn)
        )
    yield Case(f"{where}, alpha 1e12: the reference", (logps, rewards, 1e12), logps)
    best = np.array([[0.3], [0.1]])  # of reward 1; the other answers are at least 500 nats behind
    greedy = np.log(p / best) + 1000 * (rewards - 1)
    yield Case(f"{where}, alpha 0.001: nearly greedy", (logps, rewards, 0.001), greedy)
    impossible = np.log([[0.4, 0.6, 1.0]]) + np.array([[0.0, 0.0, -np.inf]])
    answer = np.array([[0.4, 0.6 * np.e]]) / (0.4 + 0.6 * np.e)
    expected = np.append(np.log(answer), [[-np.inf]], axis=1)
    where = "reference 0.4 0.6 0, rewards 0 1 5, alpha 1: an impossible answer stays impossible"
    yield Case(where, (impossible, np.array([[0.0, 1.0, 5.0]]), 1.0), expected)


EXERCISE = Exercise(
    name="tilted_policy",
    compares="log pi*(y | x) of every answer to every prompt, in nats",
    statement=__doc__,
    reference=tilted_policy,
    gives="log pi*(y | x) [N, n], nats.",
    wrong_answers={
        "forgets pi_ref": forgets_reference,
        "forgets the rewards": forgets_rewards,
        "alpha R for R/alpha": times_alpha,
        "R without 1/alpha": without_alpha,
        "sign of R": lowers_rewards,
        "normalises across prompts": across_prompts,
        "normalises along the wrong axis": over_prompts,
        "unnormalised": unnormalised,
        "probabilities for log-probabilities": probabilities,
        "overflow at alpha = 1e-3": overflows,
        "log of an underflowed probability": underflows,
    },
    hints=(
        "What does multiplying by e^{R/alpha} do to a log-probability?",
        "Adding R/alpha spoils the sum. Each prompt has its own Z: which axis of [N, n] does its "
        "sum run over?",
        "Call that sum `tilted`; subtract `np.logaddexp.reduce(tilted, axis=1, keepdims=True)` "
        "from it, row by row.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("prompt", 0), ("answer", 0)),
    praise="each prompt's row sums to 1, whatever alpha",
)
