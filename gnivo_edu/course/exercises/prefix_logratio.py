"""Exercise 12: the implicit value of every prefix.

A policy carries a value inside it: how much more probable than the reference it has made a prefix.
For response i of a group of K,

    rho_i^t = log pi_theta(s_t) - log pi_ref(s_t) = sum of its first t log-ratios,    t = 1 ... T

A finished response is absorbing: at every later t its prefix is still the whole response, so rho
stays where it ended.

Write `prefix_logratio(policy_logps, reference_logps, lengths) -> float64 [K, T]`: column t - 1 is
rho^t, in nats.

- `policy_logps`, `reference_logps`, float64 [K, T]: log-probability of each token, under pi_theta
  and under pi_ref;
- `lengths`, int [K]: how many of the T entries belong to each response, its end token included. The
  rest is padding: what stands there means nothing, and may be any number or nan.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise

Lengths = NDArray[np.int64]


def prefix_logratio(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """Sum of the first t log-ratios, t = 1..T, [K, T], nats; constant after the end.

    >>> policy, reference = np.array([[-1.0, -2.0, 9.0]]), np.array([[-1.5, -4.0, 0.0]])
    >>> prefix_logratio(policy, reference, np.array([2]))
    array([[0.5, 2.5, 2.5]])
    """
    written = np.arange(policy_logps.shape[1]) < lengths[:, None]
    return np.cumsum(np.where(written, policy_logps - reference_logps, 0.0), axis=1)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def token_logratio(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """the log-ratio of each token is returned: a prefix's is the sum up to it."""
    written = np.arange(policy_logps.shape[1]) < lengths[:, None]
    return np.where(written, policy_logps - reference_logps, 0.0)


def exclusive(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """the sum stops one token early: s_t includes token t, so the first column is the first
    log-ratio, not 0.
    """
    found = prefix_logratio(policy_logps, reference_logps, lengths)
    return np.concatenate([np.zeros((len(found), 1)), found[:, :-1]], axis=1)


def over_group(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """the sum runs over the responses (axis 0): tokens lie along axis 1."""
    return np.cumsum(token_logratio(policy_logps, reference_logps, lengths), axis=0)


def product(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """log-ratios are multiplied (cumprod): ratios multiply, so their logarithms add up."""
    written = np.arange(policy_logps.shape[1]) < lengths[:, None]
    factors = np.where(written, policy_logps - reference_logps, 1.0)
    return np.cumprod(factors, axis=1, dtype=np.float64)


def unmasked(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """padding is counted: after `lengths` tokens nothing is added any more."""
    return np.cumsum(policy_logps - reference_logps, axis=1)


def masked_by_product(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """padding is multiplied by 0, and 0 * nan is nan: choose with np.where."""
    written = np.arange(policy_logps.shape[1]) < lengths[:, None]
    return np.cumsum((policy_logps - reference_logps) * written, axis=1)


def zero_after_end(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """rho is 0 after the end: a finished response stays what it is, so its rho stays where it
    ended.
    """
    written = np.arange(policy_logps.shape[1]) < lengths[:, None]
    return np.where(written, prefix_logratio(policy_logps, reference_logps, lengths), 0.0)


def drops_eos(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """the last token of each response is dropped: the end token is a choice too, and `lengths`
    counts it.
    """
    return prefix_logratio(policy_logps, reference_logps, lengths - 1)


def whole_response(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """every prefix gets the log-ratio of the whole response: add up the first t tokens only."""
    found = prefix_logratio(policy_logps, reference_logps, lengths)
    return np.broadcast_to(found[:, -1:], found.shape)


def from_the_end(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """the sum runs from the end: it has to start at the first token."""
    return np.cumsum(token_logratio(policy_logps, reference_logps, lengths)[:, ::-1], axis=1)[
        :, ::-1
    ]


def sign(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """policy and reference are exchanged: a prefix that the policy has made more probable has a
    positive rho.
    """
    return prefix_logratio(reference_logps, policy_logps, lengths)


def without_reference(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """log pi_theta alone is added up: subtract log pi_ref."""
    return prefix_logratio(policy_logps, np.zeros_like(reference_logps), lengths)


def ratio(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """the ratio is returned: the answer is its logarithm."""
    return np.exp(prefix_logratio(policy_logps, reference_logps, lengths))


def token_mean(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """the sum is divided by the number of tokens: probabilities multiply, so log-ratios add up."""
    count = np.minimum(np.arange(1, policy_logps.shape[1] + 1), lengths[:, None])
    return prefix_logratio(policy_logps, reference_logps, lengths) / count


def by_probabilities(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """ratios are multiplied before the logarithm is taken: that of a long prefix is no float any
    more. Add logarithms.
    """
    written = np.arange(policy_logps.shape[1]) < lengths[:, None]
    return np.log(np.cumprod(np.where(written, np.exp(policy_logps - reference_logps), 1), axis=1))


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Three responses by hand, the same with other padding, random groups, then the limits."""
    policy = np.array([[-0.5, -1.0, -0.25, -2.0], [-1.5, -0.5, 7.0, 7.0], [-1.0, -0.5, -0.75, 7.0]])
    reference = np.array(
        [[-1.0, -0.75, -1.25, -1.5], [-0.5, -2.0, 5.0, 5.0], [-0.5, -1.25, -1.0, 5.0]]
    )
    worked = np.array([[0.5, 0.25, 1.25, 0.75], [-1.0, 0.5, 0.5, 0.5], [-0.5, 0.25, 0.5, 0.5]])
    lengths = np.array([4, 2, 3])
    yield Case(
        "three responses of 4, 2 and 3 tokens; the padding is 7 and 5",
        (policy, reference, lengths),
        worked,
    )
    padding = np.arange(4) >= lengths[:, None]
    for pad in (0.0, -1e30, np.nan):
        padded = np.where(padding, pad, policy), np.where(padding, 1.0, reference), lengths
        yield Case(f"the same; the padding is {pad:g} and 1", padded, worked)
    order = [2, 0, 1]
    yield Case(
        "the same in another order",
        (policy[order], reference[order], lengths[order]),
        worked[order],
    )
    for trial in range(3):
        shape = int(rng.integers(2, 6)), int(rng.integers(2, 7))
        ours, theirs = -rng.exponential(size=shape), -rng.exponential(size=shape)
        ends = rng.integers(1, shape[1] + 1, size=shape[0])
        expected = [[np.sum((a - b)[: min(t, n)]) for t in range(1, shape[1] + 1)]
                    for a, b, n in zip(ours, theirs, ends, strict=True)]  # fmt: skip
        where = f"random group {trial + 1}: shape {shape}, lengths {ends}"
        yield Case(where, (ours, theirs, ends), np.array(expected))
    yield Case(
        "the policy is the reference", (policy[:1], policy[:1], lengths[:1]), np.zeros((1, 4))
    )
    long = np.full((1, 800), -3.0), np.full((1, 800), -1.0), np.array([800])
    yield Case("800 tokens, each e^2 times rarer", long, -2.0 * np.arange(1, 801)[None])


EXERCISE = Exercise(
    name="prefix_logratio",
    compares="rho of every prefix of every response, in nats",
    statement=__doc__,
    reference=prefix_logratio,
    gives="Sum of the first t log-ratios, t = 1..T, [K, T], nats.",
    wrong_answers={
        "exclusive cumsum": exclusive,
        "sums over K": over_group,
        "cumprod of log-ratios": product,
        "unmasked padding": unmasked,
        "padding times 0": masked_by_product,
        "0 after the end": zero_after_end,
        "drops EOS": drops_eos,
        "token for prefix": token_logratio,
        "whole response at every t": whole_response,
        "from the end": from_the_end,
        "sign": sign,
        "forgets pi_ref": without_reference,
        "ratio for log-ratio": ratio,
        "mean for sum": token_mean,
        "product of ratios": by_probabilities,
    },
    hints=(
        "The probability of a prefix is a product over its tokens. What is the logarithm of a "
        "ratio of two products?",
        "np.cumsum along the tokens adds up the first t of them. Which entries must not be added?",
        "Put 0 where a response is over, `np.where(np.arange(T) < lengths[:, None], ..., 0.0)`, "
        "and then cumsum: "
        "after the end nothing is added, so rho stays where it is.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("response", 0), ("t", 1)),
    praise="it adds up the tokens of each prefix, and stays where a response ended",
)
