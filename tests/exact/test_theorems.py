import math

import numpy as np
import pytest

import gnivo_edu.exact.solution
import gnivo_edu.exact.theorems
import toy_envs
from gnivo_edu import exact
from gnivo_edu.exact.theorems import marginal_optimal_logps
from tests.exact import brute
from tests.exact.problems import by_tuples, problem, random_tree


@pytest.mark.parametrize("alpha", [0.02, 0.1, 0.5, 1.0, 10.0])
@pytest.mark.parametrize("group_size", [2, 3, 4, 8])
def test_both_theorems_hold(alpha, group_size):
    tree = random_tree(binary=group_size == 3)
    assert exact.verify_soft_value_theorem(tree, alpha).max_abs_error < 1e-12
    certificate = exact.verify_constant_shift(tree, alpha, group_size)
    assert certificate.passed
    assert certificate.max_abs_error < 1e-8
    assert certificate["gradient_norm_at_shifted_optimum"] < 1e-12
    assert certificate["smallest_increase"] > 0
    assert certificate["pinned_error"] < 1e-8
    assert certificate["credit_error"] < 1e-8
    # Pinned by a policy, the shift is -log Z at every depth.
    log_z = exact.solve(tree, alpha).log_z
    assert [row["shift"] for row in certificate.table] == pytest.approx([-log_z] * 3, abs=1e-8)


def test_the_two_routes_of_theorem_1_share_no_function(monkeypatch):
    tree = random_tree()
    expected = marginal_optimal_logps(tree, 0.5)

    def forbidden(*_):
        raise AssertionError("the marginal route used backward induction")

    monkeypatch.setattr(gnivo_edu.exact.solution, "backup", forbidden)
    monkeypatch.setattr(gnivo_edu.exact.theorems, "solve", forbidden)
    monkeypatch.setattr(exact.TokenTree, "prefix_logps", property(forbidden))
    again = marginal_optimal_logps(tree, 0.5)
    assert all(np.array_equal(a, b) for a, b in zip(expected, again, strict=True))


def test_the_theorems_can_fail(monkeypatch):
    tree, original = random_tree(), exact.solve

    def raw_values(tree, alpha):  # the mean of R/alpha in place of the soft value
        values = [tree.rewards / alpha]
        for table in reversed(tree.step_logps):
            values.append((np.exp(table) * values[-1].reshape(table.shape)).sum(axis=1))
        return exact.Solution(tree, alpha, values[::-1])

    for broken in (raw_values, lambda tree, alpha: original(tree, 1.001 * alpha)):
        monkeypatch.setattr(gnivo_edu.exact.theorems, "solve", broken)
        assert not exact.verify_soft_value_theorem(tree, 0.5).passed
        assert not exact.verify_constant_shift(tree, 0.5, 2).passed


def test_prefixes_may_come_from_anywhere_but_completions_may_not():
    tree, elsewhere = random_tree(), exact.random_reference(3, 3, seed=99)
    assert exact.verify_constant_shift(tree, 0.3, 3, prefix_sampler=elsewhere).passed
    assert exact.off_policy_samples(tree, 0.3, 3, elsewhere).violation > 0.05


def test_theorem_1_reports_every_depth():
    tree = random_tree()
    certificate = exact.verify_soft_value_theorem(tree, 0.25)
    assert [(row["t"], row["prefixes"]) for row in certificate.table] == [
        (0, 1),
        (1, 3),
        (2, 9),
        (3, 27),
    ]
    assert certificate.prefixes == 40
    assert certificate.limit == 1e-10
    assert "(alpha 0.25)" in certificate.claim


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_theorem_1_measures_an_error_at_any_depth(monkeypatch, depth):
    tree, original = random_tree(), exact.solve

    def off_at_one_prefix(tree, alpha):
        solution = original(tree, alpha)
        solution.values[depth][0] -= 1e-3
        return solution

    monkeypatch.setattr(gnivo_edu.exact.theorems, "solve", off_at_one_prefix)
    certificate = exact.verify_soft_value_theorem(tree, 0.5)
    assert not certificate.passed
    assert certificate.max_abs_error == pytest.approx(1e-3, rel=1e-9)
    errors = [row["largest error"] for row in certificate.table]
    # An error of log Z is one of every prefix but the empty one; any other is its prefix's own.
    wrong = [1, 2, 3] if depth == 0 else [depth]
    assert errors == pytest.approx([1e-3 * (t in wrong) for t in range(4)], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_nan_does_not_pass(monkeypatch, depth):
    tree, original = random_tree(), exact.solve

    def with_a_nan(tree, alpha):
        solution = original(tree, alpha)
        solution.values[depth][1] = math.nan
        return solution

    monkeypatch.setattr(gnivo_edu.exact.theorems, "solve", with_a_nan)
    certificate = exact.verify_soft_value_theorem(tree, 0.5)
    assert not certificate.passed
    assert math.isnan(certificate.max_abs_error)
    with pytest.raises(ValueError, match="the values span nan nats"):
        exact.verify_constant_shift(tree, 0.5, 2)


def test_the_marginals_are_the_optimal_policy_by_its_definition():
    tree, all_answers, rewards, tables = problem(3, 3, None, seed=7)
    weight = {a: brute.probability(a, tables, 3) * math.exp(rewards[a] / 0.4) for a in all_answers}
    for t, logps in enumerate(marginal_optimal_logps(tree, 0.4)):
        for n in range(3**t):
            through = sum(w for a, w in weight.items() if a[:t] == tree.prefix(t, n))
            expected = math.log(through / sum(weight.values()))
            assert logps[n] == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="alpha must be a positive number"):
        marginal_optimal_logps(tree, 0.0)


def test_theorem_2_reports_every_depth():
    tree = random_tree()
    certificate = exact.verify_constant_shift(tree, 0.25, 2)
    rows = certificate.table
    assert [(row["t"], row["prefixes"]) for row in rows] == [(1, 3), (2, 9), (3, 27)]
    assert certificate.prefixes == 39
    assert certificate.limit == 1e-7
    assert certificate["group_size"] == 2
    assert "(alpha 0.25, groups of 2)" in certificate.claim
    assert certificate.max_abs_error == max(row["spread"] for row in rows)
    assert certificate["pinned_error"] == max(row["pinned error"] for row in rows)
    assert certificate["smallest_increase"] == min(row["smallest increase"] for row in rows)


@pytest.mark.parametrize("seed", [5, 6, 7, 8])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_measures_of_theorem_2_are_what_they_say(monkeypatch, seed, elsewhere):
    """At one depth and K = 2, from all pairs in plain Python; the draws are those of the seed."""
    # Four tokens, the last of them impossible.
    tables = [np.log([[0.5, 0.3, 0.2, 1e-300]])]
    tables[0][0, 3] = -np.inf
    tree = exact.enumerate_tree_from_rewards([0.1, 0.7, 0.4, 9.0], 4, tables)
    sampler = exact.random_reference(4, 1, seed=1) if elsewhere else None
    alpha = 0.5
    rng = np.random.default_rng(seed)
    rng.standard_normal((2, 3))  # the starts
    shift = rng.uniform(-3, 3)
    directions = 0.1 * rng.standard_normal((2, 3))
    value = exact.solve(tree, alpha).values[1][:3]
    p = np.exp((sampler or tables)[0][0, :3])
    p /= p.sum()
    target = np.exp(value - value.max())
    minimum, _ = by_tuples(p, target, target, value, 2)
    increases = []
    for d in directions:
        d -= (p * target) @ d / (p * target).sum()
        for v in (value + d, value - d):
            loss, _ = by_tuples(p, target, target, v, 2)
            increases.append((loss - minimum) / ((p * target) @ d**2))
    certificate = exact.verify_constant_shift(tree, alpha, 2, sampler, seed=seed)
    assert certificate.passed
    assert certificate["smallest_increase"] == pytest.approx(min(increases), rel=1e-6)

    def doubled(objective, v):
        return 2 * objective.model(v) - objective.targets

    monkeypatch.setattr(exact.GroupObjective, "gradient", doubled)
    certificate = exact.verify_constant_shift(tree, alpha, 2, sampler, seed=seed)
    assert not certificate.passed
    norms = []
    for v in (value + shift, np.zeros(3)):
        _, model = by_tuples(p, target, target, v, 2)
        norms.append(np.abs(2 * model - target).max())
    expected = norms[0] / norms[1]
    assert certificate["gradient_norm_at_shifted_optimum"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("size", "measure"), [(1e-13, 1e-13), (1e-11, 1e-11), (1e-4, 1.0)])
def test_a_gradient_is_relative_to_one_that_is_more_than_rounding(monkeypatch, size, measure):
    monkeypatch.setattr(exact.GroupObjective, "gradient", lambda _, v: np.full(len(v), -size))
    certificate = exact.verify_constant_shift(random_tree(), 0.5, 2)
    assert certificate["gradient_norm_at_shifted_optimum"] == measure
    assert certificate.passed == (measure < 1e-10)


def test_limits_are_inclusive(monkeypatch):
    theorems, tree = gnivo_edu.exact.theorems, random_tree()
    original = exact.solve

    def off(tree, alpha):
        solution = original(tree, alpha)
        solution.values[1][0] += 1e-9
        return solution

    with monkeypatch.context() as patched:
        patched.setattr(theorems, "solve", off)
        error = exact.verify_soft_value_theorem(tree, 0.5).max_abs_error
        patched.setattr(theorems, "THEOREM_1_LIMIT", error)
        assert exact.verify_soft_value_theorem(tree, 0.5).passed
        patched.setattr(theorems, "THEOREM_1_LIMIT", error / 2)
        assert not exact.verify_soft_value_theorem(tree, 0.5).passed
    certificate = exact.verify_constant_shift(tree, 0.5, 2)
    norm = certificate["gradient_norm_at_shifted_optimum"]
    monkeypatch.setattr(theorems, "GRADIENT_LIMIT", norm)
    assert exact.verify_constant_shift(tree, 0.5, 2).passed
    # The errors of the fit share one limit: the largest of them decides.
    monkeypatch.setattr(theorems, "_credit_error", lambda *_, **__: 1e-3)
    monkeypatch.setattr(theorems, "SPREAD_LIMIT", 1e-3)
    assert exact.verify_constant_shift(tree, 0.5, 2).passed
    monkeypatch.setattr(theorems, "_credit_error", lambda *_, **__: 0.0)
    monkeypatch.setattr(theorems, "SPREAD_LIMIT", 1.0)
    monkeypatch.setattr(theorems, "log_mean_exp", lambda *_: 0.25)
    pinned = exact.verify_constant_shift(tree, 0.5, 2)["pinned_error"]
    monkeypatch.setattr(theorems, "SPREAD_LIMIT", pinned)
    assert exact.verify_constant_shift(tree, 0.5, 2).passed
    monkeypatch.undo()
    monkeypatch.setattr(theorems, "_credit_error", lambda *_, **__: 0.0)
    monkeypatch.setattr(theorems, "spread", lambda _: 1e-3)
    monkeypatch.setattr(theorems, "SPREAD_LIMIT", 1e-3)
    assert exact.verify_constant_shift(tree, 0.5, 2).passed


def test_an_error_of_the_fit_shows_in_every_measure_of_it(monkeypatch):
    tree, fit = random_tree(), exact.GroupObjective.fit

    def off_at_one_prefix(objective, start):
        v = fit(objective, start)
        v[0] += 1e-3 * len(v)
        return v

    monkeypatch.setattr(exact.GroupObjective, "fit", off_at_one_prefix)
    certificate = exact.verify_constant_shift(tree, 0.5, 2)
    assert not certificate.passed
    spreads = [row["spread"] for row in certificate.table]
    assert spreads == pytest.approx([0.003, 0.009, 0.027], rel=1e-6)
    # V_theta(s_t) is off by 1e-3 V**t less its mean e^V_theta-weighted share: the errors differ
    # between a prefix and its parent.
    assert 0.02 < certificate["pinned_error"] < 0.027
    assert 0.01 < certificate["credit_error"] < 0.03
    # The fit is no minimum any more, so some direction leads down.
    assert certificate["smallest_increase"] < 1


@pytest.mark.parametrize(
    ("name", "value", "measure"),
    [
        ("smallest_increase", -1e-9, "smallest_increase"),
        ("_credit_error", 1e-3, "credit_error"),
        ("log_mean_exp", 1e-3, "pinned_error"),
    ],
)
def test_each_measure_of_theorem_2_can_fail_it_alone(monkeypatch, name, value, measure):
    monkeypatch.setattr(gnivo_edu.exact.theorems, name, lambda *_, **__: value)
    certificate = exact.verify_constant_shift(random_tree(), 0.5, 2)
    assert not certificate.passed
    assert certificate.max_abs_error < 1e-6
    monkeypatch.setattr(gnivo_edu.exact.theorems, "SPREAD_LIMIT", 10.0)
    assert exact.verify_constant_shift(random_tree(), 0.5, 2).passed is (value > 0)


def test_a_common_shift_of_the_pinned_values_is_an_error_of_the_first_credit(monkeypatch):
    original = gnivo_edu.exact.theorems.log_mean_exp
    monkeypatch.setattr(
        gnivo_edu.exact.theorems, "log_mean_exp", lambda *values: original(*values) + 0.25
    )
    certificate = exact.verify_constant_shift(random_tree(), 0.5, 2)
    assert certificate["pinned_error"] == pytest.approx(0.25, rel=1e-6)
    assert certificate["credit_error"] == pytest.approx(0.25, rel=1e-6)
    assert not certificate.passed


def test_the_seed_draws_the_starts_and_the_disturbances():
    one, again, other = (
        exact.verify_constant_shift(random_tree(), 0.5, 2, seed=seed) for seed in (0, 0, 1)
    )
    assert one.to_json() == again.to_json()
    assert one["smallest_increase"] != other["smallest_increase"]
    assert one.to_json() == exact.verify_constant_shift(random_tree(), 0.5, 2).to_json()


def test_one_prefix_alone_has_no_direction_and_is_passed_over():
    tree = exact.enumerate_tree(toy_envs.TokenMDP(1, 2, reward=lambda tokens, lengths: lengths))
    certificate = exact.verify_constant_shift(tree, 0.5, 2)
    assert certificate.passed
    assert certificate["smallest_increase"] == 0.0


TEMPERATURES = [pytest.param(1e-4, marks=pytest.mark.slow), 1e-3, 0.01, 0.03, 0.05, 1.0, 100.0, 1e6]


@pytest.mark.parametrize("alpha", TEMPERATURES)
@pytest.mark.parametrize("group_size", [2, 4, 1_000_000])
def test_both_theorems_are_decided_at_every_temperature(alpha, group_size):
    for tree in (random_tree(), random_tree(binary=True)):
        first = exact.verify_soft_value_theorem(tree, alpha)
        second = exact.verify_constant_shift(tree, alpha, group_size)
        assert first.passed
        assert second.passed
        assert first.undecided == second.undecided == []
        assert len(second.table) == 3


@pytest.mark.parametrize("alpha", TEMPERATURES)
def test_an_error_of_a_millionth_is_caught_at_every_temperature(monkeypatch, alpha):
    """In V, in a target, and in a fitted value."""
    tree, theorems = random_tree(), gnivo_edu.exact.theorems
    solve, marginals, fit = exact.solve, marginal_optimal_logps, exact.GroupObjective.fit

    def wrong_value(tree, alpha):
        solution = solve(tree, alpha)
        solution.values[2][4] += 1e-6
        return solution

    def wrong_target(tree, alpha):
        tables = marginals(tree, alpha)
        tables[2][4] += 1e-6
        return tables

    def wrong_fit(objective, start):
        v = fit(objective, start)
        v[-1] += 1e-6
        return v

    for place, name, planted in (
        (theorems, "solve", wrong_value),
        (theorems, "marginal_optimal_logps", wrong_target),
        (exact.GroupObjective, "fit", wrong_fit),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, planted)
            second = exact.verify_constant_shift(tree, alpha, 2)
            assert not second.passed
            assert second.undecided == []
            if name != "fit":
                assert not exact.verify_soft_value_theorem(tree, alpha).passed


@pytest.mark.parametrize("alpha", [1e-4, 1.0, 1e6])
def test_theorem_1_holds_down_to_chances_of_e_to_the_minus_700(alpha):
    rng = np.random.default_rng(0)
    tables = [700 * rng.random((3**t, 3)) for t in range(3)]
    tables = [-table + table.min(axis=1, keepdims=True) for table in tables]
    tables = [table - np.logaddexp.reduce(table, axis=1, keepdims=True) for table in tables]
    tree = exact.enumerate_tree_from_rewards(rng.random(27), 3, tables)
    certificate = exact.verify_soft_value_theorem(tree, alpha)
    assert certificate.passed
    assert certificate.undecided == []


@pytest.mark.parametrize("alpha", [1e-3, 0.05, 1.0, 1e6])
@pytest.mark.parametrize("rare", [-30.0, -100.0, -700.0])
def test_a_depth_that_is_nearly_deterministic_is_never_denied(alpha, rare):
    rng = np.random.default_rng(1)
    tables = [np.full((3**t, 3), rare) for t in range(2)]
    for table in tables:
        table[:, 1] = np.log1p(-2 * np.exp(rare))
    tree = exact.enumerate_tree_from_rewards(rng.random(9), 3, tables)
    second = exact.verify_constant_shift(tree, alpha, 2)
    assert second.passed, second
    assert all("t = " in why and "nats" in why for why in second.undecided)


def test_a_range_beyond_the_stated_one_is_not_decided_and_says_so():
    certificate = exact.verify_constant_shift(random_tree(), 1e-6, 2)
    assert certificate.passed
    assert len(certificate.undecided) == 3
    assert "t = 3: values over" in certificate.undecided[2]
    assert "fitted up to 20,000" in certificate.undecided[2]
    assert "not decided: t = 3" in str(certificate)
    assert "not decided: t = 3" in certificate._repr_html_()
    first = exact.verify_soft_value_theorem(random_tree(), 1e-9)
    assert first.passed
    assert "raise alpha" in first.undecided[0]


@pytest.mark.parametrize("alpha", [0.01, 1.0, 1e6])
def test_a_fit_that_does_not_arrive_excuses_no_value_that_misses_its_equation(monkeypatch, alpha):
    tree, solve = random_tree(), exact.solve

    def stuck(objective, start):
        raise RuntimeError("the fit stopped")

    def wrong(tree, alpha):
        solution = solve(tree, alpha)
        solution.values[2][4] += 1e-6
        return solution

    monkeypatch.setattr(exact.GroupObjective, "fit", stuck)
    certificate = exact.verify_constant_shift(tree, alpha, 2)
    assert certificate.passed
    assert len(certificate.undecided) == 3
    monkeypatch.setattr(gnivo_edu.exact.theorems, "solve", wrong)
    certificate = exact.verify_constant_shift(tree, alpha, 2)
    assert not certificate.passed
    assert [row["t"] for row in certificate.table] == [2]


@pytest.mark.parametrize("alpha", [1e-3, 0.01, 1.0, 1e6])
@pytest.mark.parametrize("lowest", [-30.0, -300.0, -700.0])
@pytest.mark.parametrize("seed", [1, 2, 9])
def test_rare_tokens_leave_a_depth_undecided_at_most(alpha, lowest, seed):
    rng = np.random.default_rng(seed)
    tables = [lowest * rng.random((2**t, 2)) for t in range(3)]
    tables = [table - np.logaddexp.reduce(table, axis=1, keepdims=True) for table in tables]
    tree = exact.enumerate_tree_from_rewards(rng.random(8), 2, tables)
    for group_size in (2, 64):
        second = exact.verify_constant_shift(tree, alpha, group_size)
        assert second.passed, second
        assert all("t = " in why and "nats" in why for why in second.undecided)
        assert len(second.undecided) + len(second.table) == 3
        for control in (exact.softmax_weights, exact.off_policy_samples):
            assert control(tree, alpha, group_size).behaves
