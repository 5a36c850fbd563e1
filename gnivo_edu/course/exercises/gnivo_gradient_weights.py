"""Exercise 14: what GN-IVO pushes on.

Differentiate the loss of GN-IVO (exercise 13) and see who is pushed up and who is pushed down,

    - dL / d rho_i^t = w_i - W q_i^t,        w_i = e^{R_i/alpha},   W = sum_j w_j

with q^t the softmax of rho^t over i. At each t these weights add up to 0 over the group: what one
prefix gains, the others lose.

Write `gnivo_gradient_weights(prefix_logratio, rewards, alpha) -> float64 [K, T]`.

- `prefix_logratio`, float64 [K, T]: column t - 1 is rho^t, in nats; some may be as large as 1000;
- `rewards`, float64 [K]: R_i, in units of reward;
- `alpha`, float > 0: the temperature, reward per nat.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry, finite_differences
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.course.exercises.gnivo_loss import gnivo_loss


def gnivo_gradient_weights(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """w_i - W q_i^t = - dL/d rho_i^t, [K, T].

    >>> gnivo_gradient_weights(np.zeros((2, 1)), np.array([np.log(3), 0.0]), alpha=1.0).round(12)
    array([[ 1.],
           [-1.]])
    """
    weights = np.exp(rewards / alpha)[:, None]
    q = np.exp(prefix_logratio - np.logaddexp.reduce(prefix_logratio, axis=0))
    return weights - weights.sum() * q


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def parts(prefix_logratio: Array, rewards: Array, alpha: float) -> tuple[Array, Array]:
    """w [K, 1] and q [K, T]: what the mistakes combine wrongly."""
    q = np.exp(prefix_logratio - np.logaddexp.reduce(prefix_logratio, axis=0))
    return np.exp(rewards / alpha)[:, None], q


def drops_total(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """q is not multiplied by W = sum_j w_j: then the weights do not add up to 0."""
    w, q = parts(prefix_logratio, rewards, alpha)
    return w - q


def always_uniform(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """q is 1/K always: that holds at the beginning only, where the policy is the reference."""
    w, q = parts(np.zeros_like(prefix_logratio), rewards, alpha)
    return w - w.sum() * q


def sign(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """W q_i - w_i is returned, the slope of the loss: the weights push against it."""
    return -gnivo_gradient_weights(prefix_logratio, rewards, alpha)


def without_q(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """the sum inside the logarithm is held constant, as if q were 0: it depends on rho as well."""
    w, q = parts(prefix_logratio, rewards, alpha)
    return w + 0 * q


def softmax_weights(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """the weights are divided by W, softmax(R/alpha) - q: this loss has raw weights."""
    w, q = parts(prefix_logratio, rewards, alpha)
    return w / w.sum() - q


def own_weight(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """q_i is multiplied by w_i: response i stands in everybody's logarithm, so it takes the sum W
    of all weights.
    """
    w, q = parts(prefix_logratio, rewards, alpha)
    return w - w * q


def over_depths(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """the softmax runs over the depths (axis 1): it compares the K responses of one t, which lie
    along axis 0.
    """
    q = np.exp(prefix_logratio - np.logaddexp.reduce(prefix_logratio, axis=1, keepdims=True))
    w = np.exp(rewards / alpha)[:, None]
    return w - w.sum() * q


def last_q(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """q of complete responses is used at every t: each depth has its own."""
    found = gnivo_gradient_weights(prefix_logratio, rewards, alpha)
    return np.broadcast_to(found[:, -1:], found.shape)


def without_alpha(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """w is e^R: divide the reward by alpha first."""
    return gnivo_gradient_weights(prefix_logratio, rewards, 1.0)


def mean_over_group(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """everything is divided by K: the loss is a sum over the group."""
    return gnivo_gradient_weights(prefix_logratio, rewards, alpha) / len(rewards)


def overflows(prefix_logratio: Array, rewards: Array, alpha: float) -> Array:
    """e^rho overflows: take the largest rho of each t out before exp."""
    w, q = np.exp(rewards / alpha)[:, None], np.exp(prefix_logratio)
    return w - w.sum() * q / q.sum(axis=0)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Three responses by hand, what shifts and orders do to them, slopes of the loss, then the
    limits.
    """
    rho, rewards = np.log([[2.0, 1.0], [1.0, 4.0], [1.0, 5.0]]), 0.5 * np.log([6.0, 1.0, 3.0])
    worked = np.array([[1.0, 5.0], [-1.5, -3.0], [0.5, -2.0]])
    where = "three responses, w = 6, 1, 3, q^1 = 0.5, 0.25, 0.25, q^2 = 0.1, 0.4, 0.5, alpha 0.5"
    yield Case(where, (rho, rewards, 0.5), worked)
    shifted = rho + np.array([3.0, -1.0])
    what = "rho^1 raised by 3, rho^2 lowered by 1: a shift per depth cancels"
    yield Case(f"the same, {what}", (shifted, rewards, 0.5), worked)
    yield Case(
        "the same in another order", (rho[[2, 0, 1]], rewards[[2, 0, 1]], 0.5), worked[[2, 0, 1]]
    )
    for trial in range(3):
        shape = int(rng.integers(2, 6)), int(rng.integers(1, 5))
        alpha = round(float(rng.uniform(0.4, 2)), 3)
        drawn, paid = rng.normal(size=shape), rng.uniform(size=shape[0])
        where = (
            f"random group {trial + 1}: shape {shape}, alpha {alpha}; minus the loss's slopes by "
            "finite differences"
        )
        loss = functools.partial(gnivo_loss, rewards=paid, alpha=alpha)
        yield Case(where, (drawn, paid, alpha), -finite_differences(loss, drawn, h=2e-3))
    start = np.array([[2.0], [-1.0], [-1.0]]) + np.zeros((3, 2))
    where = "the policy is the reference, w = 4, 1, 1: q is 1/3"
    yield Case(where, (np.zeros((3, 2)), np.log([4.0, 1.0, 1.0]), 1.0), start)
    fitted = np.log([[4.0, 4.0], [1.0, 1.0], [1.0, 1.0]])
    yield Case(
        "rho = R/alpha: nothing left to push",
        (fitted, np.log([4.0, 1.0, 1.0]), 1.0),
        np.zeros((3, 2)),
    )
    where = "rho of 1000, 0 and -1000, rewards 0: q is 1, 0, 0"
    yield Case(
        where,
        (np.array([[1000.0], [0.0], [-1000.0]]), np.zeros(3), 0.5),
        np.array([[-2.0], [1.0], [1.0]]),
    )


EXERCISE = Exercise(
    name="gnivo_gradient_weights",
    compares="w_i - W q_i of every prefix of one group",
    statement=__doc__,
    reference=gnivo_gradient_weights,
    gives="w_i - W q_i^t = - dL/d rho_i^t, [K, T].",
    wrong_answers={
        "drops W": drops_total,
        "q = 1/K always": always_uniform,
        "sign": sign,
        "q constant 0": without_q,
        "softmax weights": softmax_weights,
        "w_i for W": own_weight,
        "softmax over T": over_depths,
        "last depth's q": last_q,
        "R without 1/alpha": without_alpha,
        "mean for sum": mean_over_group,
        "overflow at large rho": overflows,
    },
    hints=(
        "rho_i appears twice in L: in front, with weight w_i, and inside the logarithm, which "
        "every response has.",
        "d/d rho_i of log sum_j e^{rho_j} is q_i, the softmax over the group (axis 0). How often "
        "is it subtracted?",
        "The logarithm is subtracted w_j times for each j, W in all: w_i - W q_i. Each column "
        "must add up to 0.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("response", 0), ("t", 1), tolerance=1e-8),
    praise="it is minus the slope of the loss, and at each t the pushes add up to 0",
)
