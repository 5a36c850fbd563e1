"""Questions of the report card about gradients: equal rewards, length, noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gnivo_edu import objectives
from gnivo_edu.population import Population, gradient_covariance, point_at
from gnivo_edu.population.judge.ends import End, find_end
from gnivo_edu.population.judge.pushes import (
    population_of,
    push_along,
    push_along_rewards,
    small_tree,
)
from gnivo_edu.population.judge.report_card import Line
from gnivo_edu.population.judge.subject import Subject

NONE = 1e-6  # tokens, shares and total variations below it are 0


def equal_rewards_line(subject: Subject, sampler: str, alpha: float) -> Line:
    """Size of a tied group's gradient, over that of others, and where the mean of it points."""
    tree = small_tree(subject.tree)
    tied = small_tree(subject.tree.replace("answers", "tied"))
    tilted = tree.tilted(tree.rewards / alpha)
    sizes = []
    for answers, policy in ((tree, tree.reference), (tied, tree.reference), (tied, tilted)):
        population = population_of(subject, answers, group_size=subject.sizes[0], sampler=sampler)
        point = point_at(answers, alpha, policy=policy)
        mean, covariance = gradient_covariance(subject, population, point=point, alpha=alpha)
        # E|g|^2 = |E g|^2 + trace of the covariance: the root mean square of a group's gradient.
        sizes.append(math.sqrt(float(mean.square().sum() + covariance.trace().clamp(min=0))))
    usual = sizes[0] or 1.0
    shares = {"reference": sizes[1] / usual, "pi*": sizes[2] / usual}
    population = population_of(subject, tied, group_size=subject.sizes[0], sampler=sampler)
    score = (tied.law(tilted) / tied.law(tied.reference)).log()
    back = -push_along(subject, population, policy=tilted, score=score, alpha=alpha)
    pull = "back to the reference" if back > 0 else "further away from the reference"
    if abs(back) < NONE:
        pull = "no pull"
    at_reference, at_optimum = (f"{0 if x < NONE else x:.2g}" for x in shares.values())
    answer = (
        f"gradient of a tied group, over that of others at the reference: {at_reference} at the "
        f"reference, {at_optimum} at pi* ({pull})"
    )
    if max(shares.values()) < NONE:
        answer = "a group with equal rewards teaches nothing"
    return Line("equal rewards", answer, holds=None, numbers={**shares, "pull_to_reference": back})


def length_line(subject: Subject, home: End, alpha: float) -> Line:
    """Whether length counts among equal rewards: at its end, on ties, in its first update."""
    K, sampler = home.group_size, home.sampler
    answers = small_tree(subject.tree)
    reference = answers.law(answers.reference)
    length = answers.lengths.to(reference.dtype)
    # By how much an answer is longer than the reference's answers of the same reward.
    _, level = answers.rewards.unique(return_inverse=True)
    total, mass = (level.bincount(x) for x in (reference * length, reference))
    excess = length - (total / mass)[level]
    population = population_of(subject, answers, group_size=K, sampler=sampler)
    first = push_along(subject, population, policy=answers.reference, score=excess, alpha=alpha)
    first /= abs(push_along_rewards(subject, population, alpha=alpha, c=0.0)) or 1.0
    shift = None if home.resting_law is None else float(home.resting_law @ excess)
    tree = subject.tree.replace("answers", "tied")
    tied = find_end(subject, tree, sampler=sampler, group_size=K, alpha=alpha)
    moved = None if tied.law is None else float(tied.law @ length - reference @ length)
    decisive = [first, moved or 0.0]
    signs = [] if moved is None else [f"if all rewards are equal: {_token(moved)}"]
    if shift is not None:
        decisive = [shift] if moved is None else [shift, moved]
        signs.insert(0, f"tokens gained among answers of equal reward, at its end: {_token(shift)}")
    signs.append(f"reward per token in its first update: {_token(first)}")
    biased = any(abs(x) > NONE for x in decisive)
    side = "long" if max(decisive, key=abs) > 0 else "short"
    answer = "none among answers of equal reward"
    if biased:
        answer = f"favours {side} answers: {'; '.join(signs)}"
    numbers = {"shift": shift, "tied_shift": moved, "first_push": first}
    return Line("length bias", answer, holds=not biased, numbers=numbers)


def _token(x: float) -> str:
    return f"{x:+.2g}" if abs(x) > NONE else "0"


def noise_line(subject: Subject, alpha: float) -> Line:
    """Signal to noise |mean|^2 / trace of one group's gradient at the reference, beside RLOO's."""
    answers = small_tree("4 answers")
    numbers: dict[str, dict[str, float]] = {}
    for K in (2, 4, 8) if len(subject.sizes) > 1 else subject.sizes:
        population = Population.of(answers, K, ordered=not subject.symmetric and K < 8)
        ratio, trace = _signal(subject, population, alpha=alpha)
        rloo, _ = _signal(objectives.rloo, population, alpha=alpha)
        unscaled = trace * subject.scale**2
        numbers[str(K)] = {"trace": unscaled, "signal_to_noise": ratio, "rloo": rloo}
    ratios = [
        f"{x['rloo'] / x['signal_to_noise']:.2g} at K = {K}"
        for K, x in numbers.items()
        if x["signal_to_noise"] > 1e-12
    ]
    answer = "no signal at the reference"
    if ratios:
        answer = (
            "groups needed for RLOO's signal to noise at the reference: "
            f"{', '.join(ratios)} times as many"
        )
    return Line("gradient noise", answer, holds=None, numbers=numbers)


def _signal(
    objective: Callable[..., Any], population: Population, alpha: float
) -> tuple[float, float]:
    point = point_at(population.answers, alpha)
    mean, covariance = gradient_covariance(objective, population, point=point, alpha=alpha)
    return float(mean.square().sum() / covariance.trace()), float(covariance.trace())
