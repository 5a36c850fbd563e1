"""Exercise 20: generalised advantage estimation.

A critic V has guessed, before every token, what is still to come. GAE adds up by how much each
token changed its mind, the further ahead the less,

    delta_t = r_t + gamma V_{t+1} - V_t,        A_t = sum_{l >= t} (gamma lam)^{l - t} delta_l

V_t stands before token t. After a response's last token nothing is to come: there V is 0, cut off
or not. The sum ends with the response. At padding, A is 0.

Write `gae(rewards, values, mask, gamma, lam) -> float64 [K, T]`.

- `rewards`, `values`, float64 [K, T]: r_t and V_t of each token of K responses, in units of reward;
- `mask`, bool [K, T]: True for the tokens of a response, its end token included, then False for the
  padding. What stands in `rewards` and `values` there means nothing, and may be any number or nan;
- `gamma`, `lam`, float in 0..1.

Source: Schulman et al., arXiv 1506.02438.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise

Mask = NDArray[np.bool_]


def gae(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """sum_{l >= t} (gamma lam)^(l - t) (r_l + gamma V_{l+1} - V_l), [K, T], reward units; 0 at
    padding.

    >>> rewards, values = np.array([[0.0, 1.0, 7.0]]), np.array([[0.5, 0.25, 7.0]])
    >>> gae(rewards, values, np.array([[True, True, False]]), gamma=1.0, lam=0.5)
    array([[0.125, 0.75 , 0.   ]])
    """
    rewards, values = np.where(mask, rewards, 0.0), np.where(mask, values, 0.0)
    after = np.pad(values[:, 1:], ((0, 0), (0, 1)))
    advantages = rewards + gamma * after - values
    for t in reversed(range(mask.shape[1] - 1)):
        advantages[:, t] += gamma * lam * advantages[:, t + 1]
    return advantages


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def following(values: Array) -> Array:
    """V_{t+1} [K, T], 0 in the last column."""
    return np.concatenate([values[:, 1:], np.zeros((len(values), 1))], axis=1)


def suffix_sums(delta: Array, mask: Mask, discount: float) -> Array:
    """sum_{l >= t} discount^(l - t) delta_l over the tokens of each response: the right sum of
    wrong residuals.
    """
    found, total = np.zeros(mask.shape), np.zeros(len(mask))
    for t in reversed(range(mask.shape[1])):
        total = np.where(mask[:, t], delta[:, t] + discount * total, 0.0)
        found[:, t] = total
    return found


def past_the_end(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """V after the last token is read from the padding: no token is left, so it is 0."""
    return suffix_sums(rewards + gamma * following(values) - values, mask, gamma * lam)


def repeats_last(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """V after the last token is the last V once more: no token is left, so it is 0."""
    goes_on = np.concatenate([mask[:, 1:], np.zeros((len(mask), 1), dtype=bool)], axis=1)
    after = np.where(goes_on, following(values), values)
    return suffix_sums(rewards + gamma * after - values, mask, gamma * lam)


def forward(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """the sum runs over the tokens up to t: a token answers for what comes after it, so start at
    the end.
    """
    delta = suffix_sums(
        rewards + gamma * following(np.where(mask, values, 0.0)) - values, mask, 0.0
    )
    for t in range(1, mask.shape[1]):
        delta[:, t] += np.where(mask[:, t], gamma * lam * delta[:, t - 1], 0.0)
    return delta


def lambda_one(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """lam is 1 whatever is asked for: the residuals l - t tokens ahead are to be multiplied by
    (gamma lam)^(l - t).
    """
    return gae(rewards, values, mask, gamma, 1.0)


def residuals(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """delta_t alone is returned: add the later ones, discounted."""
    return gae(rewards, values, mask, gamma, 0.0)


def no_mask(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """the mask is not used: padding is no token, and what stands there must not enter."""
    return gae(rewards, values, np.ones_like(mask), gamma, lam)


def masked_at_the_end(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """the mask is applied to the result only: by then the padding has been added to every token
    before it.
    """
    return np.where(mask, gae(rewards, values, np.ones_like(mask), gamma, lam), 0.0)


def masked_by_product(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """padding is multiplied by 0, and 0 * nan is nan: choose with np.where."""
    return gae(rewards * mask, values * mask, np.ones_like(mask), gamma, lam)


def no_gamma(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """gamma is 1 whatever is asked for: it discounts V_{t+1}, and the later residuals."""
    return gae(rewards, values, mask, 1.0, lam)


def lambda_alone(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """later residuals are discounted by lam alone: each token further ahead costs gamma lam."""
    return suffix_sums(rewards + gamma * following(np.where(mask, values, 0.0)) - values, mask, lam)


def undiscounted_next(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """V_{t+1} is not multiplied by gamma in delta."""
    return suffix_sums(rewards + following(np.where(mask, values, 0.0)) - values, mask, gamma * lam)


def without_next(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """V_{t+1} is missing from delta: a token is also good for what it leads to."""
    return suffix_sums(rewards - values, mask, gamma * lam)


def without_value(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """V_t is not subtracted: an advantage is what the critic had not expected."""
    return suffix_sums(rewards + gamma * following(np.where(mask, values, 0.0)), mask, gamma * lam)


def returns(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """A_t + V_t is returned, what the critic is fitted to: the advantage is A_t."""
    return gae(rewards, values, mask, gamma, lam) + np.where(mask, values, 0.0)


def sign(rewards: Array, values: Array, mask: Mask, gamma: float, lam: float) -> Array:
    """delta has the wrong sign: better than V_t is to be positive."""
    return -gae(rewards, values, mask, gamma, lam)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Two responses by hand, the same with other padding, random ones term by term, then the
    limits.
    """
    rewards = np.array([[0.0, -0.5, 1.0], [0.25, 2.0, 7.0]])
    values = np.array([[0.5, 1.0, 0.25], [1.5, 0.5, 5.0]])
    mask = np.array([[True, True, True], [True, True, False]])
    # delta is 0.3, -1.3, 0.75 and -0.85, 1.5; gamma lam is 0.4
    worked = np.array([[-0.1, -1.0, 0.75], [-0.25, 1.5, 0.0]])
    where = "responses of 3 and 2 tokens in 3 columns, gamma 0.8, lam 0.5"
    yield Case(where, (rewards, values, mask, 0.8, 0.5), worked)
    for pad in (0.0, -1e6, np.nan):
        padded = np.where(mask, rewards, pad), np.where(mask, values, pad), mask, 0.8, 0.5
        yield Case(f"the same; the padding is {pad:g}", padded, worked)
    yield Case(
        "the second response in 2 columns",
        (rewards[1:, :2], values[1:, :2], mask[1:, :2], 0.8, 0.5),
        worked[1:, :2],
    )
    for trial in range(3):
        shape = int(rng.integers(2, 5)), int(rng.integers(3, 7))
        paid, guesses = rng.normal(size=shape), rng.normal(size=shape)
        lengths = rng.integers(1, shape[1] + 1, size=shape[0])
        gamma, lam = round(float(rng.uniform(0.5, 1)), 3), round(float(rng.uniform(0.2, 0.95)), 3)
        expected = term_by_term(paid, guesses, lengths, gamma, lam)
        where = f"random responses {trial + 1}: lengths {lengths}, gamma {gamma}, lam {lam}"
        yield Case(
            where, (paid, guesses, np.arange(shape[1]) < lengths[:, None], gamma, lam), expected
        )
    to_go = np.array(
        [[0.5 - values[0, 0], 0.5 - values[0, 1], 1 - values[0, 2]], [2.25 - 1.5, 2.0 - 0.5, 0.0]]
    )
    yield Case(
        "gamma 1, lam 1: all that is still to come, minus V",
        (rewards, values, mask, 1.0, 1.0),
        to_go,
    )
    deltas = np.array([[0.3, -1.3, 0.75], [-0.85, 1.5, 0.0]])
    yield Case("gamma 0.8, lam 0: delta alone", (rewards, values, mask, 0.8, 0.0), deltas)
    knowing = np.array([[0.5, 0.5, 1.0], [2.25, 2.0, 7.0]])
    yield Case(
        "V has foreseen everything, gamma 1, lam 0.9",
        (rewards, knowing, mask, 1.0, 0.9),
        np.zeros((2, 3)),
    )


def term_by_term(
    rewards: Array, values: Array, lengths: NDArray[np.int64], gamma: float, lam: float
) -> Array:
    """The double sum as it is written, one term after another."""
    found = np.zeros(rewards.shape)
    for i, length in enumerate(lengths):
        v = np.append(values[i, :length], 0.0)
        for t in range(length):
            terms = (rewards[i, u] + gamma * v[u + 1] - v[u] for u in range(t, length))
            found[i, t] = sum((gamma * lam) ** ahead * delta for ahead, delta in enumerate(terms))
    return found


EXERCISE = Exercise(
    name="gae",
    compares="the generalised advantage of every token, in units of reward",
    statement=__doc__,
    reference=gae,
    gives="sum_{l >= t} (gamma lam)^(l - t) (r_l + gamma V_{l+1} - V_l), [K, T]; 0 at padding.",
    wrong_answers={
        "bootstraps past the end": past_the_end,
        "repeats the last V": repeats_last,
        "accumulates forward": forward,
        "lambda fixed at 1": lambda_one,
        "delta alone": residuals,
        "no mask": no_mask,
        "mask on the result only": masked_at_the_end,
        "padding times 0": masked_by_product,
        "gamma fixed at 1": no_gamma,
        "lam for gamma lam": lambda_alone,
        "next V undiscounted": undiscounted_next,
        "next V missing": without_next,
        "V not subtracted": without_value,
        "A + V": returns,
        "sign": sign,
    },
    hints=(
        "With rewards and values put to 0 at padding, what is V after the last token? And delta "
        "there?",
        "delta is `rewards + gamma * after - values`, where `after` is `values` moved one column "
        "to the left, with 0s "
        "in the last one.",
        "Start at the last column and go back: A_t = delta_t + gamma * lam * A_{t+1}. At padding "
        "all deltas are 0.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("response", 0), ("token", 1)),
    praise="every token answers for what comes after it, and nothing comes after the end",
)
