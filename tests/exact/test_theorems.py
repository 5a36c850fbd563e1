import numpy as np
import pytest

import gnivo_edu.exact.solution
from gnivo_edu import exact
from gnivo_edu.exact.theorems import marginal_optimal_logps
from tests.exact.problems import random_tree


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

    monkeypatch.setattr(gnivo_edu.exact.solution, "_backup", forbidden)
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


@pytest.mark.parametrize("group_size", [2, 3])
def test_the_sums_of_the_poster_run_from_zero(group_size):
    certificate = exact.index_question(random_tree(), 0.4, 2, group_size)
    assert certificate.passed
    both, targets_only, *_ = certificate.table
    # Read literally, the targets do not sum to one, yet the leading factor cancels: the minimiser
    # is the same.
    assert targets_only["targets sum to"] > 1.01
    assert targets_only["gradient at V"] < 1e-12
    assert both["gradient at V"] < 1e-12
    assert all(row["gradient at V"] > 1e-3 for row in certificate.table if row["model from j"] == 1)
    with pytest.raises(ValueError, match="too many"):
        exact.index_question(random_tree(4, 5), 0.4, 5, 4)
