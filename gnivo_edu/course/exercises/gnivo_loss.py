"""Exercise 13: the loss of GN-IVO.

K responses to one prompt, drawn from the reference. At each t, the group's softmax of rho is fitted
to its rewards,

    L = - sum_{t=1}^{T} sum_{i=0}^{K-1} w_i ( rho_i^t - log sum_{j=0}^{K-1} e^{rho_j^t} )

with w_i = e^{R_i/alpha}. Everything is summed, nothing averaged. The weights are raw, not
normalised: normalised ones move the minimum at t < T.

Write `gnivo_loss(prefix_logratio, rewards, alpha) -> float`.

- `prefix_logratio`, float64 [K, T]: column t - 1 is rho^t = log pi_theta(s_t) - log pi_ref(s_t), in
  nats. Some may be as large as 1000;
- `rewards`, float64 [K]: R_i, in units of reward;
- `alpha`, float > 0: the temperature, reward per nat.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, same_number
from gnivo_edu.course.exercises.base import Case, Exercise, number


def gnivo_loss(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """- sum_t sum_i e^{R_i/alpha} log softmax_i(rho^t).

    >>> round(gnivo_loss(np.zeros((2, 1)), np.array([1.0, 0.0]), alpha=1.0), 4)  # (e + 1) log 2
    2.5773
    """
    weights = np.exp(rewards / alpha)
    log_q = prefix_logratio - np.logaddexp.reduce(prefix_logratio, axis=0)
    return -float((weights @ log_q).sum())


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def softmax_weights(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """the weights are softmax(R/alpha) within the group: that moves the minimum at every t < T, so
    keep e^{R/alpha}.
    """
    return gnivo_loss(prefix_logratio, rewards, alpha) / float(np.exp(rewards / alpha).sum())


def group_maximum(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """the group's largest reward is subtracted in the weights: it differs from group to group and
    moves the minimum.
    """
    return gnivo_loss(prefix_logratio, rewards - rewards.max(), alpha)


def over_depths(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """the softmax runs over the depths (axis 1): it compares the K responses of one t, which lie
    along axis 0.
    """
    log_q = prefix_logratio - np.logaddexp.reduce(prefix_logratio, axis=1, keepdims=True)
    return -float((np.exp(rewards / alpha) @ log_q).sum())


def from_one(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """the sum inside the logarithm starts at j = 1: all K responses belong in it, number 0 and i
    itself too.
    """
    log_q = prefix_logratio - np.logaddexp.reduce(prefix_logratio[1:], axis=0)
    return -float((np.exp(rewards / alpha) @ log_q).sum())


def without_itself(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """response i is left out of the sum inside its own logarithm: all K responses belong in it."""
    others = [
        np.logaddexp.reduce(np.delete(prefix_logratio, i, axis=0), axis=0)
        for i in range(len(rewards))
    ]
    return -float((np.exp(rewards / alpha) @ (prefix_logratio - np.stack(others))).sum())


def mean_over_depths(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """the depths are averaged: sum over t."""
    return gnivo_loss(prefix_logratio, rewards, alpha) / prefix_logratio.shape[1]


def mean_over_group(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """the responses are averaged: sum over i."""
    return gnivo_loss(prefix_logratio, rewards, alpha) / len(rewards)


def mean_over_both(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """depths and responses are averaged: sum over t and over i."""
    return gnivo_loss(prefix_logratio, rewards, alpha) / prefix_logratio.size


def last_depth(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """only complete responses, t = T, are compared: every prefix counts."""
    return gnivo_loss(prefix_logratio[:, -1:], rewards, alpha)


def sign(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """the minus in front is missing: a loss is to be made small."""
    return -gnivo_loss(prefix_logratio, rewards, alpha)


def without_denominator(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """the logarithm of the sum is not subtracted: without it every rho would grow for ever."""
    return -float((np.exp(rewards / alpha) @ prefix_logratio).sum())


def without_alpha(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """the weights are e^R: divide the reward by alpha first."""
    return gnivo_loss(prefix_logratio, rewards, 1.0)


def exponent_for_weight(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """the weights are R/alpha, not e^{R/alpha}."""
    log_q = prefix_logratio - np.logaddexp.reduce(prefix_logratio, axis=0)
    return -float((rewards / alpha @ log_q).sum())


def not_logged(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """the softmax is weighted instead of its logarithm."""
    q = np.exp(prefix_logratio - np.logaddexp.reduce(prefix_logratio, axis=0))
    return -float((np.exp(rewards / alpha) @ q).sum())


def overflows(prefix_logratio: Array, rewards: Array, alpha: float) -> float:
    """e^rho overflows or underflows: take the largest rho of each t out of the sum, or use
    np.logaddexp.reduce.
    """
    log_q = prefix_logratio - np.log(np.exp(prefix_logratio).sum(axis=0))
    return -float((np.exp(rewards / alpha) @ log_q).sum())


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Three responses by hand, what shifts and orders do to them, random groups, then the
    limits.
    """
    rho, rewards = np.array([[0.5, 1.0], [-0.5, 0.25], [0.0, -1.0]]), np.array([1.0, 0.0, 0.5])
    first = math.log(math.exp(0.5) + math.exp(-0.5) + 1)
    last = math.log(math.e + math.exp(0.25) + math.exp(-1))
    e = math.exp(2)
    worked = -(e * (1.5 - first - last) + (-0.25 - first - last) + math.e * (-1.0 - first - last))
    where = "three responses, rho (0.5, 1), (-0.5, 0.25), (0, -1), rewards 1, 0, 0.5, alpha 0.5"
    yield Case(where, (rho, rewards, 0.5), worked)
    shifted = rho + np.array([3.0, -1.0])
    what = "rho^1 raised by 3, rho^2 lowered by 1: a shift per depth cancels"
    yield Case(f"the same, {what}", (shifted, rewards, 0.5), worked)
    yield Case("the same in another order", (rho[[2, 0, 1]], rewards[[2, 0, 1]], 0.5), worked)
    where = "the same, every reward raised by 0.5: the loss is e times as large"
    yield Case(where, (rho, rewards + 0.5, 0.5), math.e * worked)
    yield Case(
        "one depth only", (rho[:, :1], rewards, 0.5), -(e * 0.5 - 0.5 - (e + 1 + math.e) * first)
    )
    for trial in range(3):
        shape = int(rng.integers(2, 6)), int(rng.integers(1, 5))
        alpha = round(float(rng.uniform(0.2, 2)), 3)
        drawn, paid = rng.normal(scale=2, size=shape), rng.uniform(size=shape[0])
        expected = gnivo_loss(drawn, paid, alpha)
        yield Case(
            f"random group {trial + 1}: shape {shape}, alpha {alpha}",
            (drawn, paid, alpha),
            expected,
        )
    zeros, rounds = np.zeros((4, 3)), 3 * math.log(4)
    yield Case(
        "the policy is the reference, K = 4, T = 3, rewards 0",
        (zeros, np.zeros(4), 0.5),
        4 * rounds,
    )
    yield Case(
        "rho of 1000, 0 and -1000",
        (np.array([[1000.0], [0.0], [-1000.0]]), np.zeros(3), 0.5),
        3000.0,
    )


EXERCISE = Exercise(
    name="gnivo_loss",
    compares="the loss of one group",
    statement=__doc__,
    reference=gnivo_loss,
    gives="- sum_t sum_i e^{R_i/alpha} log softmax_i(rho^t).",
    wrong_answers={
        "softmax weights at t < T": softmax_weights,
        "group maximum subtracted": group_maximum,
        "softmax over T": over_depths,
        "j from 1": from_one,
        "i left out of its own sum": without_itself,
        "mean for sum": mean_over_depths,
        "mean for sum, over the group": mean_over_group,
        "mean for sum, over both": mean_over_both,
        "last depth only": last_depth,
        "sign": sign,
        "no denominator": without_denominator,
        "R without 1/alpha": without_alpha,
        "R/alpha for e^{R/alpha}": exponent_for_weight,
        "no logarithm": not_logged,
        "overflow at large rho": overflows,
    },
    hints=(
        "The bracket is a log-softmax. Over which axis of [K, T] does its sum over j run?",
        "`prefix_logratio - np.logaddexp.reduce(prefix_logratio, axis=0)` is log q. What is each "
        "row multiplied by?",
        "Multiply row i by e^{R_i/alpha}, sum over i and t, and put a minus in front. Nothing is "
        "divided by K or T.",
    ),
    cases=cases,
    parse=number,
    difference=same_number,
    praise=(
        "the group is compared at every depth, with raw weights, and a shift per depth changes "
        "nothing"
    ),
)
