"""The smallest tree with rational numbers on which an objective does not stop at the optimal
policy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import torch

from gnivo_edu.exact.tree import TokenTree
from gnivo_edu.population.answers import Answers, total_variation
from gnivo_edu.population.expectation import expect, point_at
from gnivo_edu.population.groups import Point, Population, sampling_policy
from gnivo_edu.population.judge.ends import SAMPLERS, attracts, law_at, optimum_of
from gnivo_edu.population.judge.subject import LIVE, Subject
from gnivo_edu.population.roots import rest

ALPHA = 1 / math.log(
    4
)  # then e^{R/alpha} = 4^R, which is 1, 2, 4 for the rewards 0, 1/2, 1: pi* is rational
CHANCES = tuple(Fraction(a, b) for a, b in ((1, 2), (1, 3), (2, 3), (1, 4), (3, 4)))
REWARDS = (Fraction(0), Fraction(1, 2), Fraction(1))
WEIGHT = {Fraction(0): 1, Fraction(1, 2): 2, Fraction(1): 4}
NOT_ZERO = 1e-9  # of the typical push of a group
Fractions = tuple[Fraction, ...]


@dataclass(frozen=True)
class RationalTree:
    """Two tokens; `chances`, of the first token in each state (root, after 0, after 1); `rewards`
    of the answers.

    Two answers: one token. Three: token 1 ends the answer, or the second token does. Four: two
    tokens."""

    chances: Fractions
    rewards: Fractions

    @property
    def names(self) -> tuple[str, ...]:
        """Its answers, spelled in a and b; `.` is the token that ends one."""
        return {2: ("a", "b"), 3: ("aa", "a.", "."), 4: ("aa", "ab", "ba", "bb")}[len(self.rewards)]

    @property
    def reference(self) -> Fractions:
        """Probability of each answer under the reference."""
        p = self.chances
        if len(p) == 1:
            return (p[0], 1 - p[0])
        first = (p[0] * p[1], p[0] * (1 - p[1]))
        return (
            (*first, 1 - p[0])
            if len(p) == 2
            else (*first, (1 - p[0]) * p[2], (1 - p[0]) * (1 - p[2]))
        )

    @property
    def optimum(self) -> Fractions:
        """pi* = pi_ref 4^R/Z, exactly."""
        mass = [p * WEIGHT[r] for p, r in zip(self.reference, self.rewards, strict=True)]
        return tuple(m / sum(mass) for m in mass)

    @property
    def size(self) -> tuple[int, ...]:
        """By what trees are ordered: answers, then numbers that are neither a fair coin nor 0, then
        denominators.
        """
        coins = sum(p != Fraction(1, 2) for p in self.chances)
        numbers = (*self.chances, *self.rewards)
        return (
            len(self.rewards),
            coins + sum(r != 0 for r in self.rewards),
            sum(x.denominator for x in numbers),
        )

    def answers(self) -> Answers:
        """The same tree in float64."""
        rows = [[math.log(p), math.log(1 - p)] for p in self.chances]
        rewards = [float(r) for r in self.rewards]
        T = 1 if len(rows) == 1 else 2
        if len(rows) == 2:  # after the end only the end: token 1
            rows.append([-math.inf, 0.0])
            rewards = [*rewards[:2], 0.0, rewards[2]]
        tables = [np.array(rows[:1]), np.array(rows[1:])][:T]
        return Answers.of(
            TokenTree(2, T, 1 if len(self.rewards) == 3 else None, tables, np.array(rewards))
        )


def family() -> list[RationalTree]:
    """All trees of the search, the smallest first; of two that differ by renaming tokens, one.

    >>> trees = family()
    >>> len(trees), trees[-1].names
    (1836, ('aa', 'ab', 'ba', 'bb'))
    """
    pairs = sorted(set(_pairs()))
    trees = [RationalTree((p,), r) for p, r in pairs]
    trees += [
        RationalTree((q, p), (*r, end)) for q, (p, r), end in product(CHANCES, pairs, REWARDS)
    ]
    for q, left, right in product(CHANCES, pairs, pairs):
        if (q, left, right) <= (1 - q, right, left):
            trees.append(RationalTree((q, left[0], right[0]), (*left[1], *right[1])))
    return sorted(trees, key=lambda tree: tree.size)


def _pairs() -> Iterator[tuple[Fraction, Fractions]]:
    """One coin and two rewards, up to exchanging the sides."""
    for p, a, b in product(CHANCES, REWARDS, REWARDS):
        yield min((p, (a, b)), (1 - p, (b, a)))


@dataclass(frozen=True)
class Counterexample:
    """A tree where the expected gradient at pi* is not zero.

    `gradient`: of the expected loss at pi*, by the log-odds of the first token in each state,
    float64, or of each entry of an explicit value; `exact`: the same as fractions, where every
    group's slope is a small fraction. `end`: the probability of each answer where the objective
    comes to rest, None if nowhere; `tv` from pi*."""

    tree: RationalTree
    sampler: str
    gradient: tuple[float, ...]
    exact: Fractions | None
    end: tuple[float, ...] | None
    tv: float | None
    policy: bool = True

    def to_json(self) -> dict[str, Any]:
        """Fractions as text, "1/3"."""
        tree = self.tree
        texts = {
            "chances": tree.chances,
            "rewards": tree.rewards,
            "reference": tree.reference,
            "optimum": tree.optimum,
        }
        return {
            "answers": list(tree.names),
            **{name: [str(x) for x in numbers] for name, numbers in texts.items()},
            "alpha": ALPHA,
            "sampler": self.sampler,
            "group_size": 2,
            "gradient_at_optimum": list(self.gradient),
            "gradient_at_optimum_exact": None
            if self.exact is None
            else [str(x) for x in self.exact],
            "end": None if self.end is None else list(self.end),
            "tv": self.tv,
        }


@dataclass(frozen=True)
class Search:
    """What a search found, and how many of the family's trees it tried."""

    sampler: str
    found: Counterexample | None
    tried: int
    of: int

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and texts."""
        found = self.found and self.found.to_json()
        return {"sampler": self.sampler, "tried": self.tried, "of": self.of, "found": found}


def search(subject: Subject, sampler: str, deadline: float = math.inf) -> Search:
    """Go through the family, the smallest tree first, until the expected gradient at pi* is not
    zero (K = 2).

    Two tokens, at most two long, at alpha = 1/log 4. `deadline`, by time.monotonic(), ends the
    search early."""
    trees = family()
    for i, tree in enumerate(trees):
        if time.monotonic() > deadline:
            return Search(sampler, None, i, len(trees))
        answers = tree.answers()
        population = Population.of(answers, 2, SAMPLERS[sampler], ordered=not subject.symmetric)
        optimum = optimum_of(answers, ALPHA)
        gradient = expect(subject, population, optimum, alpha=ALPHA).gradient
        judged = (
            "logits" if "logits" in subject.free else "prefix_values"
        )  # a critic only serves the policy
        if float(gradient[judged].abs().max()) > NOT_ZERO:
            return Search(
                sampler, _describe(subject, tree, sampler, population, optimum), i + 1, len(trees)
            )
    return Search(sampler, None, len(trees), len(trees))


def _describe(
    subject: Subject, tree: RationalTree, sampler: str, population: Population, optimum: Point
) -> Counterexample:
    own = replace(subject, scale=1.0)
    gradient = expect(own, population, optimum, alpha=ALPHA).gradient
    policy = "logits" in subject.free
    legal = population.answers.legal[:, 0]
    numbers = gradient["logits"][legal, 0] if policy else gradient["prefix_values"]
    exact = _in_fractions(own, population, optimum) if policy else None
    if exact is not None and not np.allclose(
        [float(x) for x in exact], numbers, rtol=1e-9, atol=1e-12
    ):
        exact = None
    answers = population.answers
    start = replace(
        point_at(answers, ALPHA), prefix_values=torch.zeros(answers.num_ends, dtype=torch.float64)
    )
    found = rest(subject, population, start, subject.free, alpha=ALPHA)
    law = law_at(subject, answers, found.point)
    rests = (
        found.converged
        and float(law.max()) < 1 - 1e-4
        and attracts(subject, population, found.point, ALPHA)
    )
    best = torch.tensor([float(x) for x in tree.optimum], dtype=torch.float64)
    tv = total_variation(law, best) if rests else None
    end = tuple(law.tolist()) if rests else None
    return Counterexample(tree, sampler, tuple(numbers.tolist()), exact, end, tv, policy)


def _in_fractions(subject: Subject, population: Population, optimum: Point) -> Fractions | None:
    """The expected gradient by log-odds, in exact arithmetic; None if a slope of a group is no
    small fraction.

    Of the objective only the slopes of each group with respect to its log-probabilities are taken,
    and recognised as fractions; probabilities of groups and of tokens are exact from the start.
    """
    answers = population.answers
    batch = population.batch(optimum)
    leaves = {name: getattr(batch, name).detach().clone().requires_grad_() for name in LIVE}
    loss = subject(replace(batch, **leaves), ALPHA).loss
    slopes = torch.autograd.grad(
        loss, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    if any(bool((x != 0).any()) for x in slopes[1:3]):
        return None
    weight = batch.group_weight
    assert weight is not None
    slope = slopes[0] / weight[:, None, None]
    guess = [[[_small(x) for x in row] for row in group] for group in slope.tolist()]
    policy = [_small(float(x)) for x in answers.policy(optimum.logits)[:, 0].exp()]
    draw = sampling_policy(answers, population.sampler, answers.policy(optimum.logits))
    law = [_small(float(x)) for x in answers.law(draw)]
    if any(
        x is None for x in (*policy, *law, *(x for group in guess for row in group for x in row))
    ):
        return None
    total = [Fraction(0)] * len(policy)
    assert population.multiplicity is not None
    for group, choice, times in zip(
        guess, population.choice.tolist(), population.multiplicity.tolist(), strict=True
    ):
        chance = Fraction(int(times)) * math.prod((law[i] for i in choice), start=Fraction(1))
        for i, row in zip(choice, group, strict=True):
            for t in range(int(answers.lengths[i])):
                s = int(answers.states[i, t])
                total[s] += chance * row[t] * (int(answers.tokens[i, t] == 0) - policy[s])  # type: ignore[operator]
    return tuple(x for x, legal in zip(total, answers.legal[:, 0].tolist(), strict=True) if legal)


def _small(x: float) -> Fraction | None:
    """The fraction that this number is, if its denominator is at most 5,000."""
    guess = Fraction(x).limit_denominator(5_000)
    return guess if abs(float(guess) - x) < 1e-12 * max(1.0, abs(x)) else None
