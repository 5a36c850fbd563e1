"""Exercise 23: KL in the loss.

A term in the loss holds a policy to its reference. It is a mean over sampled responses, and it is
differentiated:

    L = (1/K) sum_i k(h_i),    h_i = log pi_theta(y_i)/pi_ref(y_i)

with h_i the sum of log pi_theta/pi_ref over its tokens. The policy never sees k, only its slope:
what it gets, on average, is E[k'(h) grad log pi_theta(y)]. So a k that is a good
*estimate* of the KL may be a poor *loss*. Find the k for which this average is the gradient of
KL(pi_theta || pi_ref) over whole responses, whatever the two policies, with k'(0) = 0: a response
that both write equally often is not pushed.

Write `kl_in_the_loss(policy_logps, reference_logps, lengths) -> float64 array [K, T]`, the slopes
of L by the log-probability of each token under pi_theta; 0 after the end of a response.

- `policy_logps`, `reference_logps`, float64 [K, T]: log-probability of each token, under pi_theta
  and under pi_ref, nats. The responses were drawn from pi_theta;
- `lengths`, int [K]: how many of the T entries belong to each response, its end token included. The
  rest is padding: what stands there means nothing, and may be any number or nan.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, array, by_entry, finite_differences
from gnivo_edu.course.exercises.base import Case, Exercise

Lengths = NDArray[np.int64]


def kl_in_the_loss(policy_logps: Array, reference_logps: Array, lengths: Lengths) -> Array:
    """Slopes of the mean of h^2/2 by the log-probability of each token, [K, T]: h_i/K, and 0 after
    the end.

    >>> policy, reference = np.log([[0.5, 0.5], [0.8, 0.3]]), np.log([[0.25, 0.25], [0.2, 0.9]])
    >>> (kl_in_the_loss(policy, reference, np.array([2, 1])) / np.log(2)).round(12)
    array([[1., 1.],
           [1., 0.]])
    """
    written = np.arange(policy_logps.shape[1]) < lengths[:, None]
    h = np.where(written, policy_logps - reference_logps, 0.0).sum(axis=1)
    return np.where(written, h[:, None], 0.0) / len(lengths)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def parts(
    policy: Array, reference: Array, lengths: Lengths
) -> tuple[NDArray[np.bool_], Array, Array]:
    """Mask [K, T], log-ratio of each token [K, T], and of each response [K, 1], nats."""
    written = np.arange(policy.shape[1]) < lengths[:, None]
    x = np.where(written, policy - reference, 0.0)
    return written, x, x.sum(axis=1, keepdims=True)


def slope_of(
    k_prime: Callable[[Array], Array], policy: Array, reference: Array, lengths: Lengths
) -> Array:
    """The slopes with another k, given by its derivative."""
    written, _, h = parts(policy, reference, lengths)
    return np.where(written, k_prime(h), 0.0) / len(lengths)


def k1(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """k1 = h is differentiated: its slope is 1 for every response, and on average that pulls
    nowhere.
    """
    return slope_of(np.ones_like, policy, reference, lengths)


def k3(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """k3 is differentiated: on average its slope 1 - e^{-h} is the gradient of the forward
    KL(pi_ref || pi_theta).
    """
    return slope_of(lambda h: -np.expm1(-h), policy, reference, lengths)


def k3_inverted(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """k3 is differentiated with the ratio upside down: its slope e^h - 1 follows a chi-square, not
    a KL.
    """
    return slope_of(np.expm1, policy, reference, lengths)


def k3_by_token(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """k3 of each token is differentiated, as GRPO does: on average that is the forward KL in each
    state.
    """
    _, x, _ = parts(policy, reference, lengths)
    return -np.expm1(-x) / len(lengths)


def inverted(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """the ratio is upside down: log pi_theta/pi_ref, or the loss pays for leaving the reference."""
    return -kl_in_the_loss(policy, reference, lengths)


def h_plus_one(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """1 is added to h: on average that changes nothing, and every sample gets noisier; k'(0) has to
    be 0.
    """
    return slope_of(lambda h: h + 1, policy, reference, lengths)


def doubled(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """h^2 is differentiated without its 1/2."""
    return 2 * kl_in_the_loss(policy, reference, lengths)


def k2_itself(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """k is returned instead of its slope: differentiate it."""
    return slope_of(lambda h: h**2 / 2, policy, reference, lengths)


def own_token(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """each token is pushed by its own log-ratio: a token also decides how the response goes on, so
    take h.
    """
    _, x, _ = parts(policy, reference, lengths)
    return x / len(lengths)


def to_go(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """only the tokens from t on count: right on average, but it is not the slope of any k(h)."""
    written, x, _ = parts(policy, reference, lengths)
    return np.where(written, np.cumsum(x[:, ::-1], axis=1)[:, ::-1], 0.0) / len(lengths)


def no_mask(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """there is no mask: padding is counted, and pushed."""
    return kl_in_the_loss(policy, reference, np.full_like(lengths, policy.shape[1]))


def counts_padding(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """padding is counted in h: mask the log-ratios before they are added up."""
    written, _, _ = parts(policy, reference, lengths)
    return np.where(written, (policy - reference).sum(axis=1, keepdims=True), 0.0) / len(lengths)


def pushes_padding(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """what stands after the end is pushed, too: nobody chose it, its slope is 0."""
    _, x, h = parts(policy, reference, lengths)
    return np.broadcast_to(h, x.shape) / len(lengths)


def masks_by_product(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """padding is multiplied by 0, and 0 * nan is nan: choose with np.where."""
    written, _, _ = parts(policy, reference, lengths)
    return written * ((policy - reference) * written).sum(axis=1, keepdims=True) / len(lengths)


def drops_eos(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """the end token is dropped: stopping is a choice too, and `lengths` counts it."""
    return kl_in_the_loss(policy, reference, lengths - 1)


def sums(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """the group is added up: the loss is a mean over its K responses."""
    return kl_in_the_loss(policy, reference, lengths) * len(lengths)


def mean_over_tokens(policy: Array, reference: Array, lengths: Lengths) -> Array:
    """each response is divided by its own length: h is a sum, and so is log pi_theta(y)."""
    return kl_in_the_loss(policy, reference, lengths) / lengths[:, None]


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Three responses by hand, the same with other padding, random groups by finite differences,
    then the limits.
    """
    ratios = np.array([[0.5, -0.25, 1.25, 7.0], [-1.2, 7.0, 7.0, 7.0], [-0.5, 1.1, 7.0, 7.0]])
    reference, lengths = -np.ones((3, 4)), np.array([3, 1, 2])
    policy, written = reference + ratios, np.arange(4) < lengths[:, None]
    worked = np.where(written, np.array([[0.5], [-0.4], [0.2]]), 0.0)
    where = (
        "responses of 3, 1 and 2 tokens in 4 columns, log-ratios (0.5 -0.25 1.25), (-1.2), (-0.5 "
        "1.1)"
    )
    yield Case(where, (policy, reference, lengths), worked)
    for pad in (0.0, np.nan):
        padded = np.where(written, policy, pad), np.where(written, reference, 1.0), lengths
        yield Case(f"the same; the padding is {pad:g} and 1", padded, worked)
    yield Case("the same in 3 columns", (policy[:, :3], reference[:, :3], lengths), worked[:, :3])
    for trial in range(3):
        shape = int(rng.integers(2, 6)), int(rng.integers(2, 6))
        ours, theirs = -rng.exponential(size=(2, *shape))
        ends = rng.integers(1, shape[1] + 1, size=shape[0])
        where = (
            f"random group {trial + 1}: shape {shape}, lengths {ends}; the slopes of L by finite "
            "differences"
        )
        loss_of = functools.partial(loss, reference=theirs, lengths=ends)
        yield Case(where, (ours, theirs, ends), finite_differences(loss_of, ours, h=0.5))
    yield Case(
        "the policy is the reference: nothing is pushed",
        (reference, reference, lengths),
        np.zeros((3, 4)),
    )
    rare = np.array([[-900.0, -1.0]]), np.array([[-1.0, -1.0]]), np.array([2])
    yield Case("one response, its log-ratio -899", rare, np.full((1, 2), -899.0))


def loss(policy: Array, reference: Array, lengths: Lengths) -> float:
    """L as it is written, term by term; a parabola."""
    ratios = [
        sum(row[:n]) - sum(other[:n])
        for row, other, n in zip(policy, reference, lengths.tolist(), strict=True)
    ]
    return sum(float(h) ** 2 / 2 for h in ratios) / len(ratios)


EXERCISE = Exercise(
    name="kl_in_the_loss",
    compares="the slope of the KL term by each token's log-probability",
    statement=__doc__,
    reference=kl_in_the_loss,
    gives="Slopes of the KL term by the log-probability of each token, [K, T]; 0 after the end.",
    wrong_answers={
        "k1 (zero gradient)": k1,
        "forward KL": k3,
        "k3 ratio inverted": k3_inverted,
        "no mask": no_mask,
        "k3 of each token": k3_by_token,
        "ratio inverted": inverted,
        "h + 1": h_plus_one,
        "without 1/2": doubled,
        "k for its slope": k2_itself,
        "own token only": own_token,
        "tokens to go": to_go,
        "counts padding": counts_padding,
        "pushes padding": pushes_padding,
        "padding times 0": masks_by_product,
        "drops EOS": drops_eos,
        "sum for mean": sums,
        "mean over tokens": mean_over_tokens,
    },
    hints=(
        "KL = E[h] moves because the samples move and because h does. grad E[h] = E[h grad log pi] "
        "+ E[grad h], and "
        "the last term is E[grad log pi] = 0. Compare with E[k'(h) grad log pi].",
        "So k'(h) = h, that is k = h^2/2. By how much does h change with the log-probability of "
        "one of its tokens?",
        "h_i for every token of response i, divided by K: mask the log-ratios, add them up, and "
        "mask the result.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("response", 0), ("t", 1), tolerance=1e-9),
    praise="on average it is the gradient of KL(pi_theta || pi_ref), and padding changes nothing",
)
