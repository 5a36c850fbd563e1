"""Exercise 22: the residual of VIMPO, and what it pushes on.

VIMPO reads a value out of the policy itself and asks that over a response it add up to the reward,
as far as that differs from the group's. With x_t = log pi_theta/pi_ref of token t and kappa_t the
KL(pi_theta || pi_ref) of the whole next-token law before it,

    e_i = sum_t ( alpha x_t - alpha kappa_t ) - (R_i - mean R),        L = 1/K sum_i e_i^2 / 2

kappa is computed and then held constant: no gradient flows through it. So each token's slope is

    dL / d log pi_theta(a_t | s_t) = alpha e_i / K

at the tokens of response i, and 0 at padding.

Write `vimpo_residual(policy_logps, reference_logps, policy_kl, mask, rewards, alpha) -> (residuals,
slopes)`: e_i, float64 [K], and the slopes, float64 [K, T].

- `policy_logps`, `reference_logps`, float64 [K, T]: log-probability of each token, under pi_theta
  and under pi_ref;
- `policy_kl`, float64 [K, T]: kappa_t, exact, summed over the vocabulary, nats;
- `mask`, bool [K, T]: True for the tokens of a response, its end token included, then False for the
  padding. What stands there means nothing, and may be any number or nan;
- `rewards`, float64 [K], K >= 2; `alpha`, float > 0: R_i, and the temperature, reward per nat.

Source: arXiv 2606.20008, where alpha is called beta.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import (
    Array,
    array,
    by_entry,
    by_part,
    finite_differences,
    tuple_of,
)
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.course.exercises.trees import random_law

Mask = NDArray[np.bool_]
Pair = tuple[Array, Array]


def vimpo_residual(
    policy_logps: Array,
    reference_logps: Array,
    policy_kl: Array,
    mask: Mask,
    rewards: Array,
    alpha: float,
) -> Pair:
    """Residuals [K], reward, and the slopes [K, T] of L in the log-probabilities, kappa constant.

    >>> half, kl, mask = np.log([[0.5], [0.5]]), np.zeros((2, 1)), np.ones((2, 1), dtype=bool)
    >>> vimpo_residual(half, half, kl, mask, np.array([1.0, 0.0]), alpha=1.0)
    (array([-0.5,  0.5]), array([[-0.25], [ 0.25]]))
    """
    delta = np.where(mask, policy_logps - reference_logps - policy_kl, 0.0)
    residuals = alpha * delta.sum(axis=1) - (rewards - rewards.mean())
    slopes = np.where(mask, alpha * residuals[:, None] / len(rewards), 0.0)
    return residuals, slopes


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def kappa_k1(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """kappa is estimated by x_t of the sampled token (k1): x_t - kappa_t is then identically 0, so
    take `policy_kl`.
    """
    return vimpo_residual(policy, reference, policy - reference, mask, rewards, alpha)


def not_detached(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """kappa is not detached: its own slope, pi (x_t + 1) at the sampled token, is subtracted, but
    kappa is constant.
    """
    residuals, slopes = vimpo_residual(policy, reference, kl, mask, rewards, alpha)
    return residuals, np.where(mask, slopes * (1 - np.exp(policy) * (policy - reference + 1)), 0.0)


def plus_kappa(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """kappa is added: it is the mean of x_t under the policy, so subtract it and what is left has
    mean 0.
    """
    return vimpo_residual(policy, reference, -kl, mask, rewards, alpha)


def without_kappa(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """kappa is left out: subtract it at every token."""
    return vimpo_residual(policy, reference, np.zeros_like(kl), mask, rewards, alpha)


def kappa_in_nats(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """kappa is not multiplied by alpha: it is in nats, and x_t and kappa_t take the same factor."""
    return vimpo_residual(policy, reference, kl / alpha, mask, rewards, alpha)


def no_baseline(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """the group's mean is not subtracted from R_i: x_t - kappa_t has mean 0 under the policy, so
    must the reward.
    """
    residuals = vimpo_residual(policy, reference, kl, mask, rewards, alpha)[0] - rewards.mean()
    return residuals, np.where(mask, alpha * residuals[:, None] / len(rewards), 0.0)


def leave_one_out(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """the mean leaves R_i out: here it is over all K responses."""
    size = len(rewards)
    return vimpo_residual(policy, reference, kl, mask, rewards * size / (size - 1), alpha)


def sign(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """the reward comes first, R - mean R minus the sum: e is the sum minus the reward."""
    residuals, slopes = vimpo_residual(policy, reference, kl, mask, rewards, alpha)
    return -residuals, -slopes


def slope_of_residual(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """the slope is that of e_i: L holds its square, so e_i remains as a factor."""
    residuals, _ = vimpo_residual(policy, reference, kl, mask, rewards, alpha)
    return residuals, np.where(mask, alpha / len(rewards), 0.0)


def slope_of_sum(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """the slope is not divided by K: L is a mean over the group."""
    residuals, slopes = vimpo_residual(policy, reference, kl, mask, rewards, alpha)
    return residuals, slopes * len(rewards)


def slope_without_alpha(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """alpha is missing from the slope: x_t enters e_i multiplied by alpha."""
    residuals, slopes = vimpo_residual(policy, reference, kl, mask, rewards, alpha)
    return residuals, slopes / alpha


def slope_at_padding(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """padding has a slope: what stands there does not enter L, so its slope is 0."""
    residuals, _ = vimpo_residual(policy, reference, kl, mask, rewards, alpha)
    return residuals, np.repeat(alpha * residuals[:, None] / len(rewards), mask.shape[1], axis=1)


def no_mask(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """the mask is not used: what stands behind the end token is no choice."""
    return vimpo_residual(policy, reference, kl, np.ones_like(mask), rewards, alpha)


def masked_by_product(
    policy: Array, reference: Array, kl: Array, mask: Mask, rewards: Array, alpha: float
) -> Pair:
    """padding is multiplied by 0, and 0 * nan is nan: choose with np.where."""
    every = np.ones_like(mask)
    residuals, slopes = vimpo_residual(
        policy * mask, reference * mask, kl * mask, every, rewards, alpha
    )
    return residuals, slopes * mask


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Two responses by hand, the same with other padding, sampled groups with finite differences,
    then the limits.
    """
    ratios = np.array([[0.5, -0.25, 1.0], [-1.0, 0.75, 7.0]])
    kl = np.array([[0.25, 0.375, 0.125], [0.5, 0.25, 5.0]])
    reference = np.array([[-1.0, -0.5, -2.0], [-0.25, -1.5, 3.0]])
    policy, rewards = reference + ratios, np.array([0.0, 1.0])
    mask = np.array([[True, True, True], [True, True, False]])
    # alpha (x - kappa) adds up to 0.125 and -0.25, against -0.5 and 0.5
    worked = np.array([0.625, -0.75]), np.array([[0.078125] * 3, [-0.09375, -0.09375, 0.0]])
    where = "responses of 3 and 2 tokens, rewards 0 and 1, alpha 0.25"
    yield Case(where, (policy, reference, kl, mask, rewards, 0.25), worked)
    for pad in (0.0, np.nan):
        padded = [np.where(mask, entry, pad) for entry in (policy, reference, kl)]
        yield Case(f"the same; the padding is {pad:g}", (*padded, mask, rewards, 0.25), worked)
    yield Case(
        "the same, every reward raised by 3",
        (policy, reference, kl, mask, rewards + 3, 0.25),
        worked,
    )
    for trial in range(3):
        size = int(rng.integers(2, 5))
        width = int(rng.integers(2, 5))
        alpha = round(float(rng.uniform(0.2, 2)), 3)
        laws, tokens = random_law(rng, 2, size, width, 4), rng.integers(4, size=(1, size, width, 1))
        exact = (np.exp(laws[0]) * (laws[0] - laws[1])).sum(axis=-1)
        ours, theirs = np.take_along_axis(laws, np.repeat(tokens, 2, axis=0), axis=-1)[..., 0]
        lengths, paid = rng.integers(1, width + 1, size=size), rng.uniform(size=size)
        given = ours, theirs, exact, np.arange(width) < lengths[:, None], paid, alpha
        where = (
            f"random laws {trial + 1}: lengths {lengths}, alpha {alpha}; the slopes by finite "
            "differences"
        )
        residuals_of = functools.partial(
            term_by_term, reference=theirs, kl=exact, lengths=lengths, rewards=paid, alpha=alpha
        )
        slopes = finite_differences(functools.partial(loss, residuals_of), ours, h=0.5)
        yield Case(where, given, (residuals_of(ours), slopes))
    start = reference, reference, np.zeros((2, 3)), mask, rewards, 0.25
    where = "the policy is the reference: nothing explained yet"
    yield Case(where, start, (np.array([0.5, -0.5]), 0.0625 * mask * np.array([[1.0], [-1.0]])))
    paid = np.array([[0.0], [1.0], [0.25], [0.5]])
    flat, tilt = np.full((4, 1), -np.log(4)), -paid / 0.5 - np.log(np.exp(-paid / 0.5).sum())
    spent = np.full((4, 1), (flat - tilt).mean())
    where = "all four answers of one token, pi* uniform, the policy is pi*: nothing left to push"
    given = flat, tilt, spent, np.ones((4, 1), dtype=bool), paid[:, 0], 0.5
    yield Case(where, given, (np.zeros(4), np.zeros((4, 1))))


def term_by_term(
    policy: Array,
    reference: Array,
    kl: Array,
    lengths: NDArray[np.int64],
    rewards: Array,
    alpha: float,
) -> Array:
    """The residuals, one token after another."""
    sums = [sum((policy - reference - kl)[i, :n]) for i, n in enumerate(lengths)]
    return alpha * np.array(sums) - rewards + sum(rewards) / len(rewards)


def loss(residuals_of: Callable[[Array], Array], policy: Array) -> float:
    """L as it is written; a parabola."""
    return float(np.mean(residuals_of(policy) ** 2)) / 2


EXERCISE = Exercise(
    name="vimpo_residual",
    compares="the residual of every response, and the slope of the loss at every token",
    statement=__doc__,
    reference=vimpo_residual,
    gives="Residuals [K] and the slopes [K, T] of L in the log-probabilities, kappa constant.",
    wrong_answers={
        "kappa from k1": kappa_k1,
        "kappa not detached": not_detached,
        "+kappa": plus_kappa,
        "kappa left out": without_kappa,
        "kappa in nats": kappa_in_nats,
        "no baseline": no_baseline,
        "leave-one-out mean": leave_one_out,
        "sign": sign,
        "slope of e": slope_of_residual,
        "slope of the sum": slope_of_sum,
        "slope without alpha": slope_without_alpha,
        "slope at padding": slope_at_padding,
        "no mask": no_mask,
        "padding times 0": masked_by_product,
    },
    hints=(
        "First one array: log-ratio minus `policy_kl`, and 0 at padding. What does its sum along "
        "the tokens stand for?",
        "e is alpha times that sum, minus `rewards - rewards.mean()`. How does e_i change with "
        "one log-probability?",
        "kappa is constant: e_i has slope alpha at each token of response i, L alpha e_i / K "
        "there, 0 elsewhere.",
    ),
    cases=cases,
    parse=tuple_of("a pair (residuals, slopes) of arrays", array, array),
    difference=by_part(
        residuals=by_entry(("response", 0)), slopes=by_entry(("response", 0), ("token", 1))
    ),
    praise=(
        "the policy's own log-ratios, less their mean, stand against the centred reward, and "
        "kappa stays constant"
    ),
)
