"""The smallest tree of rational numbers on which an objective does not stop at pi*."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch

from gnivo_edu.exact.tree import TokenTree
from gnivo_edu.population import (
    Answers,
    Point,
    Population,
    expect,
    sampling_policy,
    total_variation,
)
from gnivo_edu.population.judge.pushes import SAMPLERS, attracts, first_of, law_at, optimum_of
from gnivo_edu.population.judge.subject import Subject
from gnivo_edu.population.roots import rest

# Then e^{R/alpha} = 4^R, which is 1, 2, 4 for the rewards 0, 1/2, 1: pi* is rational.
ALPHA = 1 / math.log(4)
CHANCES = tuple(Fraction(a, b) for a, b in ((1, 2), (1, 3), (2, 3), (1, 4), (3, 4)))
REWARDS = (Fraction(0), Fraction(1, 2), Fraction(1))
WEIGHT = {Fraction(0): 1, Fraction(1, 2): 2, Fraction(1): 4}
NOT_ZERO = 1e-9  # of the typical push of a group
Fractions = tuple[Fraction, ...]


@dataclass(frozen=True)
class RationalTree:
    """Two tokens; `chances` of the first in each state (root, after 0, after 1); `rewards`.

    Two answers: one token. Three: token 1 ends the answer, or the second token does. Four: two
    tokens.
    """

    chances: Fractions
    rewards: Fractions

    @property
    def names(self) -> tuple[str, ...]:
        """Its answers, spelled in a and b; `.` is the token that ends one."""
        return {2: ("a", "b"), 3: ("aa", "a.", "."), 4: ("aa", "ab", "ba", "bb")}[len(self.rewards)]

    @property
    def reference(self) -> Fractions:
        """Probability of each answer under the reference."""
        chances = dict(zip(("", "a", "b"), self.chances, strict=False))
        return tuple(
            math.prod(
                (
                    chances[name[:t]] if token == "a" else 1 - chances[name[:t]]
                    for t, token in enumerate(name)
                ),
                start=Fraction(1),
            )
            for name in self.names
        )

    @property
    def optimum(self) -> Fractions:
        """pi* = pi_ref 4^R/Z, exactly."""
        mass = [p * WEIGHT[r] for p, r in zip(self.reference, self.rewards, strict=True)]
        return tuple(m / sum(mass) for m in mass)

    @property
    def size(self) -> tuple[int, ...]:
        """Trees are ordered by answers, numbers beside fair coins and zeros, and denominators."""
        coins = sum(p != Fraction(1, 2) for p in self.chances)
        rewarded = sum(r != 0 for r in self.rewards)
        denominators = sum(x.denominator for x in (*self.chances, *self.rewards))
        return (len(self.rewards), coins + rewarded, denominators)

    def answers(self) -> Answers:
        """The same tree in float64."""
        rows = [[math.log(p), math.log(1 - p)] for p in self.chances]
        rewards = [float(r) for r in self.rewards]
        end_token = 1 if len(self.rewards) == 3 else None
        if end_token is not None:  # after the end only the end: token 1
            rows.append([-math.inf, 0.0])
            rewards = [*rewards[:2], 0.0, rewards[2]]
        tables = [np.array(table) for table in (rows[:1], rows[1:]) if table]
        tree = TokenTree(
            2,
            len(tables),
            eos_token_id=end_token,
            step_logps=tables,
            rewards=np.array(rewards),
        )
        return Answers.of(tree)


def family() -> list[RationalTree]:
    """All trees of the search, the smallest first; of two that differ by renaming tokens, one.

    >>> trees = family()
    >>> len(trees), trees[-1].names
    (1836, ('aa', 'ab', 'ba', 'bb'))
    """
    # One coin and two rewards, up to exchanging the sides.
    coins = product(CHANCES, REWARDS, REWARDS)
    pairs = sorted({min((p, (a, b)), (1 - p, (b, a))) for p, a, b in coins})
    trees = [RationalTree((p,), r) for p, r in pairs]
    ended = product(CHANCES, pairs, REWARDS)
    trees += [RationalTree((q, p), (*r, end)) for q, (p, r), end in ended]
    # Renaming the first token turns (q, left, right) into (1 - q, right, left): one of them stays.
    for q, left, right in product(CHANCES, pairs, pairs):
        if (q, left, right) <= (1 - q, right, left):
            trees.append(RationalTree((q, left[0], right[0]), (*left[1], *right[1])))
    return sorted(trees, key=lambda tree: tree.size)


@dataclass(frozen=True)
class Counterexample:
    """A tree where the expected gradient at pi* is not zero.

    `gradient`: of the expected loss at pi*, by the log-odds of the first token in each state,
    float64, or of each entry of an explicit value; `exact`: the same as fractions, where every
    group's slope is a small fraction. `end`: the probability of each answer where the objective
    comes to rest, None if nowhere; `tv` from pi*.
    """

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
        return {
            "answers": list(tree.names),
            "chances": [str(x) for x in tree.chances],
            "rewards": [str(x) for x in tree.rewards],
            "reference": [str(x) for x in tree.reference],
            "optimum": [str(x) for x in tree.optimum],
            "alpha": ALPHA,
            "sampler": self.sampler,
            "group_size": 2,
            "gradient_at_optimum": list(self.gradient),
            "gradient_at_optimum_exact": self.exact and [str(x) for x in self.exact],
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
        return {
            "sampler": self.sampler,
            "tried": self.tried,
            "of": self.of,
            "found": self.found and self.found.to_json(),
        }


def search(subject: Subject, sampler: str, deadline: float = math.inf) -> Search:
    """Go through the family, the smallest tree first, until E[grad loss] at pi* is not zero.

    Pairs of answers, two tokens, at most two long, at alpha = 1/log 4. `deadline`, by
    time.monotonic(), ends the search early.
    """
    trees = family()
    judged = "logits" if "logits" in subject.free else "prefix_values"  # a critic only serves
    for i, tree in enumerate(trees):
        if time.monotonic() > deadline:
            return Search(sampler, None, tried=i, of=len(trees))
        population, optimum = _posed(tree, sampler, ordered=not subject.symmetric)
        gradient = expect(subject, population, point=optimum, alpha=ALPHA).gradient
        if float(gradient[judged].abs().max()) > NOT_ZERO:
            counterexample = _describe(subject, tree, sampler=sampler)
            return Search(sampler, counterexample, tried=i + 1, of=len(trees))
    return Search(sampler, None, tried=len(trees), of=len(trees))


@cache
def _posed(tree: RationalTree, sampler: str, ordered: bool) -> tuple[Population, Point]:
    """All pairs of answers of a tree, and pi*: the same for every objective that is judged."""
    answers = tree.answers()
    population = Population.of(answers, 2, sampler=SAMPLERS[sampler], ordered=ordered)
    return population, optimum_of(answers, ALPHA)


def _describe(subject: Subject, tree: RationalTree, sampler: str) -> Counterexample:
    population, optimum = _posed(tree, sampler, ordered=not subject.symmetric)
    answers = population.answers
    unscaled = replace(subject, scale=1.0)
    gradient = expect(unscaled, population, point=optimum, alpha=ALPHA).gradient
    policy = "logits" in subject.free
    numbers = gradient["logits"][answers.legal[:, 0], 0] if policy else gradient["prefix_values"]
    exact = _in_fractions(unscaled, population, optimum=optimum) if policy else None
    floats = [float(x) for x in exact or ()]
    # Fractions that were recognised by mistake do not add up to the gradient.
    if exact is not None and not np.allclose(floats, numbers, rtol=1e-9, atol=1e-12):
        exact = None
    start = first_of(answers, ALPHA)
    search = rest(subject, population, start=start, free=subject.free, alpha=ALPHA)
    law = law_at(subject, answers, point=search.point)
    rests = (
        search.converged
        and float(law.max()) < 1 - 1e-4
        and attracts(subject, population, point=search.point, alpha=ALPHA)
    )
    best = torch.tensor([float(x) for x in tree.optimum], dtype=torch.float64)
    end = tuple(law.tolist()) if rests else None
    tv = total_variation(law, best) if rests else None
    return Counterexample(
        tree, sampler, gradient=tuple(numbers.tolist()), exact=exact, end=end, tv=tv, policy=policy
    )


def _in_fractions(subject: Subject, population: Population, optimum: Point) -> Fractions | None:
    """The expected gradient by log-odds in exact arithmetic; None if a slope is no small fraction.

    Of the objective only the slopes of each group with respect to its log-probabilities are taken,
    and recognised as fractions; probabilities of groups and of tokens are exact from the start.
    """
    answers = population.answers
    batch = population.batch(optimum)
    _, slopes = subject.expected_slopes(batch, ALPHA)
    if any(bool((slopes[name] != 0).any()) for name in ("policy_kl", "entropy")):
        return None
    assert batch.group_weight is not None
    slope = slopes["policy_logps"] / batch.group_weight[:, None, None]
    current = answers.policy(optimum.logits)
    drawn = answers.law(sampling_policy(answers, population.sampler, current=current))
    fractions = np.vectorize(_small, otypes=[object])
    try:
        by_group = fractions(slope.numpy())
        policy = fractions(current[:, 0].exp().numpy())
        law = fractions(drawn.numpy())
    except ArithmeticError:
        return None
    # sum over groups of P(group) x sum over tokens of slope x d log pi(token)/d log-odds, where
    # that derivative is one minus the chance of the first token, or minus that chance.
    choice = population.choice.numpy()
    states = answers.states.numpy()
    chance = population.multiplicity.numpy().astype(int) * law[choice].prod(1)
    score = answers.mask.numpy() * ((answers.tokens.numpy() == 0).astype(int) - policy[states])
    total = np.full(len(policy), Fraction(0))
    np.add.at(total, states[choice], chance[:, None, None] * by_group * score[choice])
    return tuple(total[answers.legal[:, 0].numpy()].tolist())


def _small(x: float) -> Fraction:
    """The fraction of denominator at most 5,000 that this number is; ArithmeticError if none is."""
    guess = Fraction(x).limit_denominator(5_000)
    if abs(float(guess) - x) >= 1e-12 * max(1.0, abs(x)):
        raise ArithmeticError(f"{x} is no small fraction")
    return guess
