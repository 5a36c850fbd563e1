"""Exercise 21: the loss of GVPO.

At the best policy R = alpha h + alpha log Z: reward and implicit reward differ by one number per
prompt. Subtract the group's mean from both and that number, the intractable log Z, is gone. What is
left is to be small,

    L = 1/(2 (K - 1)) sum_i ( (R_i - mean R) - alpha (h_i - mean h) )^2

with h_i = log pi_theta(y_i) - log pi_ref(y_i). Both means are over the K responses, i included.
With K - 1, L is half the unbiased variance of R - alpha h.

Write `gvpo_loss(policy_logps, reference_logps, mask, rewards, alpha) -> float`, the loss of one
group.

- `policy_logps`, `reference_logps`, float64 [K, T]: log-probability of each token, under pi_theta
  and under pi_ref;
- `mask`, bool [K, T]: True for the tokens of a response, its end token included, then False for the
  padding. What stands there means nothing, and may be any number or nan;
- `rewards`, float64 [K], K >= 2; `alpha`, float > 0: R_i, and the temperature, reward per nat.

Source: arXiv 2504.19599, where alpha is called beta.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, same_number
from gnivo_edu.course.exercises.base import Case, Exercise, number

Mask = NDArray[np.bool_]


def gvpo_loss(
    policy_logps: Array, reference_logps: Array, mask: Mask, rewards: Array, alpha: float
) -> float:
    """1/(2 (K - 1)) sum_i ((R_i - mean R) - alpha (h_i - mean h))^2 of one group, reward^2.

    >>> logps = np.log([[0.5], [0.5]])
    >>> mask, rewards = np.ones((2, 1), dtype=bool), np.array([1.0, 0.0])
    >>> gvpo_loss(logps, logps, mask, rewards, alpha=1.0)  # (0.25 + 0.25)/2
    0.25
    """
    h = np.where(mask, policy_logps - reference_logps, 0.0).sum(axis=1)
    unexplained = (rewards - rewards.mean()) - alpha * (h - h.mean())
    return float((unexplained**2).sum() / (2 * (len(rewards) - 1)))


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def logratio(policy: Array, reference: Array, mask: Mask) -> Array:
    """h [K], nats: what the mistakes treat wrongly."""
    return np.asarray(np.where(mask, policy - reference, 0.0).sum(axis=1))


def half_variance(unexplained: Array) -> float:
    """sum of squares over 2 (K - 1)."""
    return float((unexplained**2).sum() / (2 * (len(unexplained) - 1)))


def h_uncentred(policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float) -> float:
    """the mean of h is not subtracted: then alpha log Z stays in the loss."""
    return half_variance(rewards - rewards.mean() - alpha * logratio(policy, reference, mask))


def rewards_uncentred(
    policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float
) -> float:
    """the mean of R is not subtracted: then a shift of all rewards moves the optimum."""
    h = logratio(policy, reference, mask)
    return half_variance(rewards - alpha * (h - h.mean()))


def both_uncentred(
    policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float
) -> float:
    """neither R nor h is centred: R - alpha h is alpha log Z at the optimum, not 0."""
    return half_variance(rewards - alpha * logratio(policy, reference, mask))


def divided_by_k(
    policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float
) -> float:
    """the sum is divided by K: with means taken from the same group, K - 1 is what is unbiased."""
    size = len(rewards)
    return gvpo_loss(policy, reference, mask, rewards, alpha) * (size - 1) / size


def not_divided(policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float) -> float:
    """the sum over the group is not divided by K - 1."""
    return gvpo_loss(policy, reference, mask, rewards, alpha) * (len(rewards) - 1)


def without_half(
    policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float
) -> float:
    """the factor 1/2 is missing."""
    return 2 * gvpo_loss(policy, reference, mask, rewards, alpha)


def leave_one_out(
    policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float
) -> float:
    """the means leave response i out: here they are over all K."""
    size = len(rewards)
    return gvpo_loss(policy, reference, mask, rewards, alpha) * (size / (size - 1)) ** 2


def alpha_on_rewards(
    policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float
) -> float:
    """alpha multiplies the reward: it turns h from nats into reward."""
    h = logratio(policy, reference, mask)
    return half_variance(alpha * (rewards - rewards.mean()) - (h - h.mean()))


def in_nats(policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float) -> float:
    """R/alpha - h is squared: the same in nats, so the loss is 1/alpha^2 of what was asked for."""
    return gvpo_loss(policy, reference, mask, rewards, alpha) / alpha**2


def without_alpha(
    policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float
) -> float:
    """h is not multiplied by alpha: reward and nats cannot be subtracted."""
    return gvpo_loss(policy, reference, mask, rewards, 1.0)


def sign_of_h(policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float) -> float:
    """alpha h is added to the reward, or policy and reference are exchanged: the two are to
    cancel.
    """
    return gvpo_loss(reference, policy, mask, rewards, alpha)


def token_mean(policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float) -> float:
    """h is averaged over the tokens: log pi(y) is their sum, or length would count."""
    h = logratio(policy, reference, mask) / mask.sum(axis=1)
    return half_variance(rewards - rewards.mean() - alpha * (h - h.mean()))


def without_reference(
    policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float
) -> float:
    """log pi_theta stands for h: subtract log pi_ref."""
    return gvpo_loss(policy, np.zeros_like(reference), mask, rewards, alpha)


def no_mask(policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float) -> float:
    """padding is added to h: what stands behind the end token is no choice."""
    return gvpo_loss(policy, reference, np.ones_like(mask), rewards, alpha)


def masked_by_product(
    policy: Array, reference: Array, mask: Mask, rewards: Array, alpha: float
) -> float:
    """padding is multiplied by 0, and 0 * nan is nan: choose with np.where."""
    return gvpo_loss(policy * mask, reference * mask, np.ones_like(mask), rewards, alpha)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Four responses by hand, what shifts and padding do to them, random groups pair by pair, then
    the optimum.
    """
    ratios = np.array([[0.5, -0.25, 1.0], [-1.0, 7.0, 7.0], [-0.5, 0.75, 7.0], [0.5, 7.0, 7.0]])
    reference = np.array(
        [[-1.0, -0.5, -2.0], [-0.25, 3.0, 3.0], [-1.5, -0.75, 3.0], [-0.5, 3.0, 3.0]]
    )
    mask, rewards = np.arange(3) < np.array([[3], [1], [2], [1]]), np.array([1.0, 0.0, 0.25, 0.75])
    policy = reference + ratios
    worked = (0.0**2 + 0.125**2 + 0.25**2 + 0.125**2) / 6  # R is centred by 0.5, h by 0.25
    where = (
        "responses of 3, 1, 2 and 1 tokens with h = 1.25, -1, 0.25, 0.5, rewards 1, 0, 0.25, 0.75, "
        "alpha 0.5"
    )
    yield Case(where, (policy, reference, mask, rewards, 0.5), worked)
    for pad in (0.0, np.nan):
        padded = np.where(mask, policy, pad), np.where(mask, reference, 1.0), mask, rewards, 0.5
        yield Case(f"the same; the padding is {pad:g} and 1", padded, worked)
    yield Case(
        "the same, every reward raised by 3", (policy, reference, mask, rewards + 3, 0.5), worked
    )
    lifted = policy + np.array([2.0, 0.0, 0.0])  # the first token is in every response
    yield Case("the same, every h raised by 2", (lifted, reference, mask, rewards, 0.5), worked)
    order = [2, 0, 3, 1]
    mixed = policy[order], reference[order], mask[order], rewards[order], 0.5
    yield Case("the same in another order", mixed, worked)
    for trial in range(3):
        size = int(rng.integers(2, 6))
        width = int(rng.integers(2, 6))
        alpha = round(float(rng.uniform(0.2, 2)), 3)
        ours, theirs = -rng.exponential(size=(size, width)), -rng.exponential(size=(size, width))
        lengths, paid = rng.integers(1, width + 1, size=size), rng.uniform(size=size)
        gaps = [
            r - alpha * (a - b)[:n].sum()
            for r, a, b, n in zip(paid, ours, theirs, lengths, strict=True)
        ]
        # An unbiased variance is half the mean squared difference of two different members.
        expected = sum((a - b) ** 2 for a in gaps for b in gaps) / (4 * size * (size - 1))
        where = f"random group {trial + 1}: lengths {lengths}, alpha {alpha}; from its pairs"
        yield Case(
            where, (ours, theirs, np.arange(width) < lengths[:, None], paid, alpha), float(expected)
        )
    start = reference, reference, mask, rewards, 0.5
    yield Case("the policy is the reference: half the variance of the rewards", start, 0.625 / 6)
    optimal = reference + np.pad(rewards[:, None] / 0.5 - 3, ((0, 0), (0, 2)))
    yield Case(
        "h = R/alpha - 3: nothing left to explain", (optimal, reference, mask, rewards, 0.5), 0.0
    )


EXERCISE = Exercise(
    name="gvpo_loss",
    compares="the loss of one group, in reward squared",
    statement=__doc__,
    reference=gvpo_loss,
    gives="1/(2 (K - 1)) sum_i ((R_i - mean R) - alpha (h_i - mean h))^2 of one group.",
    wrong_answers={
        "h uncentred": h_uncentred,
        "R uncentred": rewards_uncentred,
        "both uncentred": both_uncentred,
        "1/K": divided_by_k,
        "sum for mean": not_divided,
        "1/2 missing": without_half,
        "leave-one-out means": leave_one_out,
        "beta on R": alpha_on_rewards,
        "in nats": in_nats,
        "without alpha": without_alpha,
        "sign of h": sign_of_h,
        "token mean": token_mean,
        "forgets pi_ref": without_reference,
        "no mask": no_mask,
        "padding times 0": masked_by_product,
    },
    hints=(
        "h_i is one number per response: the sum of its tokens' log-ratios. Which entries must "
        "not be added?",
        "Centre both: `rewards - rewards.mean()` and `h - h.mean()`. Which of the two does alpha "
        "bring to one unit?",
        "Square (R - mean R) - alpha (h - mean h), sum over the group, divide by 2 (K - 1).",
    ),
    cases=cases,
    parse=number,
    difference=same_number,
    praise="whatever is the same for the whole group, log Z first of all, drops out",
)
