"""Exercise 28: where GRPO comes to rest.

GRPO with k3 in the loss pays for KL(pi_ref || pi), the KL the other way round. Take answers of one
step, and hold the advantages A(y) fixed: its updates stop where

    J(pi) = sum_y pi(y) A(y) - alpha sum_y pi_ref(y) log( pi_ref(y) / pi(y) )

is largest among all laws pi. There no probability is better moved from one answer to another: the
slope of J, A(y) + alpha pi_ref(y)/pi(y), is one number lambda for all answers, and so

    pi(y) = alpha pi_ref(y) / (lambda - A(y))

with lambda such that every pi(y) is positive and their sum is 1. This is no exponential tilt. A
number added to all A(y) is added to lambda too and leaves pi alone. So find lambda.

Write `grpo_one_step_law(advantages, reference, alpha) -> float64 [n]`, pi(y) of all n answers to
six digits.

- `advantages`, float64 [n]: A(y), in units of reward; their mean may be any number, under any law;
- `reference`, float64 [n]: the probabilities pi_ref(y), all positive, with sum 1;
- `alpha`, float > 0: the temperature, reward per nat; it may be as small as 0.001.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.course.exercises.best_of_k_law import law_difference


def grpo_one_step_law(advantages: Array, reference: Array, alpha: float) -> Array:
    """alpha pi_ref/(lambda - A) [n], lambda by bisection between max A and max A + alpha.

    >>> grpo_one_step_law(np.array([0.0, 1.5]), np.array([0.5, 0.5]), alpha=2.0).round(6)
    array([0.333333, 0.666667])
    """
    behind = advantages.max() - advantages
    low, high = (
        0.0,
        alpha,
    )  # lambda - max A: at alpha no answer has more than pi_ref, at 0 the best has too much
    for _ in range(100):
        middle = (low + high) / 2
        law = alpha * reference / (middle + behind)
        if law.sum() > 1:
            low = middle
        else:
            high = middle
    return law


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def exponential_tilt(advantages: Array, reference: Array, alpha: float) -> Array:
    """pi_ref e^{A/alpha} is normalised: that answers KL(pi || pi_ref), and k3 in the loss pays for
    the other one.
    """
    tilted = reference * np.exp((advantages - advantages.max()) / alpha)
    return np.asarray(tilted / tilted.sum())


def without_normalisation(advantages: Array, reference: Array, alpha: float) -> Array:
    """lambda is taken to be alpha: that holds only if the mean of A under pi itself is 0."""
    return np.asarray(alpha * reference / (alpha - advantages))


def rescaled(advantages: Array, reference: Array, alpha: float) -> Array:
    """lambda is taken to be alpha, and the result divided by its sum: then the slopes are not all
    the same.
    """
    law = without_normalisation(advantages, reference, alpha)
    return np.asarray(law / law.sum())


def centred_under_reference(advantages: Array, reference: Array, alpha: float) -> Array:
    """A is centred under pi_ref and lambda is taken to be alpha: it is the mean under pi that would
    have to be 0.
    """
    return without_normalisation(advantages - reference @ advantages, reference, alpha)


def centred_plainly(advantages: Array, reference: Array, alpha: float) -> Array:
    """the plain mean of A is subtracted and lambda is taken to be alpha: it is the mean under pi
    that counts.
    """
    return without_normalisation(advantages - advantages.mean(), reference, alpha)


def sign_of_a(advantages: Array, reference: Array, alpha: float) -> Array:
    """A has the wrong sign, as in pi_ref/(lambda + A): a larger advantage is to mean a larger
    probability.
    """
    return grpo_one_step_law(-advantages, reference, alpha)


def wrong_branch(advantages: Array, reference: Array, alpha: float) -> Array:
    """lambda lies below the largest A: the sum is 1 there too, but pi of the best answer is
    negative.
    """
    second, best = (
        np.unique(advantages)[-2:] if np.ptp(advantages) > 0 else (advantages[0] - 1, advantages[0])
    )
    low, high = second, best
    for _ in range(100):
        middle = (low + high) / 2
        law = alpha * reference / (middle - advantages)
        low, high = (middle, high) if law.sum() > 1 else (low, middle)
    return np.asarray(law)


def forgets_alpha(advantages: Array, reference: Array, alpha: float) -> Array:
    """alpha is left out, and lambda found for alpha = 1."""
    return grpo_one_step_law(advantages, reference, 1.0)


def alpha_upside_down(advantages: Array, reference: Array, alpha: float) -> Array:
    """alpha multiplies A, as if it were 1/alpha: a small alpha is to move pi further from the
    reference, not less.
    """
    return grpo_one_step_law(advantages, reference, 1 / alpha)


def forgets_reference(advantages: Array, reference: Array, alpha: float) -> Array:
    """pi_ref is left out, every answer counting alike."""
    return grpo_one_step_law(advantages, np.full_like(reference, 1 / len(reference)), alpha)


def greedy(advantages: Array, reference: Array, alpha: float) -> Array:
    """the answer of the largest A gets everything: the KL holds on to all the others."""
    return np.asarray((advantages == advantages.max()).astype(np.float64))


def logarithms(advantages: Array, reference: Array, alpha: float) -> Array:
    """log-probabilities are returned: the answer is probabilities."""
    return np.asarray(np.log(grpo_one_step_law(advantages, reference, alpha)))


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Laws chosen first and the advantages that lead to them, A = lambda - alpha pi_ref/pi: no
    search is needed.
    """
    reference, law = np.array([0.25, 0.5, 0.25]), np.array([0.5, 0.4, 0.1])
    advantages = 0.5 * (2.0 - reference / law)  # 0.75, 0.375, -0.25 with lambda = 1
    where = "reference 0.25 0.5 0.25, A 0.75 0.375 -0.25, alpha 0.5"
    yield Case(where, (advantages, reference, 0.5), law)
    yield Case("the same, every A raised by 3", (advantages + 3, reference, 0.5), law)
    yield Case(
        "the same, every A lowered by 0.5, so that their mean under pi is 0",
        (advantages - 0.5, reference, 0.5),
        law,
    )
    yield Case("the same, A and alpha doubled", (2 * advantages, reference, 1.0), law)
    yield Case("the same, answers in reverse", (advantages[::-1], reference[::-1], 0.5), law[::-1])
    for trial in range(3):
        size = int(rng.integers(2, 7))
        alpha = round(float(rng.uniform(0.05, 2)), 3)
        shift = rng.normal()
        drawn, wanted = rng.dirichlet(np.full(size, 2.0), size=2)
        where = f"random law {trial + 1}: {size} answers, alpha {alpha}"
        yield Case(where, (shift - alpha * drawn / wanted, drawn, alpha), wanted)
    yield Case("all A equal: the reference", (np.full(3, -0.75), reference, 0.5), reference)
    sharp = np.array([0.998, 0.001, 0.001])
    where = "alpha 0.001, A about 0, -0.5 and -0.25: nearly all on the best answer, and not all"
    yield Case(where, (-0.001 * reference / sharp, reference, 0.001), sharp)


EXERCISE = Exercise(
    name="grpo_one_step_law",
    compares="the law at which GRPO with k3 comes to rest",
    statement=__doc__,
    reference=grpo_one_step_law,
    gives="alpha pi_ref/(lambda - A) [n], with the lambda that makes it a law.",
    wrong_answers={
        "exponential tilt": exponential_tilt,
        "no normalisation": without_normalisation,
        "rescaled afterwards": rescaled,
        "centred under pi_ref": centred_under_reference,
        "centred by the plain mean": centred_plainly,
        "sign of A": sign_of_a,
        "wrong branch": wrong_branch,
        "alpha left out": forgets_alpha,
        "alpha upside down": alpha_upside_down,
        "forgets pi_ref": forgets_reference,
        "greedy": greedy,
        "log-probabilities for probabilities": logarithms,
    },
    hints=(
        "No pi(y) is negative if lambda is larger than the largest A. How does their sum change "
        "as lambda grows?",
        "It falls. Just above max A the sum is large; at max A + alpha no pi(y) exceeds "
        "pi_ref(y), so it is at most 1.",
        "Bisect lambda between max A and max A + alpha: where the sum is above 1, lambda has to "
        "grow.",
    ),
    cases=cases,
    parse=array,
    difference=law_difference(1e-6),
    praise="the sum is 1, and no probability is better moved from one answer to another",
)
