"""The smallest tree that refutes an objective: the family, its fractions, and what is found."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest

from gnivo_edu import objectives
from gnivo_edu.population.judge.counterexample import ALPHA, RationalTree, family, search
from tests.population.judge.subjects import reinforce, subject_of

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


def test_the_family_holds_every_tree_once_up_to_the_names_of_tokens():
    found = family()
    assert len(found) == len(set(found))
    coins = [Fraction(1, 2), THIRD, 1 - THIRD, Fraction(1, 4), Fraction(3, 4)]
    rewards = [Fraction(0), HALF, Fraction(1)]

    def laws(tree):
        branches = tree.reference[:2], tree.reference[2:]
        pairs = [
            sorted(zip(p, r, strict=True))
            for p, r in zip(branches, (tree.rewards[:2], tree.rewards[2:]), strict=True)
        ]
        return len(tree.rewards), str(sorted(pairs) if len(tree.rewards) == 4 else pairs)

    every = [RationalTree((p,), r) for p in coins for r in product(rewards, repeat=2)]
    every += [
        RationalTree(p, r) for p in product(coins, repeat=2) for r in product(rewards, repeat=3)
    ]
    every += [
        RationalTree(p, r) for p in product(coins, repeat=3) for r in product(rewards, repeat=4)
    ]
    assert {laws(tree) for tree in every} == {laws(tree) for tree in found}


@pytest.mark.parametrize("tree", [family()[5], family()[100], family()[-1]])
def test_a_rational_tree_and_its_float_twin_agree(tree):
    answers = tree.answers()
    assert answers.law(answers.reference).tolist() == pytest.approx(
        [float(p) for p in tree.reference], abs=1e-13
    )
    best = answers.law(answers.tilted(answers.rewards / ALPHA))
    assert sum(tree.optimum) == 1
    assert best.tolist() == pytest.approx([float(p) for p in tree.optimum], abs=1e-13)


def test_a_gradient_in_fractions_is_derived_by_hand():
    # REINFORCE, K = 2, samples from the reference (1/2, 1/2), pi* = (1/5, 4/5), rewards (0, 1): the
    # group {a, b} has probability 1/2, advantages -1/2 and 1/2, and gradient -(1/2)[-1/2 (1 - 1/5)
    # + 1/2 (0 - 1/5)] = 1/4.
    found = search(subject_of(reinforce), "reference").found
    assert found.tree == RationalTree((HALF,), (Fraction(0), Fraction(1)))
    assert found.tree.optimum == (Fraction(1, 5), Fraction(4, 5))
    assert found.exact == (Fraction(1, 8),)
    assert found.gradient == pytest.approx((0.125,), abs=1e-13)


def test_irrational_slopes_are_not_called_fractions():
    found = search(subject_of(objectives.grpo), "current").found
    assert found.exact is None
    assert abs(found.gradient[0]) > 0.01


def test_stale_samples_break_gnivo_on_a_tree_of_three_answers():
    subject = subject_of(objectives.gnivo)
    assert search(subject, "uniform").found.exact == (Fraction(1, 16), 0)
