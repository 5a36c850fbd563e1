"""Notebook 01: its equations, each under its number and by other means, and what its prose says."""

import itertools
import math

import pytest

import toy_envs
from gnivo_edu import exact
from tests.notebooks.notebook import Notebook

BOOK = Notebook("01_walk_down_a_tree")


@pytest.fixture(scope="module")
def tree():
    return exact.enumerate_tree(toy_envs.Brackets(horizon=4), exact.random_reference(3, 4, seed=3))


@pytest.fixture(scope="module")
def answers():
    """Every answer of at most four tokens, by plain listing: the end token is 2."""
    whole = set()
    for tokens in itertools.product(range(3), repeat=4):
        whole.add(tokens[: tokens.index(2) + 1] if 2 in tokens else tokens)
    return sorted(whole)


def product_of_choices(tree, tokens):
    p = 1.0
    for t, token in enumerate(tokens):
        number = sum(k * 3 ** (t - 1 - i) for i, k in enumerate(tokens[:t]))
        p *= math.exp(tree.step_logps[t][number, token])
    return p


def probability(tree, tokens):
    t, number = tree.index(tokens)
    return math.exp(tree.prefix_logps[t][number])


def test_equation_1_1(tree, answers):
    assert list(tree.answers()) == answers
    for answer in answers:
        assert probability(tree, answer) == pytest.approx(
            product_of_choices(tree, answer), rel=1e-13
        )


def test_equation_1_2(tree, answers):
    assert sum(product_of_choices(tree, answer) for answer in answers) == pytest.approx(
        1, abs=1e-12
    )


def test_equation_1_3(tree, answers):
    for prefix in {answer[:t] for answer in answers for t in range(len(answer) + 1)}:
        through = sum(product_of_choices(tree, a) for a in answers if a[: len(prefix)] == prefix)
        assert through == pytest.approx(product_of_choices(tree, prefix), abs=1e-14)
        assert through == pytest.approx(probability(tree, prefix), abs=1e-14)


def test_the_control_fails_because_mass_is_counted_twice(tree, answers):
    without_end = sum(product_of_choices(tree, tuple(k for k in a if k != 2)) for a in answers)
    assert without_end > 1.1


def test_the_only_reward_in_three_tokens(answers):
    mdp = toy_envs.Brackets(horizon=4)
    assert [a for a in answers if len(a) <= 3 and mdp.reward([a], [len(a)])[0] == 1] == [(0, 1, 2)]
