import itertools
import json
import math

import numpy as np
import pytest

import gnivo_edu.exact.solution
import toy_envs
from gnivo_edu import exact
from gnivo_edu.exact.theorems import marginal_optimal_logps, prefix_log_law


def random_tree(vocab_size=3, horizon=3, seed=0, binary=False):
    rewards = np.random.default_rng(seed).random(vocab_size**horizon)
    if binary:
        rewards = (rewards > 0.6).astype(float)
    return exact.enumerate_tree_from_rewards(
        rewards, vocab_size, exact.random_reference(vocab_size, horizon, seed)
    )


def by_tuples(p, weights, targets, v, group_size):
    """Model and loss of GroupObjective from every K-tuple, in plain Python."""
    n, loss, model = len(p), 0.0, np.zeros(len(p))
    for group in itertools.product(range(n), repeat=group_size):
        probability = math.prod(p[i] for i in group)
        total = sum(weights[i] for i in group) if weights is not None else 1.0
        normaliser = sum(math.exp(v[i]) for i in group)
        loss += probability * total * math.log(normaliser)
        model[group[0]] += probability / p[group[0]] * total * math.exp(v[group[0]]) / normaliser
    return loss - group_size * sum(p * targets * v), model


@pytest.mark.parametrize("group_size", [2, 3, 4])
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("scale", [0.3, 5.0])
def test_group_expectations_equal_k_tuples(group_size, raw, scale):
    rng = np.random.default_rng(group_size)
    p = rng.dirichlet(np.ones(4))
    targets, v = np.exp(scale * rng.standard_normal(4)), scale * rng.standard_normal(4)
    objective = exact.GroupObjective(p, targets, group_size, total=targets if raw else None)
    loss, model = by_tuples(p, targets if raw else None, targets, v, group_size)
    assert objective.loss(v) == pytest.approx(loss, rel=1e-11)
    assert objective.model(v) == pytest.approx(model, rel=1e-13)
    # The gradient of the loss: dL/dv_k = K p_k (model_k - target_k), by central differences.
    for k in range(4):
        step = 1e-5 * np.eye(4)[k]
        slope = (objective.loss(v + step) - objective.loss(v - step)) / 2e-5
        assert group_size * p[k] * objective.gradient(v)[k] == pytest.approx(
            slope, rel=1e-6, abs=1e-7 * targets.max()
        )


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


def test_controls_bite_before_the_end_and_are_harmless_at_the_end():
    tree = random_tree(binary=True)
    for alpha in (0.1, 0.5, 1.0):
        for group_size in (2, 3, 4):
            for control in (exact.softmax_weights, exact.off_policy_samples):
                result = control(tree, alpha, group_size)
                assert result.why_not is None
                assert result.behaves
                assert result.violation > 1e-3
                assert result.at_complete_answers < 1e-9


def test_softmax_weights_fit_what_k_tuples_of_answers_say():
    # Independent of the integral: E[softmax(R/alpha)_1 | prefix] from all pairs of answers, then
    # the fit's equation.
    tree, alpha = random_tree(2, 2, seed=4), 0.3
    weights = np.exp(tree.rewards / alpha)
    law = np.exp(prefix_log_law(tree.step_logps)[2])
    share = (law[None, :] * weights[:, None] / (weights[:, None] + weights[None, :])).sum(axis=1)
    first = np.exp(prefix_log_law(tree.step_logps)[1])
    target = (law * share).reshape(2, 2).sum(axis=1) / first
    # K = 2, two prefixes: the gradient at prefix 0 is first[0]*0.5 + first[1]*sigmoid(v0 - v1) -
    #     target[0].
    gap = math.log((target[0] - 0.5 * first[0]) / (first[1] - target[0] + 0.5 * first[0]))
    value = exact.solve(tree, alpha).values[1]
    expected = abs(gap - (value[0] - value[1]))
    assert exact.softmax_weights(tree, alpha, 2).violation == pytest.approx(expected, rel=1e-9)


def test_a_control_that_cannot_bite_says_why():
    # The first token settles the reward: softmax weights are exact at every t, off-policy
    # completions too.
    tree = exact.enumerate_tree_from_rewards([0, 0, 1, 1], 2, exact.random_reference(2, 2, 0))
    for control in (exact.softmax_weights(tree, 0.5, 2), exact.off_policy_samples(tree, 0.5, 2)):
        assert control.why_not
        assert control.violation < 1e-9
        assert control.behaves
    for t in (3, 4):
        flat = exact.enumerate_tree_from_rewards(np.ones(2**t), 2, exact.random_reference(2, t, 0))
        assert exact.verify_constant_shift(flat, 0.5, 3).passed
        assert exact.softmax_weights(flat, 0.5, 3).why_not


def test_at_a_huge_alpha_normalising_hardly_matters_and_is_said_to():
    control = exact.softmax_weights(random_tree(), 1e3, 3)
    assert "alpha is so large" in control.why_not
    assert control.behaves
    # A small span is no excuse where it bites all the same, and missing without a reason is not
    # behaving.
    assert exact.softmax_weights(random_tree(), 6.0, 2).why_not is None
    assert not exact.Control("softmax_weights", [1e-6, 0.0], None).behaves
    assert not exact.Control("softmax_weights", [0.5, 0.0], "it cannot").behaves
    assert not exact.Control("softmax_weights", [0.5, 0.1], None).behaves


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


def test_the_fit_finds_a_spread_of_hundreds_of_nats_and_refuses_more():
    assert exact.verify_constant_shift(random_tree(), 0.005, 2).passed
    with pytest.raises(ValueError, match="raise alpha"):
        exact.verify_constant_shift(random_tree(), 1e-3, 2)
    with pytest.raises(ValueError, match="group_size"):
        exact.verify_constant_shift(random_tree(), 1.0, 1)


def test_certificates_print_render_and_serialise():
    certificate = exact.verify_constant_shift(
        exact.enumerate_tree(toy_envs.PosterProblem()), 0.2, 2
    )
    assert str(certificate).startswith("HOLDS  Theorem 2")
    assert "credit error" in str(certificate)
    assert "<table>" in certificate._repr_html_()
    again = json.loads(certificate.to_json())
    assert again["passed"] is True
    assert again["measures"]["group_size"] == 2
    assert len(again["table"]) == 7
