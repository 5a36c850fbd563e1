"""Soft values from samples, with intervals: V = log mean e^{R/alpha} over continuations. Numpy,
float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import hypot, log, sqrt

import numpy as np
from numpy.typing import ArrayLike

from gnivo_edu.exact import check_alpha, value_of_chance
from gnivo_edu.statistics import t_quantile, wilson


@dataclass(frozen=True)
class Estimate:
    """An estimate of a soft value, nats: `value`, and its interval `low`..`high`.

    `standard_error` is that of the delta method. `bias` is the first-order estimate
    -standard_error^2 / 2 of the bias of the log (Jensen: the log of a mean is too low on average);
    it is not corrected for. `samples`: how many continuations; 0 where the value is known exactly.
    `method`: where the interval is from, "wilson" (rewards of 0 and 1), "delta" (others), "exact".
    """

    value: float
    low: float
    high: float
    standard_error: float
    bias: float
    samples: int
    method: str


@dataclass(frozen=True)
class Change:
    """By how much a value changed, nats, and the interval of that: a credit."""

    value: float
    low: float
    high: float


def change(before: Estimate, after: Estimate) -> Change:
    """after - before of two independent estimates, with the interval that theirs make together.

        low = d - sqrt((after - after_low)^2 + (before_high - before)^2),   high likewise

    It holds the difference with about the chance that each of the two holds its own value, and
    neither has to be symmetric. Source: Zou and Donner 2008 (Statistics in Medicine 27, 1693-1702).

    >>> before, after = (Estimate(v, v - 3, v + 4, 1.0, -0.5, 9, "delta") for v in (5.0, 2.0))
    >>> change(before, after)
    Change(value=-3.0, low=-8.0, high=2.0)
    """
    value = after.value - before.value
    down = hypot(after.value - after.low, before.high - before.value)
    up = hypot(after.high - after.value, before.value - before.low)
    return Change(value, low=value - down, high=value + up)


def known(value: float) -> Estimate:
    """A value that needs no samples, such as V = R/alpha of a complete answer."""
    return Estimate(
        value, low=value, high=value, standard_error=0.0, bias=0.0, samples=0, method="exact"
    )


def estimate_value(
    rewards: ArrayLike, alpha: float, level: float = 0.95, binary: bool = False
) -> Estimate:
    """V = log mean e^{R/alpha} over independent continuations of one prefix, nats, and its
    interval.

    `rewards` [n] of n >= 2 continuations. With `binary` (rewards of 0 and 1 only) the interval is
    Wilson's for the chance p of reward 1, carried over by V = log(1 - p + p e^{1/alpha}): it has a
    width even where all n agree. Else it is value -+ t standard errors, t the quantile of Student's
    law with n - 1 degrees of freedom; where all n rewards agree that interval is a point, which
    says that none of them differed and no more. It is too short where a rare reward makes up most
    of the mean: where alpha is small beside the range of rewards.

    Sources: Wilson 1927 (JASA 22, 209-212); Agresti and Coull 1998 on its coverage.

    >>> estimate = estimate_value([0, 1, 1, 1], alpha=1.0, binary=True)
    >>> round(estimate.value, 4), round(estimate.low, 4), round(estimate.high, 4)
    (0.828, 0.4165, 0.9708)
    """
    rewards = np.asarray(rewards, dtype=np.float64)
    if rewards.ndim != 1 or len(rewards) < 2:
        raise ValueError(
            f"an interval needs at least 2 continuations, got rewards of shape {rewards.shape}"
        )
    exponents = rewards / check_alpha(alpha)
    weights = np.exp(exponents - exponents.max())
    value = float(np.log(weights.mean()) + exponents.max())
    n = len(rewards)
    # Delta method: the relative error of the mean is the error of its log.
    error = float(weights.std(ddof=1) / weights.mean() / sqrt(n))
    if not binary:
        return _delta(value, error, reach=t_quantile(level, n - 1) * error, samples=n)
    if not np.isin(rewards, (0.0, 1.0)).all():
        raise ValueError("binary is for rewards of 0 and 1 only; these are graded")
    low, high = (value_of_chance(p, alpha) for p in wilson(float(rewards.mean()), n, level=level))
    return replace(
        _delta(value, error, reach=0.0, samples=n),
        low=min(low, value),
        high=max(high, value),
        method="wilson",
    )


def estimate_log_z(
    rewards: ArrayLike,
    policy_logps: ArrayLike,
    reference_logps: ArrayLike,
    from_policy: ArrayLike,
    alpha: float,
    level: float = 0.95,
    binary: bool = False,
) -> Estimate:
    """log Z = log E_ref[e^{R/alpha}], nats, from answers of the policy and fresh answers of the
    reference together.

    With K answers from pi and N from pi_ref every answer y counts with the weight of the balance
    heuristic, and the weights are divided by their sum (their mean is 1, and so log Z of a constant
    reward is exact):

        w(y) = pi_ref(y) / (K/(K+N) pi(y) + N/(K+N) pi_ref(y)),   Z = sum w e^{R/alpha} / sum w

    For pi = pi_ref that is `estimate_value` of all K + N. All arguments [K + N]: log-probabilities
    of whole answers, nats, and `from_policy`, bool. The interval is that of the delta method, each
    of the two samples with a variance of its own, and Student's t; with `binary` it is cut to
    0..1/alpha. Where all rewards agree it is that of `estimate_value`. Needs at least 2 answers of
    each policy that occurs.

    Source: Veach and Guibas 1995 (SIGGRAPH, multiple importance sampling); Owen, Monte Carlo
    theory, methods and examples, chapter 9.

    >>> logps = [-1, -1, -2, -2]  # of both policies: they are the same
    >>> estimate = estimate_log_z([1, 1, 0, 0], logps, logps, [True, False] * 2, alpha=1.0)
    >>> round(estimate.value, 4) == round(float(np.log((np.e + 1) / 2)), 4)
    True
    """
    rewards, policy, reference = (
        np.asarray(numbers, dtype=np.float64)
        for numbers in (rewards, policy_logps, reference_logps)
    )
    drawn_by_policy = np.asarray(from_policy, dtype=bool)
    if np.array_equal(policy, reference):
        return estimate_value(rewards, alpha, level=level, binary=binary)
    if np.ptp(rewards) == 0 or not drawn_by_policy.any():
        fresh = estimate_value(rewards[~drawn_by_policy], alpha, level=level, binary=binary)
        return replace(fresh, samples=len(rewards))
    counts = [int(drawn_by_policy.sum()), int((~drawn_by_policy).sum())]
    if min(counts) < 2:
        raise ValueError(
            f"need at least 2 answers of the policy and of the reference, got {counts[0]} and "
            f"{counts[1]}"
        )
    n = len(rewards)
    mixture = np.logaddexp(policy + log(counts[0] / n), reference + log(counts[1] / n))
    weights = np.exp(reference - mixture)
    weights /= weights.mean()
    exponents = rewards / check_alpha(alpha)
    scaled = np.exp(exponents - exponents.max())
    mean = float((weights * scaled).mean())
    value = float(np.log(mean) + exponents.max())
    # How much each answer moves log Z; the two samples differ in mean, so each has a variance of
    # its own.
    moves = weights * (scaled / mean - 1)
    variance = sum(
        count * float(moves[which].var(ddof=1))
        for count, which in zip(counts, (drawn_by_policy, ~drawn_by_policy), strict=True)
    )
    error = sqrt(variance) / n
    estimate = _delta(value, error, reach=t_quantile(level, n - 2) * error, samples=n)
    if not binary:
        return estimate
    return replace(estimate, low=max(estimate.low, 0.0), high=min(estimate.high, 1 / alpha))


def _delta(value: float, error: float, reach: float, samples: int) -> Estimate:
    """The estimate with an interval of `reach` on both sides, and the bias of a log (Jensen)."""
    return Estimate(
        value,
        low=value - reach,
        high=value + reach,
        standard_error=error,
        bias=-(error**2) / 2,
        samples=samples,
        method="delta",
    )
