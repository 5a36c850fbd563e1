"""Notebook 03: its equations, each under its number and by other means, and what its prose says.

The brute force here walks completions by recursion, with the stated chances; it uses no array of
the library's.
"""

import math
import re
from itertools import product

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact
from tests.notebooks.notebook import Notebook

BOOK = Notebook("03_the_missing_factor")
PROBLEM = toy_envs.PosterProblem()
WRONG = PROBLEM.examples["wrong at 3"]
ALPHAS = [0.1, 0.5, 2.0]


@pytest.fixture(scope="module")
def space():
    """Variables of the notebook, from its own cells."""
    return BOOK.space()


def chance(tables, prefix, start=0):
    """pi(the tokens of a prefix from `start` on | those before), a plain product."""
    probability = 1.0
    for t in range(start, len(prefix)):
        row = int("".join(map(str, prefix[:t])) or "0", 2)
        probability *= math.exp(tables[t][row, prefix[t]])
    return probability


def weights_of(prefix, alpha, tables):
    """sum over completions of pi(completion | prefix) e^{R/alpha}: e^V by its definition."""
    completions = [(*prefix, *rest) for rest in product((0, 1), repeat=7 - len(prefix))]
    parts = [
        chance(tables, y, start=len(prefix)) * math.exp(float(PROBLEM.reward([y], [7])[0]) / alpha)
        for y in completions
    ]
    return math.fsum(parts)


def prefixes(most=7):
    return [p for t in range(most + 1) for p in product((0, 1), repeat=t)]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equation_3_1(alpha):
    key, tables = exact.solve(exact.enumerate_tree(PROBLEM), alpha), PROBLEM.reference()
    for prefix in [WRONG[:t] for t in range(8)] + prefixes(3):
        assert key.soft_value(prefix) == pytest.approx(
            math.log(weights_of(prefix, alpha, tables)), abs=1e-11
        )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equation_3_2(space, alpha):
    """Both sides from the definition (3.1); then the exercise's solution on the same numbers."""
    tables = PROBLEM.reference()
    for prefix in prefixes(2) + [WRONG[:t] for t in range(3, 7)]:
        row = tables[len(prefix)][int("".join(map(str, prefix)) or "0", 2)]
        below = [math.log(weights_of((*prefix, a), alpha, tables)) for a in (0, 1)]
        mean = math.fsum(math.exp(row[a]) * math.exp(below[a]) for a in (0, 1))
        value = math.log(weights_of(prefix, alpha, tables))
        assert math.log(mean) == pytest.approx(value, abs=1e-11)
        assert float(space["soft_value_backup"](row, np.array(below))) == pytest.approx(
            value, abs=1e-11
        )


def star_mass(prefix, alpha, tables):
    """pi*(prefix): the tilted answers through it over all tilted answers; no value anywhere."""

    def tilted(y):
        return chance(tables, y) * math.exp(float(PROBLEM.reward([y], [7])[0]) / alpha)

    everything = {y: tilted(y) for y in product((0, 1), repeat=7)}
    through = math.fsum(w for y, w in everything.items() if y[: len(prefix)] == prefix)
    return through / math.fsum(everything.values())


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equation_3_3(alpha):
    tables = PROBLEM.reference()
    z = weights_of((), alpha, tables)
    for prefix in [WRONG[:t] for t in range(8)] + prefixes(2):
        claimed = chance(tables, prefix) * weights_of(prefix, alpha, tables) / z
        assert math.log(star_mass(prefix, alpha, tables)) == pytest.approx(
            math.log(claimed), abs=1e-11
        )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equation_3_3_where_answers_end_at_different_lengths(alpha):
    """Brackets, answer by answer: pi*(prefix) against pi_ref(prefix) e^V / Z."""
    mdp, tables = toy_envs.Brackets(horizon=5), exact.random_reference(3, 5, seed=3)
    key = exact.solve(exact.enumerate_tree(mdp, tables), alpha)
    weights = {}

    def walk(prefix, row, p):
        if len(prefix) == 5 or prefix[-1:] == (2,):
            weights[prefix] = p, p * math.exp(float(mdp.reward([prefix], [len(prefix)])[0]) / alpha)
            return
        for token in range(3):
            walk((*prefix, token), 3 * row + token, p * math.exp(tables[len(prefix)][row, token]))

    walk((), 0, 1.0)
    z = math.fsum(w for _, w in weights.values())
    for prefix in {y[:t] for y in weights for t in range(len(y) + 1)}:
        through = [pair for y, pair in weights.items() if y[: len(prefix)] == prefix]
        p, w = (math.fsum(column) for column in zip(*through, strict=True))
        assert math.log(w / z) == pytest.approx(
            math.log(p) + key.soft_value(prefix) - key.log_z, abs=1e-11
        )
        assert math.log(w / z) == pytest.approx(key.optimal_logprob(prefix), abs=1e-11)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equation_3_4(alpha, space):
    tables = PROBLEM.reference()
    tree = exact.enumerate_tree(PROBLEM)
    star = space["optimal_step_logps"](tree.step_logps, exact.solve(tree, alpha).values)
    for prefix in [(), *(WRONG[:t] for t in range(1, 7))]:
        row = int("".join(map(str, prefix)) or "0", 2)
        for a in (0, 1):
            left = star_mass((*prefix, a), alpha, tables) / star_mass(prefix, alpha, tables)
            step = chance(tables, (*prefix, a), start=len(prefix))
            change = weights_of((*prefix, a), alpha, tables) / weights_of(prefix, alpha, tables)
            assert math.log(left) == pytest.approx(math.log(step * change), abs=1e-11)
            assert star[len(prefix)][row, a] == pytest.approx(math.log(left), abs=1e-11)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equation_3_5(alpha):
    """Log-ratios of the two policies, summed along answers, against R/alpha - log Z."""
    tables = PROBLEM.reference()
    z = weights_of((), alpha, tables)
    for answer in PROBLEM.examples.values():
        total = 0.0
        for t in range(1, 8):
            new = star_mass(answer[:t], alpha, tables) / star_mass(answer[: t - 1], alpha, tables)
            total += math.log(new / chance(tables, answer[:t], start=t - 1))
        assert total == pytest.approx(
            float(PROBLEM.reward([answer], [7])[0]) / alpha - math.log(z), abs=1e-10
        )


def test_the_first_table(space):
    """old × factor = new, after every step; the last factor is e^{R/alpha} / Z."""
    tables = PROBLEM.reference()
    rows = re.findall(r"(\d\.\d{4}) × (\d\.\d{4}) = (\d\.\d{4})", BOOK.printed)
    assert len(rows) == 8
    for t, row in enumerate(rows):
        old, new = chance(tables, WRONG[:t]), star_mass(WRONG[:t], 0.5, tables)
        assert row == (f"{old:.4f}", f"{new / old:.4f}", f"{new:.4f}")
    assert float(rows[-1][1]) == pytest.approx(1 / weights_of((), 0.5, tables), abs=5e-5)
    assert rows[0][1] == "1.0000"


def test_what_the_prose_says(space):
    credit = space["key"].step_credit(WRONG)
    assert credit[6] < credit[2] < 0, "step 3 pays some, the last step pays more"
    assert credit.sum() == pytest.approx(-space["key"].log_z)
    assert credit[2] == min(credit[:6])
    star, tables = (
        star_mass(WRONG[:3], 0.5, PROBLEM.reference()),
        chance(PROBLEM.reference(), WRONG[:3]),
    )
    assert 0.05 < star < tables, "less often, but not never"
    assert (
        np.abs(space["implicit"] - [space["key"].soft_value(WRONG[:t]) for t in range(8)]).max()
        < 1e-12
    )
    assert np.abs(space["sampled"] - space["implicit"]).max() > 0.1, "trying is not exact"
    handed, star_tables = space["handed"], space["star"]
    assert max(np.abs(a - b).max() for a, b in zip(handed, star_tables, strict=True)) < 1e-12
    assert BOOK.printed.count("passed True") == 6
    assert "False" not in BOOK.printed


def test_the_certificate_can_fail(space):
    """The certificate is of the two routes: with another reference's values it would not pass."""
    tree = space["tree"]
    other = exact.enumerate_tree(PROBLEM, space["mender"](0.9))
    off = exact.solve(other, 0.5).values[3] - exact.solve(tree, 0.5).values[3]
    assert np.ptp(off) > 0.1
    assert exact.verify_soft_value_theorem(other, 0.5).passed, (
        "of its own reference it is a perfectly good value"
    )


def test_the_control_fails_as_printed(space):
    tables = PROBLEM.reference()

    def mean(prefix):
        if len(prefix) == 7:
            return float(PROBLEM.reward([prefix], [7])[0]) / 0.5
        return math.fsum(
            chance(tables, (*prefix, a), start=len(prefix)) * mean((*prefix, a)) for a in (0, 1)
        )

    def maximum(prefix):
        if len(prefix) == 7:
            return float(PROBLEM.reward([prefix], [7])[0]) / 0.5
        return max(maximum((*prefix, a)) for a in (0, 1))

    others = space["mender"](0.9)
    lines = {
        "mean": mean,
        "maximum": maximum,
        "V of a mender": lambda prefix: math.log(weights_of(prefix, 0.5, others)),
    }
    z = math.log(weights_of((), 0.5, tables))
    for name, value in lines.items():
        root = value(())
        wrong_by = [
            abs(value(p) - root - math.log(weights_of(p, 0.5, tables)) + z)
            for p in prefixes(7)
            if chance(tables, p)
        ]
        assert max(wrong_by) > 0.1
        assert re.search(
            rf"{name} +\(3.3\) is wrong by up to {max(wrong_by):.3f} nats", BOOK.printed
        ), name
        assert [space["lines"][name][t] for t in range(8)] == pytest.approx(
            [value(WRONG[:t]) for t in range(8)]
        )
    best_case = {maximum(p) for p in prefixes(6)}
    assert best_case == {2.0}, "the maximum sees no mistake at all before the end"
    exact_values = [math.log(weights_of(WRONG[:t], 0.5, tables)) for t in range(7)]
    assert all(mean(WRONG[:t]) < exact_values[t] for t in range(7)), "the mean is a pessimist"


def test_play_moves_the_blame(space):
    rows = re.findall(
        r"^ *(\d+)% +(-\d+\.\d+) +(-\d+\.\d+) +(-\d+\.\d+)$", BOOK.printed, flags=re.M
    )
    assert [int(row[0]) for row in rows] == [5, 30, 60, 95]
    mistake, missed = ([float(row[i]) for row in rows] for i in (1, 2))
    assert mistake == sorted(mistake), "the more can be mended, the cheaper the mistake"
    assert missed == sorted(missed, reverse=True), "and the dearer the missed mending"
    for mends, first, last, total in rows:
        tables = space["mender"](int(mends) / 100)
        values = [math.log(weights_of(WRONG[:t], 0.5, tables)) for t in range(8)]
        expected = values[3] - values[2], values[7] - values[6], -values[0]
        assert (first, last, total) == tuple(f"{x:.2f}" for x in expected)
