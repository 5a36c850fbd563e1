"""Exercise 11: alpha for a KL budget.

alpha says how far the best policy may go from the reference, but not in nats. Turn it round: find
the alpha that spends a given budget,

    KL(pi*_alpha || pi_ref) = sum_y pi*_alpha(y) log( pi*_alpha(y) / pi_ref(y) ) = kl_budget

The larger alpha, the closer pi* stays to the reference, so the KL falls all the way as alpha grows.

Write `alpha_for_kl_budget(logps, rewards, kl_budget) -> float`, alpha to six digits.

- `logps`, float64 [n, T]: the reference's log-probability of each of the T tokens of each of all n
  answers;
- `rewards`, float64 [n]: R(y), not all equal;
- `kl_budget`, float > 0: nats for a whole answer, chosen so that alpha lies between 0.001 and 1000.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array
from gnivo_edu.course.exercises.base import Case, Exercise, number
from gnivo_edu.course.exercises.trees import random_tables

Divergence = Callable[[Array, Array, float], float]


def alpha_for_kl_budget(logps: Array, rewards: Array, kl_budget: float) -> float:
    """The alpha at which KL(pi* || pi_ref) is the budget, reward per nat; bisection on a
    logarithmic scale.

    >>> half = np.log([[0.5], [0.5]])
    >>> # The KL of (0.1, 0.9) from (0.5, 0.5):
    >>> tenth = np.log(2) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1)
    >>> alpha = alpha_for_kl_budget(half, np.array([0.0, 1.0]), kl_budget=tenth)
    >>> bool(np.isclose(alpha, 1 / np.log(9)))
    True
    """
    reference = logps.sum(axis=1)
    low, high = 1e-3, 1e3
    for _ in range(60):
        alpha = math.sqrt(low * high)
        log_ratio = rewards / alpha - np.logaddexp.reduce(reference + rewards / alpha)
        kl = np.exp(reference + log_ratio) @ log_ratio
        if kl > kl_budget:
            low = alpha
        else:
            high = alpha
    return alpha


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def log_ratio(reference: Array, rewards: Array, alpha: float) -> Array:
    """log pi*/pi_ref of every answer [n], nats."""
    return rewards / alpha - np.logaddexp.reduce(reference + rewards / alpha)


def divergence(reference: Array, rewards: Array, alpha: float) -> float:
    """KL(pi* || pi_ref), nats."""
    ratio = log_ratio(reference, rewards, alpha)
    return float(np.exp(reference + ratio) @ ratio)


def bisect(
    measure: Divergence, logps: Array, rewards: Array, budget: float, falling: bool = True
) -> float:
    """The right search for the wrong thing: what most of the mistakes share."""
    reference, low, high = logps.sum(axis=1), 1e-3, 1e3
    for _ in range(60):
        alpha = math.sqrt(low * high)
        if (measure(reference, rewards, alpha) > budget) == falling:
            low = alpha
        else:
            high = alpha
    return alpha


def forward_kl(logps: Array, rewards: Array, kl_budget: float) -> float:
    """KL(pi_ref || pi*) is measured: the mean is over the answers of pi*, not of the reference."""
    return bisect(lambda p, r, a: -float(np.exp(p) @ log_ratio(p, r, a)), logps, rewards, kl_budget)


def per_token(logps: Array, rewards: Array, kl_budget: float) -> float:
    """the KL is divided by the number of tokens: the budget is for a whole answer."""
    return bisect(divergence, logps, rewards, kl_budget * logps.shape[1])


def wrong_direction(logps: Array, rewards: Array, kl_budget: float) -> float:
    """the search goes the wrong way, to an end of the range: a KL above the budget asks for a
    larger alpha.
    """
    return bisect(divergence, logps, rewards, kl_budget, falling=False)


def inverse(logps: Array, rewards: Array, kl_budget: float) -> float:
    """1/alpha is returned."""
    return 1 / alpha_for_kl_budget(logps, rewards, kl_budget)


def without_log_z(logps: Array, rewards: Array, kl_budget: float) -> float:
    """log Z is left out: log pi*/pi_ref is R/alpha - log Z."""
    return bisect(
        lambda p, r, a: float(np.exp(p + log_ratio(p, r, a)) @ r / a), logps, rewards, kl_budget
    )


def in_bits(logps: Array, rewards: Array, kl_budget: float) -> float:
    """the KL is measured in bits: nats take the natural logarithm."""
    return bisect(divergence, logps, rewards, kl_budget * math.log(2))


def forgets_reference(logps: Array, rewards: Array, kl_budget: float) -> float:
    """all answers count alike: sum the token log-probabilities, and weight each answer by its
    probability.
    """
    return bisect(
        divergence, np.full((len(rewards), 1), -math.log(len(rewards))), rewards, kl_budget
    )


def last_token(logps: Array, rewards: Array, kl_budget: float) -> float:
    """only the last token's log-probability is used: an answer's is the sum over its tokens."""
    law = logps[:, -1:] - np.logaddexp.reduce(logps[:, -1])
    return bisect(divergence, law, rewards, kl_budget)


def coarse_grid(logps: Array, rewards: Array, kl_budget: float) -> float:
    """the search is too coarse: halve the interval until alpha has six digits."""
    grid = np.geomspace(1e-3, 1e3, 301)
    kls = [divergence(logps.sum(axis=1), rewards, alpha) for alpha in grid]
    return float(grid[np.argmin(np.abs(np.array(kls) - kl_budget))])


def linear_scale(logps: Array, rewards: Array, kl_budget: float) -> float:
    """the interval is halved on a linear scale and too seldom: a small alpha has few digits then.
    Six digits are asked for of a small one, too.
    """
    low, high = 1e-3, 1e3
    for _ in range(33):
        alpha = (low + high) / 2
        if divergence(logps.sum(axis=1), rewards, alpha) > kl_budget:
            low = alpha
        else:
            high = alpha
    return alpha


def overflows(logps: Array, rewards: Array, kl_budget: float) -> float:
    """e^{R/alpha} overflows: take the largest exponent out of the sum (np.logaddexp.reduce)."""

    def measure(p: Array, r: Array, alpha: float) -> float:
        weights = np.exp(p) * np.exp(r / alpha)
        return float(weights / weights.sum() @ (r / alpha - np.log(weights.sum())))

    return bisect(measure, logps, rewards, kl_budget)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Four answers by hand, rewards shifted and doubled, random trees at a known alpha, then the
    limits.
    """
    logps = np.log([[0.8, 0.5], [0.8, 0.5], [0.2, 0.25], [0.2, 0.75]])
    rewards = np.array([0.0, 0.0, 0.0, 1.0])
    best = (
        0.15 * np.exp(2) / (0.85 + 0.15 * np.exp(2))
    )  # pi* of the one right answer at alpha = 0.5
    budget = float(best * np.log(best / 0.15) + (1 - best) * np.log((1 - best) / 0.85))
    where = (
        "four answers of two tokens, one of them right (probability 0.15), a budget of "
        f"{budget:.6g} nats"
    )
    yield Case(where, (logps, rewards, budget), 0.5)
    yield Case("the same, every reward raised by 3", (logps, rewards + 3, budget), 0.5)
    yield Case("the same, every reward doubled: alpha doubles", (logps, 2 * rewards, budget), 1.0)
    for vocab_size, horizon in ((2, 3), (3, 2), (4, 2)):
        tables = random_tables(rng, vocab_size, horizon)
        drawn = rng.uniform(size=vocab_size**horizon)
        numbers = [np.arange(len(drawn)) // vocab_size ** (horizon - 1 - t) for t in range(horizon)]
        tokens = np.stack(
            [table.ravel()[n] for table, n in zip(tables, numbers, strict=True)], axis=1
        )
        alpha = round(float(rng.uniform(0.1, 3)), 3)
        budget = divergence(tokens.sum(axis=1), drawn, alpha)
        where = (
            f"a random tree, {len(drawn)} answers of {horizon} tokens, a budget of {budget:.6g} "
            "nats"
        )
        yield Case(where, (tokens, drawn, budget), alpha)
    near = np.array([1.0, 0.97, 0.0, 0.5])
    high = near + 20
    yield Case(
        "four answers with rewards 21, 20.97, 20, 20.5, the budget of alpha 0.02",
        (logps, high, divergence(logps.sum(axis=1), near, 0.02)),
        0.02,
    )
    for alpha in (50.0, 0.01):
        budget = divergence(logps.sum(axis=1), near, alpha)
        where = f"four answers with rewards 1, 0.97, 0, 0.5, a budget of {budget:.6g} nats"
        yield Case(where, (logps, near, budget), alpha)


def difference(got: float, expected: float) -> str | None:
    """How two temperatures differ by more than a millionth of the expected one, or None."""
    if abs(got - expected) <= 1e-6 * expected:
        return None
    return f"expected alpha {expected:.10g}, got {got:.10g}"


EXERCISE = Exercise(
    name="alpha_for_kl_budget",
    compares="the alpha that spends the KL budget, in reward per nat",
    statement=__doc__,
    reference=alpha_for_kl_budget,
    gives="The alpha at which KL(pi* || pi_ref) is the budget.",
    wrong_answers={
        "forward KL": forward_kl,
        "per-token KL": per_token,
        "wrong monotonicity": wrong_direction,
        "returns 1/alpha": inverse,
        "forgets log Z": without_log_z,
        "KL in bits": in_bits,
        "forgets pi_ref": forgets_reference,
        "last token for the answer": last_token,
        "too coarse a search": coarse_grid,
        "too coarse on a linear scale": linear_scale,
        "overflow": overflows,
    },
    hints=(
        "First write the KL at one alpha: log pi*/pi_ref of an answer is R/alpha - log Z. Average "
        "it under pi*.",
        "The KL falls as alpha grows. If it is above the budget at some alpha, do you want a "
        "larger one or a smaller?",
        "Bisect: start with 0.001 and 1000, try the geometric mean, and keep the half in which "
        "the budget is met.",
    ),
    cases=cases,
    parse=number,
    difference=difference,
    praise="pi* then spends the budget, no more and no less",
)
