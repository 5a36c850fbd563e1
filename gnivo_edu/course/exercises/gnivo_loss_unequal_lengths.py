"""Exercise 17: responses of unequal length.

Responses end when they please, and the group has to be compared all the same. What keeps the
optimum where it belongs: a finished response stays in the group as its whole self, and the depths
are summed up to the longest of the group,

    L = - sum_{t=1}^{max_i T_i} sum_i w_i ( rho_i^t - log sum_j e^{rho_j^t} )

with w_i = e^{R_i/alpha}, and rho_i^t = rho_i^{T_i} for t > T_i. Averages over t, or over each
response's own T_i, make length count: they move the optimum.

Write `gnivo_loss_unequal_lengths(policy_logps, reference_logps, lengths, rewards, alpha) -> float`.

- `policy_logps`, `reference_logps`, float64 [K, T]: log-probability of each token, under pi_theta
  and under pi_ref;
- `lengths`, int [K]: T_i, how many of the T entries belong to each response, its end token
  included. The rest is padding: what stands there means nothing, and may be any number or nan. T
  itself may exceed max_i T_i;
- `rewards`, float64 [K]; `alpha`, float > 0: R_i, and the temperature.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, same_number
from gnivo_edu.course.exercises.base import Case, Exercise, number

Lengths = NDArray[np.int64]


def gnivo_loss_unequal_lengths(
    policy_logps: Array, reference_logps: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """- sum_{t <= max T_i} sum_i e^{R_i/alpha} log softmax_i(rho^t), finished responses absorbing.

    >>> policy, reference = np.log([[0.5, 0.9], [0.5, 0.5]]), np.log([[0.5, 0.1], [0.5, 0.5]])
    >>> lengths, rewards = np.array([1, 2]), np.array([0.0, 0.0])
    >>> loss = gnivo_loss_unequal_lengths(policy, reference, lengths, rewards, alpha=1.0)
    >>> bool(np.isclose(loss, 4 * np.log(2)))
    True
    """
    longest = lengths.max()
    written = np.arange(longest) < lengths[:, None]
    token_logratio = np.where(written, (policy_logps - reference_logps)[:, :longest], 0.0)
    rho = np.cumsum(token_logratio, axis=1)
    log_q = rho - np.logaddexp.reduce(rho, axis=0)
    return -float((np.exp(rewards / alpha) @ log_q).sum())


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def terms(policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float) -> Array:
    """w_i times -log q_i^t, [K, T], absorbing: what the mistakes add up wrongly."""
    written = np.arange(policy.shape[1]) < lengths[:, None]
    rho = np.cumsum(np.where(written, policy - reference, 0.0), axis=1)
    return -np.exp(rewards / alpha)[:, None] * (rho - np.logaddexp.reduce(rho, axis=0))


def masks(policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float) -> float:
    """finished responses are masked out of the group: they stay in it, as what they are."""
    written = np.arange(policy.shape[1]) < lengths[:, None]
    rho = np.cumsum(np.where(written, policy - reference, 0.0), axis=1)
    present = np.where(written, rho, -np.inf)[:, : lengths.max()]
    log_q = present - np.logaddexp.reduce(present, axis=0)
    kept = np.where(written[:, : lengths.max()], log_q, 0.0)
    return -float((np.exp(rewards / alpha) @ kept).sum())


def own_length(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """each response's terms stop at its own T_i: all go on to the longest one's end."""
    written = np.arange(policy.shape[1]) < lengths[:, None]
    return float((terms(policy, reference, lengths, rewards, alpha) * written).sum())


def own_mean(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """each response's terms are averaged over its own T_i: sum all of them up to the longest one's
    end.
    """
    written = np.arange(policy.shape[1]) < lengths[:, None]
    return float(
        (terms(policy, reference, lengths, rewards, alpha) * written / lengths[:, None]).sum()
    )


def mean_to_longest(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """the sum is divided by max T_i: that number depends on how the prefixes go on, so it moves the
    optimum.
    """
    return gnivo_loss_unequal_lengths(policy, reference, lengths, rewards, alpha) / float(
        lengths.max()
    )


def drops_eos(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """the end token is dropped: stopping is a choice too, and `lengths` counts it."""
    return float(terms(policy, reference, lengths - 1, rewards, alpha)[:, : lengths.max()].sum())


def drops_eos_and_depth(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """the end token is dropped, and the last depth with it: stopping is a choice too, and `lengths`
    counts it.
    """
    return float(
        terms(policy, reference, lengths - 1, rewards, alpha)[:, : lengths.max() - 1].sum()
    )


def counts_padding(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """padding is added to rho: after the end nothing is added any more."""
    full = np.full_like(lengths, policy.shape[1])
    return float(terms(policy, reference, full, rewards, alpha)[:, : lengths.max()].sum())


def masks_by_product(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """padding is multiplied by 0, and 0 * nan is nan: choose with np.where."""
    written = np.arange(policy.shape[1]) < lengths[:, None]
    full = np.full_like(lengths, policy.shape[1])
    return float(
        terms(policy * written, reference * written, full, rewards, alpha)[:, : lengths.max()].sum()
    )


def to_padded_width(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """the sum goes on to the padded width T: it ends with the longest response, or padding would
    change the loss.
    """
    return float(terms(policy, reference, lengths, rewards, alpha).sum())


def to_shortest(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """the sum stops with the shortest response: here it goes on to the longest one's end."""
    return float(terms(policy, reference, lengths, rewards, alpha)[:, : lengths.min()].sum())


def zero_after_end(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """rho is 0 after the end: a finished response keeps the rho of its whole self."""
    written = np.arange(lengths.max()) < lengths[:, None]
    rho = (
        np.cumsum(np.where(written, (policy - reference)[:, : lengths.max()], 0.0), axis=1)
        * written
    )
    return -float((np.exp(rewards / alpha) @ (rho - np.logaddexp.reduce(rho, axis=0))).sum())


def softmax_weights(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """the weights are softmax(R/alpha) within the group: that moves the optimum at every t < T, so
    keep e^{R/alpha}.
    """
    loss = gnivo_loss_unequal_lengths(policy, reference, lengths, rewards, alpha)
    return loss / float(np.exp(rewards / alpha).sum())


def overflows(
    policy: Array, reference: Array, lengths: Lengths, rewards: Array, alpha: float
) -> float:
    """e^rho overflows: rho may be 1000. Take the largest exponent out of the sum, and add it back
    after the logarithm.
    """
    longest = lengths.max()
    written = np.arange(longest) < lengths[:, None]
    rho = np.cumsum(np.where(written, (policy - reference)[:, :longest], 0.0), axis=1)
    return -float((np.exp(rewards / alpha) @ (rho - np.log(np.exp(rho).sum(axis=0)))).sum())


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Three responses by hand, the same with other padding, random groups added up term by term,
    then the limits.
    """
    ratios = np.array(
        [[0.5, -0.25, 1.0, 7.0, 7.0], [-1.0, 7.0, 7.0, 7.0, 7.0], [-0.5, 0.75, 7.0, 7.0, 7.0]]
    )
    reference, lengths, rewards = -np.ones((3, 5)), np.array([3, 1, 2]), np.array([1.0, 0.0, 0.5])
    policy = reference + ratios
    rho = np.array([[0.5, 0.25, 1.25], [-1.0, -1.0, -1.0], [-0.5, 0.25, 0.25]])
    weights = np.exp([2.0, 0.0, 1.0])
    worked = float(
        weights.sum() * np.log(np.exp(rho).sum(axis=0)).sum() - weights @ rho.sum(axis=1)
    )
    where = (
        "responses of 3, 1 and 2 tokens in 5 columns, log-ratios (0.5 -0.25 1), (-1), (-0.5 0.75), "
        "alpha 0.5"
    )
    yield Case(where, (policy, reference, lengths, rewards, 0.5), worked)
    padding = np.arange(5) >= lengths[:, None]
    for pad in (0.0, np.nan):
        padded = (
            np.where(padding, pad, policy),
            np.where(padding, 1.0, reference),
            lengths,
            rewards,
            0.5,
        )
        yield Case(f"the same; the padding is {pad:g} and 1", padded, worked)
    narrow = policy[:, :3], reference[:, :3], lengths, rewards, 0.5
    yield Case("the same in 3 columns", narrow, worked)
    order = [1, 2, 0]
    mixed = policy[order], reference[order], lengths[order], rewards[order], 0.5
    yield Case("the same in another order", mixed, worked)
    for trial in range(3):
        shape = int(rng.integers(2, 6)), int(rng.integers(2, 7))
        alpha = round(float(rng.uniform(0.3, 2)), 3)
        ours, theirs = -rng.exponential(size=shape), -rng.exponential(size=shape)
        ends, paid = rng.integers(1, shape[1] + 1, size=shape[0]), rng.uniform(size=shape[0])
        where = f"random group {trial + 1}: shape {shape}, lengths {ends}, alpha {alpha}"
        yield Case(
            where, (ours, theirs, ends, paid, alpha), term_by_term(ours - theirs, ends, paid, alpha)
        )
    flat = reference[:2, :4], reference[:2, :4], np.array([4, 1]), np.zeros(2), 0.5
    yield Case(
        "the policy is the reference: 4 depths, 2 responses, log 2 each", flat, float(8 * np.log(2))
    )

    even = np.full((2, 800), -1.0), np.full((2, 800), -3.0), np.array([800, 800]), np.zeros(2), 0.5
    yield Case("800 tokens, each e^2 times likelier, in both responses", even, 1600 * np.log(2))


def term_by_term(ratios: Array, lengths: Lengths, rewards: Array, alpha: float) -> float:
    """The loss as it is written, one term after another."""
    loss, group = 0.0, range(len(lengths))
    for t in range(1, int(lengths.max()) + 1):
        rho = [float(ratios[i, : min(t, int(lengths[i]))].sum()) for i in group]
        total = np.log(np.exp(rho).sum())
        loss -= sum(float(np.exp(rewards[i] / alpha)) * (rho[i] - total) for i in group)
    return float(loss)


EXERCISE = Exercise(
    name="gnivo_loss_unequal_lengths",
    compares="the loss of one group of responses of unequal length",
    statement=__doc__,
    reference=gnivo_loss_unequal_lengths,
    gives=(
        "- sum_{t <= max T_i} sum_i e^{R_i/alpha} log softmax_i(rho^t), finished responses "
        "absorbing."
    ),
    wrong_answers={
        "mask instead of absorb": masks,
        "own T_i": own_length,
        "own T_i, averaged": own_mean,
        "divide by max T_i": mean_to_longest,
        "drop EOS": drops_eos,
        "drop EOS and the last depth": drops_eos_and_depth,
        "counts padding": counts_padding,
        "padding times 0": masks_by_product,
        "sums to the padded width": to_padded_width,
        "sums to the shortest": to_shortest,
        "0 after the end": zero_after_end,
        "softmax weights": softmax_weights,
        "overflow at large rho": overflows,
    },
    hints=(
        "Exercise 12 gives rho with finished responses absorbing, exercise 13 the loss. What is "
        "left to decide?",
        "The sum over t ends at `lengths.max()`, for every response alike, whatever the padded "
        "width is.",
        "Cut both arrays to `lengths.max()` columns, use your `prefix_logratio`, then your "
        "`gnivo_loss`.",
    ),
    cases=cases,
    parse=number,
    difference=same_number,
    praise="a finished response stays in the group as it is, and padding changes nothing",
)
