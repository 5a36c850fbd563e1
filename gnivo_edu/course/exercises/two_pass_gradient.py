"""Exercise 37: the gradient of a group that does not fit.

GN-IVO compares the K answers of a group. At one depth, with rho_i the log-ratio of answer i and w_i
= e^{R_i/alpha},

    L = - sum_i w_i ( rho_i - log sum_j e^{rho_j} ),        dL/drho_i = - ( w_i - W q_i ),

where W is the sum of all w, and q_i = e^{rho_i} / sum_j e^{rho_j}. By the chain rule

    dL/dtheta = sum_i (dL/drho_i) drho_i/dtheta.

Each q_i needs every rho of the group. But the network can only be asked about one micro-batch at a
time.

Write `two_pass_gradient(score, pull, rewards, alpha, parts) -> float64 [P]`, the gradient dL/dtheta
of the whole group.

- `score(rows)` -> float64 [len(rows)]: the rho of some answers, without gradient;
- `pull(rows, c)` -> float64 [P]: sum over these rows of c_i drho_i/dtheta, what `backward` gives
  for the loss c rho;
- `rewards`, float64 [K]: R_i; `alpha`, float > 0: reward per nat;
- `parts`, a list of int arrays: the micro-batches. Together they hold each of 0..K-1 once, in any
  order.

Both functions refuse more rows than the largest micro-batch has: out of memory. A rho may be as
large as 1000."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, array, by_entry, finite_differences
from gnivo_edu.course.exercises.base import Case, Exercise

Ints = NDArray[np.int64]
Score = Callable[[Ints], Array]
Pull = Callable[[Ints, Array], Array]
Parts = Sequence[Ints]


def two_pass_gradient(
    score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts
) -> Array:
    """dL/dtheta of the whole group: one pass for what each answer is multiplied with, one to push
    it through.

    >>> X = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> score, pull = lambda rows: 0 * X[rows, 0], lambda rows, c: c @ X[rows]
    >>> parts = [np.array([0]), np.array([1])]
    >>> two_pass_gradient(score, pull, np.array([1.0, 0.0]), 1.0, parts).round(4)
    array([-0.8591,  1.7183])
    """
    rho = np.empty(len(rewards))
    for rows in parts:
        rho[rows] = score(rows)
    w = np.exp(rewards / alpha)
    c = w.sum() * np.exp(rho - np.logaddexp.reduce(rho)) - w
    return np.sum([pull(rows, c[rows]) for rows in parts], axis=0)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def first_pass(score: Score, rewards: Array, alpha: float, parts: Parts) -> tuple[Array, Array]:
    """w and q of the whole group: what the mistakes combine wrongly."""
    rho = np.empty(len(rewards))
    for rows in parts:
        rho[rows] = score(rows)
    return np.exp(rewards / alpha), np.exp(rho - np.logaddexp.reduce(rho))


def second_pass(pull: Pull, c: Array, parts: Parts) -> Array:
    """The sum over micro-batches of what they give for their coefficients."""
    return np.asarray(np.sum([pull(rows, c[rows]) for rows in parts], axis=0))


def local_softmax(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """each micro-batch is taken for a group of its own: softmax and W are over the whole group."""
    own = [
        two_pass_gradient(*_cut(score, pull, rewards, rows), alpha, _one(rows)) for rows in parts
    ]
    return np.asarray(np.sum(own, axis=0))


def mean_of_local(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """each micro-batch is taken for a group of its own, and the gradients are averaged: a mean of
    means.
    """
    return local_softmax(score, pull, rewards, alpha, parts) / len(parts)


def mean_over_parts(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """the sum over micro-batches is divided by their number: then the gradient depends on the
    cut.
    """
    return two_pass_gradient(score, pull, rewards, alpha, parts) / len(parts)


def over_size(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """the gradient is divided by the size of the group: L is a sum."""
    return two_pass_gradient(score, pull, rewards, alpha, parts) / len(rewards)


def local_total(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """W is the sum of the w in the micro-batch: it is that of the whole group, as the softmax
    is.
    """
    w, q = first_pass(score, rewards, alpha, parts)
    return np.asarray(
        np.sum([pull(rows, w[rows].sum() * q[rows] - w[rows]) for rows in parts], axis=0)
    )


def without_total(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """W is left out: raw weights do not sum to one, so q_i has to be multiplied by what they sum
    to.
    """
    w, q = first_pass(score, rewards, alpha, parts)
    return second_pass(pull, q - w, parts)


def softmax_weights(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """the weights are divided by their sum: those are softmax weights, and L here has raw ones."""
    w, q = first_pass(score, rewards, alpha, parts)
    return second_pass(pull, q - w / w.sum(), parts)


def sign(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """the push w_i - W q_i is handed to `pull`: the slope of L is minus the push."""
    return -two_pass_gradient(score, pull, rewards, alpha, parts)


def first_rows(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """the rows of a micro-batch get the coefficients of other rows: row i of the group needs c[i],
    wherever it is.
    """
    w, q = first_pass(score, rewards, alpha, parts)
    c, total, start = w.sum() * q - w, 0.0 * pull(parts[0], np.zeros(len(parts[0]))), 0
    for rows in parts:
        total = total + pull(rows, c[start : start + len(rows)])
        start += len(rows)
    return total


def last_part(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """only the last micro-batch is left: gradients are added up, not replaced."""
    w, q = first_pass(score, rewards, alpha, parts)
    return pull(parts[-1], (w.sum() * q - w)[parts[-1]])


def at_once(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """all rows are asked for at once: they do not fit."""
    return two_pass_gradient(score, pull, rewards, alpha, [np.arange(len(rewards))])


def overflow(score: Score, pull: Pull, rewards: Array, alpha: float, parts: Parts) -> Array:
    """e^rho overflows: subtract the log of the sum inside the exponential."""
    rho = np.empty(len(rewards))
    for rows in parts:
        rho[rows] = score(rows)
    w, q = np.exp(rewards / alpha), np.exp(rho) / np.exp(rho).sum()
    return second_pass(pull, w.sum() * q - w, parts)


def _cut(score: Score, pull: Pull, rewards: Array, rows: Ints) -> tuple[Score, Pull, Array]:
    """A micro-batch as a problem of its own, its rows numbered from 0."""
    return lambda own: score(rows[own]), lambda own, c: pull(rows[own], c), rewards[rows]


def _one(rows: Ints) -> Parts:
    return [np.arange(len(rows))]


# --- the check ------------------------------------------------------------------------------------


def network(features: Array, theta: Array, most: int) -> tuple[Score, Pull]:
    """rho_i = features_i theta, and its gradient: more than `most` rows at once are refused."""

    def fits(rows: Ints) -> Ints:
        own = np.asarray(rows)
        if own.size > most:
            raise MemoryError(f"out of memory: asked about {own.size} rows at once, {most} fit")
        return own

    def score(rows: Ints) -> Array:
        return np.asarray(features[fits(rows)] @ theta)

    def pull(rows: Ints, c: Array) -> Array:
        return np.asarray(np.asarray(c, dtype=np.float64) @ features[fits(rows)])

    return score, pull


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Three answers by hand, cut in three ways; random groups by finite differences; then large
    log-ratios.
    """
    one_each, rewards = np.eye(3), np.log([1.0, 2.0, 3.0])
    score, pull = network(one_each, np.log([2.0, 1.0, 1.0]), most=2)
    # q = 1/2, 1/4, 1/4 and W = 6, so W q - w = 3 - 1, 1.5 - 2, 1.5 - 3.
    worked = np.array([2.0, -0.5, -1.5])
    group = "e^rho = 2, 1, 1 and w = 1, 2, 3"
    for cut in ([[0, 1], [2]], [[2, 1], [0]], [[1], [2], [0]]):
        parts = [np.array(rows) for rows in cut]
        yield Case(f"{group}, micro-batches {cut}", (score, pull, rewards, 1.0, parts), worked)
    for trial in range(3):
        K, P = int(rng.integers(5, 9)), int(rng.integers(2, 4))
        X, theta, R = rng.normal(size=(K, P)), rng.normal(size=P), rng.uniform(size=K)
        alpha, most = round(float(rng.uniform(0.3, 1.5)), 3), int(rng.integers(2, 4))
        parts = np.split(rng.permutation(K), range(most, K, most))
        where = (
            f"random group {trial + 1}: K = {K}, {len(parts)} micro-batches, alpha {alpha}; by "
            "finite differences"
        )
        loss_of = functools.partial(loss, features=X, rewards=R, alpha=alpha)
        slopes = finite_differences(loss_of, theta, h=1e-4)
        yield Case(where, (*network(X, theta, most), R, alpha, parts), slopes)
    large = network(one_each, np.array([1000.0, 1000.0, 0.0]), most=2)
    where = "rho = 1000, 1000, 0 and w = 1, 2, 3"
    yield Case(
        where, (*large, rewards, 1.0, [np.array([0, 2]), np.array([1])]), np.array([2.0, 1.0, -3.0])
    )


def loss(theta: Array, features: Array, rewards: Array, alpha: float) -> float:
    """L of the whole group at once."""
    rho = features @ theta
    return float(-np.exp(rewards / alpha) @ (rho - np.logaddexp.reduce(rho)))


EXERCISE = Exercise(
    name="two_pass_gradient",
    compares="the gradient of the whole group's loss",
    statement=__doc__,
    reference=two_pass_gradient,
    gives=(
        "dL/dtheta of the whole group: one pass for what each answer is multiplied with, one to "
        "push it through."
    ),
    wrong_answers={
        "softmax per micro-batch": local_softmax,
        "mean of means": mean_of_local,
        "mean over micro-batches": mean_over_parts,
        "divided by K": over_size,
        "W of the micro-batch": local_total,
        "W left out": without_total,
        "softmax weights": softmax_weights,
        "sign": sign,
        "coefficients of other rows": first_rows,
        "last micro-batch only": last_part,
        "all at once": at_once,
        "overflow": overflow,
    },
    hints=(
        "Go through the parts twice: first collect every rho, then hand out what each row is "
        "multiplied with.",
        "First pass: put score(rows) where rho[rows] is. Then c = W q - w; np.logaddexp.reduce "
        "helps with q.",
        "Second pass: add up pull(rows, c[rows]) over the parts, and divide by nothing.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("parameter", 0), tolerance=1e-7),
    praise="however the group is cut, the gradient is that of the whole group",
)
