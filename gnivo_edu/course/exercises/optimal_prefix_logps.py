"""Exercise 7: the best policy's probability of a prefix.

Theorem 1 of GN-IVO. Along an answer y_1 ... y_T, with s_t the state after t tokens, the factor
missing between the reference and the best policy is e^V,

    pi*(s_t) = pi_ref(s_t) e^{V(s_t)} / Z,        Z = e^{V(s_0)},   V(s_T) = R/alpha

Write `optimal_prefix_logps(logps, values, reward, alpha) -> float64 [T]`: log pi*(s_t) for t = 1
... T, in nats.

- `logps`, float64 [T]: log pi_ref(y_t | s_{t-1}), the reference's log-probability of each token of
  the answer;
- `values`, float64 [T]: V(s_0), ..., V(s_{T-1}), in nats: the states before each token. V(s_T) is
  yours to add;
- `reward`, float: R(y), in units of reward;
- `alpha`, float > 0: the temperature, reward per nat.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.course.exercises.trees import random_walk


def optimal_prefix_logps(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """log pi*(s_t) = log pi_ref(s_t) + V(s_t) - V(s_0), t = 1..T, [T], nats.

    >>> values = np.log([0.75 + 0.25 * np.exp(2)])
    >>> one_token = optimal_prefix_logps(np.log([0.25]), values, reward=1.0, alpha=0.5)
    >>> np.exp(one_token).round(4)  # 0.25 e^2 / (0.75 + 0.25 e^2)
    array([0.7112])
    """
    values = np.append(values, reward / alpha)
    return np.cumsum(logps) + values[1:] - values[0]


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def no_z(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """log Z = V(s_0) is not subtracted."""
    return optimal_prefix_logps(logps, values, reward, alpha) + values[0]


def childs_value(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """V(s_{t+1}) stands for V(s_t), one token too far."""
    values = np.append(values, [reward / alpha] * 2)
    return np.cumsum(logps) + values[2:] - values[0]


def parents_value(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """V(s_{t-1}) stands for V(s_t): `values` starts at s_0, and its last one, V(s_T) = R/alpha, is
    yours to add.
    """
    return np.cumsum(logps) + values - values[0]


def next_token(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """the probability of one token stands for that of the prefix: multiply all the tokens up to t
    (cumsum).
    """
    return logps + np.append(values[1:], reward / alpha) - values[0]


def step_for_prefix(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """log pi* of each token is returned: add them up to get the prefix."""
    return logps + np.diff(np.append(values, reward / alpha))


def previous_value_subtracted(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """V(s_{t-1}) is subtracted where log Z = V(s_0) belongs: a whole prefix is measured from the
    beginning.
    """
    return np.cumsum(logps) + np.diff(np.append(values, reward / alpha))


def prefix_without_last_token(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """the prefix's last token is left out of its probability: s_t has t tokens."""
    return optimal_prefix_logps(logps, values, reward, alpha) - logps


def reward_units(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """V is multiplied by alpha: that puts it in units of reward, but exponents are in nats."""
    return optimal_prefix_logps(logps, alpha * values, alpha * reward, alpha)


def reward_undivided(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """V(s_T) = R instead of R/alpha: the reward has to be put in nats."""
    return optimal_prefix_logps(logps, values, reward, 1.0)


def values_divided_again(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """V is divided by alpha: it is in nats already, alpha is in it."""
    return optimal_prefix_logps(logps, values / alpha, reward, alpha)


def probabilities(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """probabilities are returned: the answer is their logarithm."""
    return np.exp(optimal_prefix_logps(logps, values, reward, alpha))


def underflows(logps: Array, values: Array, reward: float, alpha: float) -> Array:
    """probabilities are multiplied before the logarithm is taken: that of a long prefix is no float
    any more. Add logarithms.
    """
    values = np.append(values, reward / alpha)
    return np.log(np.cumprod(np.exp(logps))) + values[1:] - values[0]


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """An answer of two tokens by hand, random answers with pi* counted from all answers, then the
    limits.
    """
    after = 0.7 + 0.3 * np.exp(2)  # E_ref[e^{R/alpha}] after the first token
    total = 0.4 + 0.6 * after
    worked = np.log([0.6 * after / total, 0.18 * np.exp(2) / total])
    arguments = (np.log([0.6, 0.3]), np.log([total, after]), 1.0, 0.5)
    yield Case(
        "two tokens of probability 0.6 and 0.3, reward 1 (every other answer: 0), alpha 0.5",
        arguments,
        worked,
    )
    raised = (arguments[0], arguments[1] + 6, 4.0, 0.5)
    yield Case("the same, every reward raised by 3: all values rise by 6", raised, worked)
    other = (np.log([0.6, 0.7]), np.log([total, after]), 0.0, 0.5)
    expected = np.log([0.6 * after / total, 0.42 / total])
    yield Case("its unrewarded brother, probabilities 0.6 and 0.7, alpha 0.5", other, expected)
    for trial in range(4):
        vocab_size, horizon = int(rng.integers(2, 4)), int(rng.integers(1, 5))
        alpha = (round(float(rng.uniform(0.2, 2)), 3), 0.001)[trial == 3]
        where = f"random answer {trial + 1}: V = {vocab_size}, T = {horizon}, alpha {alpha}"
        walk = random_walk(rng, vocab_size, horizon, alpha)
        yield Case(where, (walk.logps, walk.values, walk.reward, alpha), walk.optimal_logps)
    steps = np.arange(1, 801)
    rising = (np.full(800, -2.0), 0.001 * np.arange(800), 0.4, 0.5)
    yield Case("800 tokens of -2 nats, V rising by 0.001 at each", rising, -1.999 * steps)
    flat = (np.log([0.5, 0.25, 0.5]), np.zeros(3), 0.0, 0.5)
    yield Case("nothing is rewarded: pi* is the reference", flat, np.log([0.5, 0.125, 0.0625]))


EXERCISE = Exercise(
    name="optimal_prefix_logps",
    compares="log pi*(s_t) of the prefixes of one answer, in nats",
    statement=__doc__,
    reference=optimal_prefix_logps,
    gives="log pi*(s_t), t = 1..T, [T], nats.",
    wrong_answers={
        "no Z": no_z,
        "child's V": childs_value,
        "parent's V": parents_value,
        "next token instead of prefix": next_token,
        "pi* of the token instead of the prefix": step_for_prefix,
        "V(s_{t-1}) for log Z": previous_value_subtracted,
        "prefix without its last token": prefix_without_last_token,
        "V in reward units": reward_units,
        "R for R/alpha at the end": reward_undivided,
        "V divided by alpha": values_divided_again,
        "probabilities for log-probabilities": probabilities,
        "underflow of long prefixes": underflows,
    },
    hints=(
        "Take the logarithm of the theorem: a product of three factors becomes a sum of three "
        "terms.",
        "log pi_ref(s_t) is the sum of the first t entries of `logps` (np.cumsum), and log Z is "
        "`values[0]`.",
        "V(s_1) ... V(s_T) is `np.append(values[1:], reward / alpha)`: the last one is the "
        "reward, in nats.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("t", 1)),
    praise="e^V is the missing factor at every prefix, up to the complete answer",
)
