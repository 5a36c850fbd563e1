import math

import numpy as np
import pytest

from gnivo_edu import exact
from gnivo_edu.exact.theorems import prefix_log_law
from tests.exact.problems import random_tree


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
