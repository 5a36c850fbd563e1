"""Exercise 30: KL in the loss, from stale samples.

The responses come from an older policy, pi_old. Each is weighted by how much likelier it has
become, and the *product* of weight and estimate is differentiated:

    L = (1/K) sum_i u_i k3(h_i),    u_i = pi_theta(y_i)/pi_old(y_i),    k3(h) = e^{-h} - 1 + h

with h_i = log pi_theta(y_i)/pi_ref(y_i). The weight depends on pi_theta, too, and so it has a slope
of its own.

Write `stale_kl_in_the_loss(policy_logps, old_logps, reference_logps, lengths) -> float64 array [K,
T]`, the slopes of L by the log-probability of each token under pi_theta; 0 after the end of a
response.

- `policy_logps`, `old_logps`, `reference_logps`, float64 [K, T]: log-probability of each token,
  under pi_theta, under pi_old, which drew the responses, and under pi_ref, nats;
- `lengths`, int [K]: how many of the T entries belong to each response, its end token included. The
  rest is padding: what stands there means nothing, and may be any number or nan.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, array, by_entry, finite_differences
from gnivo_edu.course.exercises.base import Case, Exercise

Lengths = NDArray[np.int64]


def stale_kl_in_the_loss(
    policy_logps: Array, old_logps: Array, reference_logps: Array, lengths: Lengths
) -> Array:
    """Slopes of the mean of u k3(h), [K, T]: u (k3 + k3') = u h for every token of a response, over
    K.

    >>> policy, old, reference = np.log([[0.5, 0.5]]), np.log([[0.25, 0.5]]), np.log([[0.25, 0.25]])
    >>> slopes = stale_kl_in_the_loss(policy, old, reference, np.array([2]))
    >>> (slopes / np.log(2)).round(12)  # weight 2, h = 2 log 2
    array([[4., 4.]])
    """
    written = np.arange(policy_logps.shape[1]) < lengths[:, None]
    h = np.where(written, policy_logps - reference_logps, 0.0).sum(axis=1, keepdims=True)
    weight = np.exp(np.where(written, policy_logps - old_logps, 0.0).sum(axis=1, keepdims=True))
    return np.where(written, weight * h, 0.0) / len(lengths)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def parts(
    policy: Array, old: Array, reference: Array, lengths: Lengths
) -> tuple[NDArray[np.bool_], Array, Array]:
    """Mask [K, T], log pi_theta/pi_old and log pi_theta/pi_ref of each token [K, T], nats."""
    written = np.arange(policy.shape[1]) < lengths[:, None]
    return written, np.where(written, policy - old, 0.0), np.where(written, policy - reference, 0.0)


def whole(
    policy: Array, old: Array, reference: Array, lengths: Lengths
) -> tuple[NDArray[np.bool_], Array, Array]:
    """Mask [K, T], weight [K, 1] and log-ratio [K, 1] of each response."""
    written, log_u, x = parts(policy, old, reference, lengths)
    return written, np.exp(log_u.sum(axis=1, keepdims=True)), x.sum(axis=1, keepdims=True)


def constant_weight(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """the weight is a constant: only k3 is differentiated then, and it pulls towards the forward
    KL.
    """
    written, u, h = whole(policy, old, reference, lengths)
    return np.where(written, -u * np.expm1(-h), 0.0) / len(lengths)


def weight_only(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """only the weight is differentiated: k3(h) depends on pi_theta, too."""
    written, u, h = whole(policy, old, reference, lengths)
    return np.where(written, u * (np.expm1(-h) + h), 0.0) / len(lengths)


def no_weight(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """there is no weight: then the responses have to come from pi_theta itself."""
    written, _, h = whole(policy, old, reference, lengths)
    return np.where(written, h, 0.0) / len(lengths)


def weight_inverted(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """the weight is upside down: pi_theta/pi_old turns averages over pi_old into averages over
    pi_theta.
    """
    written, u, h = whole(policy, old, reference, lengths)
    return np.where(written, h / u, 0.0) / len(lengths)


def by_token(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """weight and estimate are those of each token: that leaves the prefixes to the old policy."""
    _, log_u, x = parts(policy, old, reference, lengths)
    return np.exp(log_u) * x / len(lengths)


def token_weights(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """each token has its own weight: a response is drawn as a whole, and weighted as a whole."""
    written, log_u, x = parts(policy, old, reference, lengths)
    return np.where(written, np.exp(log_u) * x.sum(axis=1, keepdims=True), 0.0) / len(lengths)


def k1_weighted(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """it is k1 that is weighted: its slope is u (h + 1), which is right on average, but it is not
    that of k3.
    """
    written, u, h = whole(policy, old, reference, lengths)
    return np.where(written, u * (h + 1), 0.0) / len(lengths)


def k3_inverted(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """the ratio in k3 is upside down: e^{-h} is pi_ref/pi_theta."""
    written, u, h = whole(policy, old, reference, lengths)
    return np.where(written, u * (2 * np.expm1(h) - h), 0.0) / len(lengths)


def against_old(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """h is taken against pi_old: the policy is held to its reference, pi_old only drew the
    responses.
    """
    return stale_kl_in_the_loss(policy, old, old, lengths)


def swapped(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """pi_old and pi_ref are swapped."""
    return stale_kl_in_the_loss(policy, reference, old, lengths)


def no_mask(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """there is no mask: padding is counted, and pushed."""
    return stale_kl_in_the_loss(policy, old, reference, np.full_like(lengths, policy.shape[1]))


def drops_eos(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """the end token is dropped: stopping is a choice too, and `lengths` counts it."""
    return stale_kl_in_the_loss(policy, old, reference, lengths - 1)


def normalised(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """the weights are divided by their sum: with few responses that is another average, so divide
    by K.
    """
    _, u, _ = whole(policy, old, reference, lengths)
    return stale_kl_in_the_loss(policy, old, reference, lengths) * len(lengths) / float(u.sum())


def sums(policy: Array, old: Array, reference: Array, lengths: Lengths) -> Array:
    """the group is added up: the loss is a mean over its K responses."""
    return stale_kl_in_the_loss(policy, old, reference, lengths) * len(lengths)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Two responses by hand, the same with other padding, random groups by finite differences, then
    the limits.
    """
    logs = np.log(2) * np.array(
        [[[-1.0, -2, 7], [-3, 7, 7]], [[-2, -3, 6], [-2, 6, 6]], [[-3, -1, 4], [-1, 4, 4]]]
    )
    lengths = np.array([2, 1])
    written = np.arange(3) < lengths[:, None]
    worked = np.log(2) * np.array(
        [[2.0, 2.0, 0.0], [-0.5, 0.0, 0.0]]
    )  # weights 4 and 1/2, h = 1 and -2 times log 2
    where = (
        "responses of 2 and 1 tokens; pi 1/2 1/4, then 1/8; pi_old 1/4 1/8, then 1/4; pi_ref 1/8 "
        "1/2, then 1/2"
    )
    yield Case(where, (*logs, lengths), worked)
    for pad in (0.0, np.nan):
        padded = [np.where(written, logp, n * pad) for n, logp in enumerate(logs)]
        yield Case(f"the same; the padding is {pad:g}", (*padded, lengths), worked)
    for trial in range(3):
        shape = int(rng.integers(2, 5)), int(rng.integers(2, 5))
        policy, old, reference = -rng.exponential(size=(3, *shape))
        ends = rng.integers(1, shape[1] + 1, size=shape[0])
        where = (
            f"random group {trial + 1}: shape {shape}, lengths {ends}; the slopes of L by finite "
            "differences"
        )
        loss_of = functools.partial(loss, old=old, reference=reference, lengths=ends)
        slopes = finite_differences(loss_of, policy, h=2e-3)
        yield Case(where, (policy, old, reference, ends), slopes)
    fresh = logs[0], logs[0], logs[2], lengths
    expected = np.log(2) * np.array([[0.5, 0.5, 0.0], [-1.0, 0.0, 0.0]])
    yield Case("the same, pi_old is pi_theta: what exercise 23 gives", fresh, expected)


def loss(policy: Array, old: Array, reference: Array, lengths: Lengths) -> float:
    """L as it is written, response by response."""
    terms = []
    for i, n in enumerate(lengths.tolist()):
        ratio = float((policy[i, :n] - reference[i, :n]).sum())
        weight = np.exp(float((policy[i, :n] - old[i, :n]).sum()))
        terms.append(float(weight * (np.exp(-ratio) - 1 + ratio)))
    return sum(terms) / len(terms)


EXERCISE = Exercise(
    name="stale_kl_in_the_loss",
    compares="the slope of the weighted KL term by each token's log-probability",
    statement=__doc__,
    reference=stale_kl_in_the_loss,
    gives=(
        "Slopes of the weighted KL term by the log-probability of each token, [K, T]; 0 after the "
        "end."
    ),
    wrong_answers={
        "constant weight": constant_weight,
        "weight only": weight_only,
        "no weight": no_weight,
        "weight inverted": weight_inverted,
        "everything by token": by_token,
        "a weight for each token": token_weights,
        "k1 weighted": k1_weighted,
        "k3 ratio inverted": k3_inverted,
        "h against pi_old": against_old,
        "pi_old and pi_ref swapped": swapped,
        "no mask": no_mask,
        "drops EOS": drops_eos,
        "weights normalised": normalised,
        "sum for mean": sums,
    },
    hints=(
        "A product has two slopes: (u k)' = u' k + u k'. By how much does u = e^{log pi_theta - "
        "log pi_old} change?",
        "u' = u, so that (u k3)' = u (k3 + k3'). Write out k3(h) + k3'(h): almost everything "
        "cancels.",
        "What is left is u_i h_i/K for every token of response i. Mask before you add up, and "
        "again at the end.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("response", 0), ("t", 1), tolerance=1e-8),
    praise="on average it is the gradient of KL(pi_theta || pi_ref), whoever drew the responses",
)
