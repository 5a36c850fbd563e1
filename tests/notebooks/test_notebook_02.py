"""Notebook 02: its equations, each under its number and by other means, and what its prose says.

The brute force here shares no code with the library: answers are walked by recursion, sums are
`math.fsum`.
"""

import math
import re

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact, figures
from gnivo_edu.exact.theorems import prefix_log_law
from tests.notebooks.notebook import Notebook

BOOK = Notebook("02_tilt_dont_win")
ALPHAS = [0.15, 0.3, 1.0]
WINNERS = [(0, 0, 1, 1, 2), (0, 1, 0, 1, 2), (0, 1, 2)]


@pytest.fixture(scope="module")
def space():
    """Variables of the notebook, from its own cells."""
    return BOOK.space()


@pytest.fixture(scope="module")
def brackets():
    """Every answer with its probability under the habits and its reward: float64 [63] each."""
    mdp = toy_envs.Brackets(horizon=5)
    tables = exact.random_reference(3, 5, seed=3)
    leaves = []

    def walk(prefix, row, p):
        if len(prefix) == 5 or prefix[-1:] == (2,):
            leaves.append((prefix, p, float(mdp.reward([prefix], [len(prefix)])[0])))
            return
        for token in range(3):
            walk((*prefix, token), 3 * row + token, p * math.exp(tables[len(prefix)][row, token]))

    walk((), 0, 1.0)
    answers, p, rewards = zip(*leaves, strict=True)
    return list(answers), np.array(p), np.array(rewards)


def brute_tilt(p, rewards, alpha):
    weights = [a * math.exp(r / alpha) for a, r in zip(p, rewards, strict=True)]
    return np.array(weights) / math.fsum(weights), math.fsum(weights)


def brute_kl(p, q):
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def objective(policy, p, rewards, alpha):
    return math.fsum(policy * rewards) - alpha * brute_kl(policy, p)


def test_the_writer(brackets, space):
    answers, p, rewards = brackets
    assert sorted(space["answers"]) == sorted(answers)
    assert [a for a, r in zip(answers, rewards, strict=True) if r] == WINNERS
    assert p @ rewards < 0.1, "a writer who is rarely right"
    four = exact.random_reference(3, 4, seed=3)
    five = exact.random_reference(3, 5, seed=3)
    assert all((a == b).all() for a, b in zip(four, five, strict=False)), (
        "the writer of notebook 01"
    )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equation_2_1(brackets, space, alpha):
    """J, by the definition, of the policies of the notebook; the KL is summed over answers."""
    _, p, rewards = brackets
    star = brute_tilt(p, rewards, alpha)[0]
    assert space["kl"](star, p) == pytest.approx(brute_kl(star, p), abs=1e-12)
    key = exact.solve(space["tree"], alpha)
    assert key.expected_reward - alpha * key.kl == pytest.approx(
        objective(star, p, rewards, alpha), abs=1e-12
    )
    assert objective(p, p, rewards, alpha) == pytest.approx(p @ rewards, abs=1e-12), (
        "the reference pays nothing"
    )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equation_2_2(brackets, space, alpha):
    answers, p, rewards = brackets
    star, z = brute_tilt(p, rewards, alpha)
    key = exact.solve(space["tree"], alpha)
    assert space["log_z"](np.log(p), rewards, alpha) == pytest.approx(math.log(z), abs=1e-12)
    assert [math.exp(key.optimal_logprob(a)) for a in answers] == pytest.approx(star, abs=1e-12)
    mine = space["tilted_policy"](np.log(p)[None], rewards[None], alpha)[0]
    assert np.exp(mine) == pytest.approx(star, abs=1e-12)
    right = star[rewards > 0]
    assert right / right[0] == pytest.approx(p[rewards > 0] / p[rewards > 0][0]), (
        "the ratio of two right answers"
    )


def test_equation_2_3(brackets):
    _, p, rewards = brackets
    assert brute_tilt(p, rewards, 1e9)[0] == pytest.approx(p, abs=1e-8)
    best = np.where(rewards == rewards.max(), p, 0)
    # At 0.01 the others keep at most e^-100 of their share.
    assert brute_tilt(p, rewards, 0.01)[0] == pytest.approx(best / best.sum(), abs=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equation_2_4(brackets, alpha):
    _, p, rewards = brackets
    star, z = brute_tilt(p, rewards, alpha)
    assert objective(star, p, rewards, alpha) == pytest.approx(alpha * math.log(z), abs=1e-12)
    rng = np.random.default_rng(1)
    for policy in rng.dirichlet(np.full(len(p), 0.2), size=50):
        short = alpha * math.log(z) - objective(policy, p, rewards, alpha)
        assert short == pytest.approx(alpha * brute_kl(policy, star), abs=1e-11)
        assert short > 0, "nobody does better"


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equation_2_5(brackets, alpha):
    """The slope of the frontier, by central differences; also dKL/dalpha < 0, which Exercise 11
    rests on.
    """
    _, p, rewards = brackets
    rows = [brute_tilt(p, rewards, alpha * f)[0] for f in (1.0001, 0.9999)]
    rise = rows[1] @ rewards - rows[0] @ rewards
    run = brute_kl(rows[1], p) - brute_kl(rows[0], p)
    assert run > 0
    assert rise / run == pytest.approx(alpha, rel=1e-6)


def sampled_best_of(p, rewards, count, rng, trials=200_000):
    drawn = rng.choice(len(p), (trials, count), p=p / p.sum())
    ties = rewards[drawn] + 1e-9 * rng.random((trials, count))
    return np.bincount(drawn[np.arange(trials), ties.argmax(axis=1)], minlength=len(p)) / trials


def test_best_of_k_is_exact(space):
    """Against drawing groups of two outright: every pair, ties half and half."""
    for tree in (space["tree"], space["graded"]):
        p, r = np.exp(tree.prefix_logps[-1]), tree.rewards
        law = np.zeros_like(p)
        for i in np.flatnonzero(p):
            beaten = (r[i] > r) + 0.5 * (r[i] == r)
            law[i] = 2 * p[i] * math.fsum(p * beaten)
        assert space["best_of"](tree, 2) == pytest.approx(law, abs=1e-12)
        sampled = sampled_best_of(p, r, 4, np.random.default_rng(0))
        assert np.abs(space["best_of"](tree, 4) - sampled).sum() < 0.03


def test_where_the_rivals_lie(space):
    """Best of K is on the frontier for rewards 0 and 1, below it for graded ones; one answer wins,
    dearly.
    """
    tree, graded = space["tree"], space["graded"]

    def waste(tree, law):
        """KL spent beyond what the frontier asks for the same reward, nats."""
        point = figures.policy_point(tree, space["as_tables"](tree, law))
        low, high = 1e-2, 1e2
        for _ in range(200):
            middle = math.sqrt(low * high)
            low, high = (
                (middle, high)
                if exact.solve(tree, middle).expected_reward > point.reward
                else (low, middle)
            )
        return point.kl - exact.solve(tree, low).kl

    for count in (2, 4, 16):
        assert abs(waste(tree, space["best_of"](tree, count))) < 1e-6
    for count in (4, 16, 64):
        assert waste(graded, space["best_of"](graded, count)) > 0.05
    law = space["best_of"](graded, 4)
    assert law.sum() == pytest.approx(1)
    assert np.exp(prefix_log_law(space["as_tables"](graded, law))[-1]) == pytest.approx(
        law, abs=1e-14
    )
    plane = figures.reward_kl_plane(tree)
    one = figures.policy_point(tree, space["as_tables"](tree, space["always"]))
    assert one.reward == plane.frontier[0.0].reward == 1
    assert one.kl > plane.frontier[0.0].kl + 0.1, (
        "picking a champion costs more than the end of the curve"
    )


def test_the_tilts_that_best_of_k_stands_for(brackets):
    _, p, rewards = brackets
    share, lines = (
        p @ rewards,
        re.findall(r"best of (\d+) *is the tilt at alpha = (\S+): (\w+)", BOOK.printed),
    )
    assert [int(count) for count, _, _ in lines] == [2, 4, 16, 64]
    for count, alpha, holds in lines:
        wrong = (1 - share) ** (int(count) - 1)
        right = (1 - (1 - share) ** int(count)) / share
        assert holds == "True"
        assert alpha == f"{1 / math.log(right / wrong):.3f}"


def test_the_control_fails_and_its_bill_is_2_4(brackets, space):
    answers, p, rewards = brackets
    star, z = brute_tilt(p, rewards, 0.3)
    wrong = {
        "no reference": np.exp(rewards / 0.3),
        "alpha R": p * np.exp(0.3 * rewards),
        "token by token": myopic(0.3),
    }
    order = [answers.index(a) for a in space["answers"]]
    for name, law in wrong.items():
        law = law / law.sum()
        tv = np.abs(law - star).sum() / 2
        short = 0.3 * math.log(z) - objective(law, p, rewards, 0.3)
        assert tv > 0.1
        assert short == pytest.approx(0.3 * brute_kl(law, star), abs=1e-11)
        assert re.search(
            rf"{name} +TV to π\* {tv:.3f}, J falls short by {short:.3f}", BOOK.printed
        ), name
        mine = space["controls"][name] / space["controls"][name].sum()
        assert mine == pytest.approx(law[order], abs=1e-12)
    # The myopic tilt never learns to go there: its prefixes before an end token are the
    # reference's.
    ends = [
        sum(q for a, q in zip(answers, law, strict=True) if a[:1] == (2,))
        for law in (p, wrong["token by token"])
    ]
    assert ends[0] == pytest.approx(ends[1])


def myopic(alpha):
    """Each token tilted by its own immediate reward and normalised on the spot, by recursion."""
    mdp, tables, chances = toy_envs.Brackets(horizon=5), exact.random_reference(3, 5, seed=3), []

    def walk(prefix, row, p):
        if len(prefix) == 5 or prefix[-1:] == (2,):
            chances.append(p)
            return
        weights = []
        for token in range(3):
            answer = (*prefix, token)
            done = token == 2 or len(answer) == 5
            gain = float(mdp.reward([answer], [len(answer)])[0]) if done else 0.0
            weights.append(math.exp(tables[len(prefix)][row, token] + gain / alpha))
        for token in range(3):
            walk((*prefix, token), 3 * row + token, p * weights[token] / sum(weights))

    walk((), 0, 1.0)
    return np.array(chances)


def test_play_spends_the_budget(brackets, space):
    _, p, rewards = brackets
    star = brute_tilt(p, rewards, space["alpha"])[0]
    assert space["budget"] == 1.0
    assert brute_kl(star, p) == pytest.approx(1.0, abs=1e-5)
    limit = -math.log(p @ rewards)
    assert space["tokens"].sum(axis=1) == pytest.approx(space["logps"])
    assert brute_kl(brute_tilt(p, rewards, 0.01)[0], p) == pytest.approx(limit), (
        "more budget than this cannot be spent"
    )
