"""Notebook 04: its equations, each under its number and by other means, and what its prose says."""

import itertools
import math
import re

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact
from tests.notebooks.notebook import Notebook

BOOK = Notebook("04_never_pay_for_log_z")


# --- the equations, each by brute force -----------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """Nine answers under random habits, and its key."""
    tree = exact.enumerate_tree(
        toy_envs.RandomTree(vocab_size=3, horizon=2), exact.random_reference(3, 2, seed=5)
    )
    return exact.solve(tree, 0.4)


@pytest.fixture(scope="module")
def forest():
    """The wide tree of the notebook."""
    tree = exact.enumerate_tree(toy_envs.RandomTree(4, 4), exact.random_reference(4, 4, seed=3))
    return exact.solve(tree, 0.2)


def groups_of_answers(key, size, t):
    """(probability, weights, numbers of the prefixes of t tokens) of every group of complete
    answers.
    """
    tree = key.tree
    probability = [math.exp(logp) for logp in tree.prefix_logps[-1]]
    for members in itertools.product(range(len(probability)), repeat=size):
        weights = [math.exp(tree.rewards[i] / key.alpha) for i in members]
        prefixes = [i // tree.vocab_size ** (tree.horizon - t) for i in members]
        yield math.prod(probability[i] for i in members), weights, prefixes


def bracket(weights, values):
    """The bracket of (4.2) for one group."""
    total = math.log(sum(math.exp(v) for v in values))
    return -sum(w * (v - total) for w, v in zip(weights, values, strict=True))


def objective(key, size, t):
    ticket = np.exp(key.values[t])
    return exact.GroupObjective(np.exp(key.tree.prefix_logps[t]), ticket, size, ticket)


def fit(key, t, rng):
    return objective(key, 2, t).fit(2 * rng.standard_normal(len(key.values[t])))


def test_equation_4_1():
    values, c = [0.3, -1.2, 2.0], 4.2
    shares = [math.exp(v) / sum(map(math.exp, values)) for v in values]
    shifted = [math.exp(v + c) / sum(math.exp(u + c) for u in values) for v in values]
    assert shifted == pytest.approx(shares, abs=1e-14)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("t", [1, 2])
def test_equation_4_2(small, size, t):
    v = np.random.default_rng(t).normal(size=3**t)
    by_group = sum(
        p * bracket(w, [v[k] for k in prefixes])
        for p, w, prefixes in groups_of_answers(small, size, t)
    )
    assert objective(small, size, t).loss(v) == pytest.approx(by_group, abs=1e-9)


def test_equation_4_3():
    rng = np.random.default_rng(0)
    weights, values, h = rng.uniform(1, 5, 4), rng.normal(size=4), 1e-5
    for i in range(4):
        up, down = values.copy(), values.copy()
        up[i], down[i] = up[i] + h, down[i] - h
        slope = (bracket(weights, up) - bracket(weights, down)) / (2 * h)
        share = math.exp(values[i]) / sum(math.exp(v) for v in values)
        assert -slope == pytest.approx(weights[i] - sum(weights) * share, abs=1e-7)


def test_equation_4_4(small):
    tree = small.tree
    for t in range(3):
        for number, value in enumerate(small.values[t]):
            below = range(number * 3 ** (2 - t), (number + 1) * 3 ** (2 - t))
            chances = [
                math.exp(tree.prefix_logps[-1][i] - tree.prefix_logps[t][number]) for i in below
            ]
            mean = sum(
                c * math.exp(tree.rewards[i] / 0.4) for c, i in zip(chances, below, strict=True)
            )
            assert mean == pytest.approx(math.exp(value), rel=1e-12)


@pytest.mark.parametrize("t", [1, 2])
def test_equation_4_5(small, t):
    """At V + c the push of every group of complete answers, added up, vanishes; elsewhere it does
    not.
    """

    def expected_push(v):
        total = np.zeros(len(v))
        for p, weights, prefixes in groups_of_answers(small, 2, t):
            shares = [math.exp(v[k]) for k in prefixes]
            for w, k, share in zip(weights, prefixes, shares, strict=True):
                total[k] += p * (w - sum(weights) * share / sum(shares))
        return np.abs(total).max()

    assert expected_push(np.zeros(3**t)) > 1e-2
    for c in (0.0, 3.0, -7.0):
        assert expected_push(small.values[t] + c) < 1e-12
    values = fit(small, t, np.random.default_rng(t))
    assert expected_push(values) < 1e-9
    assert np.ptp(values - small.values[t]) < 1e-8
    assert abs((values - small.values[t]).mean()) > 1e-3, "the shift is there"


def pinned(key, rng):
    free = [fit(key, t, rng) for t in range(1, key.tree.horizon + 1)]
    mean = [
        math.log(sum(np.exp(key.tree.prefix_logps[t] + v))) for t, v in enumerate(free, start=1)
    ]
    return [np.zeros(1), *(v - m for v, m in zip(free, mean, strict=True))]


def test_equation_4_6(forest):
    """The optimal policy, which is pi_ref e^{V - log Z}, sums to one at every depth; pinned fits
    are V - log Z.
    """
    for t, v in enumerate(pinned(forest, np.random.default_rng(0))):
        assert sum(
            np.exp(forest.tree.prefix_logps[t] + forest.values[t] - forest.log_z)
        ) == pytest.approx(1, abs=1e-12)
        assert np.abs(v - (forest.values[t] - forest.log_z)).max() < 1e-8


def test_equation_4_7(forest):
    fitted = pinned(forest, np.random.default_rng(1))
    for t in range(1, 5):
        for number in range(4**t):
            credit = fitted[t][number] - fitted[t - 1][number // 4]
            assert credit == pytest.approx(
                forest.step_credit(forest.tree.prefix(t, number))[-1], abs=1e-8
            )


def bent(reach, target, log_z):
    """log pi/pi_ref that minimises sum reach (log_z + rho - target)^2 on probabilities that sum to
    one: Newton on the conditions of Lagrange.
    """
    rho, slack = target - np.log(reach @ np.exp(target)), 0.0
    for _ in range(50):
        law = reach * np.exp(rho)
        residual = np.append(reach * (log_z + rho - target) + slack * law, law.sum() - 1)
        jacobian = np.block(
            [[np.diag(reach + slack * law), law[:, None]], [law[None, :], np.zeros((1, 1))]]
        )
        step = np.linalg.solve(jacobian, residual)
        rho, slack = rho - step[:-1], slack - step[-1]
    assert np.abs(residual).max() < 1e-12
    return rho


def test_equation_4_8(forest):
    """Zero at pi* and the true Z; with another Z the smallest value is above zero."""
    reach, value = np.exp(forest.tree.prefix_logps[2]), forest.values[2]

    def loss(rho, log_z):
        return reach @ (log_z + rho - value) ** 2

    assert loss(value - forest.log_z, forest.log_z) < 1e-20
    assert np.abs(bent(reach, value, forest.log_z) - (value - forest.log_z)).max() < 1e-9
    for wrong in (-0.2, 0.2):
        best = bent(reach, value, forest.log_z + wrong)
        assert 1e-3 < loss(best, forest.log_z + wrong) < wrong**2, "bent, not left where it was"
        said = f"0.2 too {'small' if wrong < 0 else 'large'} +misses .* by up to (\\S+)"
        miss = float(re.search(said, BOOK.printed).group(1))
        assert np.abs(best - (value - forest.log_z)).max() == pytest.approx(miss, abs=6e-4)


# --- what the prose says --------------------------------------------------------------------------


def test_ten_times_the_precision_costs_a_hundred_times_the_answers():
    numbers = [
        int(n.replace(",", "")) for n in re.findall(r"([\d,]+) answers for 0.01 nats", BOOK.printed)
    ]
    assert numbers[1] > 50 * numbers[0], "the hard one is dearer"
    rng = np.random.default_rng(1)

    def error(count):
        estimates = np.log1p(rng.binomial(count, 0.57, size=4000) / count * math.expm1(2))
        return np.sqrt(np.mean((estimates - math.log1p(0.57 * math.expm1(2))) ** 2))

    assert error(1_000) / error(100_000) == pytest.approx(10, rel=0.1)


def test_what_is_printed_about_the_pushes():
    assert re.search(r"^zeros +is pushed", BOOK.printed, re.MULTILINE)
    assert re.search(r"^V +rests$", BOOK.printed, re.MULTILINE)
    assert re.search(r"^V \+ a constant per depth +rests$", BOOK.printed, re.MULTILINE)


def test_three_starts_three_sets_of_shifts_and_one_after_pinning():
    rows = re.findall(
        r"^(?:from zero|random start|another one) +shift +([-+. \d]+?)(?:   all.*)?$",
        BOOK.printed,
        re.M,
    )
    free, after = rows[:3], rows[3:]
    assert len(set(free)) == 3
    log_z = re.search(r"minus log Z is (\S+)", BOOK.printed).group(1)
    assert after == [" ".join([log_z] * 4)] * 3


def test_the_free_strip_is_noise_and_the_pinned_one_is_exact():
    assert "pinned and exact credits agree within 1e-9 nats: True" in BOOK.printed
    assert "full colour at ±1.07" in BOOK.printed


def test_both_switches_break_it_before_the_end_only(forest):
    spreads = {
        name: [float(x) for x in row.split()]
        for name, row in re.findall(
            r"^(.+?) +spread at t = 1\.\.4: (.*)$", BOOK.printed, re.MULTILINE
        )
    }
    assert max(spreads["raw weights"]) == 0
    softened, stale = (
        exact.softmax_weights(forest.tree, 0.2, 2),
        exact.off_policy_samples(forest.tree, 0.2, 2),
    )
    assert spreads["softmax weights"] == pytest.approx(softened.per_depth, abs=6e-4)
    assert spreads["stale samples"] == pytest.approx(stale.per_depth, abs=6e-4)
    for control in (softened, stale):
        assert min(control.per_depth[:-1]) > 0.1
        assert control.at_complete_answers < 1e-9


def test_only_the_first_reading_of_the_poster_makes_sense():
    tree = exact.enumerate_tree(toy_envs.PosterProblem())
    question = exact.index_question(tree, 0.5, t=2, group_size=3)
    assert question.passed
    rests = [row["gradient at V"] < 1e-12 for row in question.table]
    assert rests == [True, True, False, False], "the targets' index alone moves no minimum"


def test_larger_groups_and_larger_alpha_heal_softmax_weights():
    rows = re.findall(
        r"^alpha \S+: groups of 2, 4, 8, 16 miss V by (.*)$", BOOK.printed, re.MULTILINE
    )
    misses = np.array([[float(x) for x in row.split()] for row in rows])
    assert (np.diff(misses, axis=0) < 0).all()
    assert (np.diff(misses, axis=1) < 0).all()
    assert misses[-1, -1] < 0.01


def test_the_best_log_z_leaves_a_variance(forest):
    rng = np.random.default_rng(2)
    reach, value = np.exp(forest.tree.prefix_logps[2]), forest.values[2]
    rho = rng.normal(size=16)
    gap = value - rho
    losses = [reach @ (z - gap) ** 2 for z in np.linspace(-20, 20, 4001)]
    assert min(losses) == pytest.approx(reach @ (gap - reach @ gap) ** 2, abs=1e-3)


def test_a_square_fits_the_mean_of_its_targets_and_not_v(forest):
    tree = forest.tree
    reach, law = np.exp(tree.prefix_logps[2]), np.exp(tree.prefix_logps[-1])
    mean = (law * tree.rewards / 0.2).reshape(16, -1).sum(axis=1) / reach
    miss = float(re.search(r"R in place of V +misses .* by up to (\S+)", BOOK.printed).group(1))
    fitted = mean - np.log(reach @ np.exp(mean))
    assert np.abs(fitted - (forest.values[2] - forest.log_z)).max() == pytest.approx(miss, abs=6e-4)
    assert re.search(r"log Z known +misses .* by up to 0$", BOOK.printed, re.MULTILINE)
    assert re.search(r"log Z learnt +misses .* by up to 0$", BOOK.printed, re.MULTILINE)


def test_minus_for_times_matters_once_a_ticket_stands_for_v(small):
    """The expected push of every group of two answers at V, under the four readings."""
    pushes = dict.fromkeys(itertools.product(("times", "minus"), ("V known", "a ticket")), 0.0)
    for reading, weights in pushes:
        total = np.zeros(3)
        for p, tickets, prefixes in groups_of_answers(small, 2, 1):
            true = [math.exp(small.values[1][k]) for k in prefixes]
            w = np.array(true if weights == "V known" else tickets)
            w = w / w.sum() if reading == "minus" else w
            np.add.at(total, prefixes, p * (w - w.sum() * np.array(true) / sum(true)))
        pushes[reading, weights] = np.abs(total).max()
        said = re.search(rf"{reading}, {weights} +push .*: (\S+)$", BOOK.printed, re.MULTILINE)
        assert (float(said.group(1)) == 0) == (pushes[reading, weights] < 1e-12)
    assert [key for key, push in pushes.items() if push > 1e-3] == [("minus", "a ticket")]
