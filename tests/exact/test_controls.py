import math

import numpy as np
import pytest

from gnivo_edu import exact
from gnivo_edu.exact.controls import BITE, _relative_variance, log_softmax_shares
from gnivo_edu.exact.theorems import prefix_log_law
from tests.exact import brute
from tests.exact.problems import by_tuples, mdp_with, problem, random_tree


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


def test_the_violations_of_softmax_weights_are_those_of_k_tuples_at_every_depth():
    tree, alpha, group_size = random_tree(2, 3, seed=2), 0.2, 3
    law = np.exp(prefix_log_law(tree.step_logps)[-1])
    weights = np.exp(tree.rewards / alpha)
    # E[softmax(R/alpha)_1 | answer 1] from all groups of answers; then its mean given each prefix.
    _, share = by_tuples(law, None, weights, tree.rewards / alpha, group_size)
    violations = exact.softmax_weights(tree, alpha, group_size).per_depth
    for t in (1, 2, 3):
        p = law.reshape(2**t, -1).sum(axis=1)
        target = (law * share).reshape(2**t, -1).sum(axis=1) / p
        objective = exact.GroupObjective(p, target, group_size, total=None)
        fit = objective.fit(exact.solve(tree, alpha).values[t])
        assert by_tuples(p, None, target, fit, group_size)[1] == pytest.approx(target, rel=1e-9)
        violation = np.ptp(fit - exact.solve(tree, alpha).values[t])
        assert violations[t - 1] == pytest.approx(violation, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("group_size", [2, 3])
def test_off_policy_samples_fit_the_soft_value_of_the_sampler(group_size):
    tree, all_answers, rewards, _ = problem(3, 3, None, seed=4)
    sampler = exact.random_reference(3, 3, seed=5)
    control = exact.off_policy_samples(tree, 0.5, group_size, sampler)
    for t in (1, 2, 3):
        differences = []
        for n in range(3**t):
            prefix = tree.prefix(t, n)
            value = brute.soft_value(prefix, all_answers, rewards, sampler, 3, 0.5)
            differences.append(value - exact.solve(tree, 0.5).soft_value(prefix))
        expected = max(differences) - min(differences)
        assert control.per_depth[t - 1] == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_a_sampler_keeps_to_what_the_reference_allows():
    """A token that the reference rules out is not drawn, and an answer that has ended stays so."""
    all_answers = brute.answers(3, 3, eos=2)
    rewards = {answer: float(sum(answer) % 3 == 1) for answer in all_answers}
    tables = exact.random_reference(3, 3, seed=0)
    tables[1][0] = np.log([0.5, 1e-300, 0.5])
    tables[1][0, 1] = -np.inf
    tree = exact.enumerate_tree(mdp_with(rewards, 3, 3, eos=2), tables)
    sampler = exact.random_reference(3, 3, seed=1)
    control = exact.off_policy_samples(tree, 0.5, 2, sampler)
    sampler[1][0, 1] = -np.inf
    sampler[1][0] -= np.logaddexp.reduce(sampler[1][0])
    allowed = [answer for answer in all_answers if answer[:2] != (0, 1)]
    solution = exact.solve(tree, 0.5)
    for t in (1, 2, 3):
        differences = [
            brute.soft_value(p, allowed, rewards, sampler, 3, 0.5) - solution.soft_value(p)
            for p in {answer[:t] for answer in allowed}
        ]
        expected = max(differences) - min(differences)
        assert control.per_depth[t - 1] == pytest.approx(expected, rel=1e-7, abs=1e-9)
    assert control.behaves


def test_by_default_the_sampler_is_one_random_policy():
    tree = random_tree()
    sampler = exact.random_reference(3, 3, seed=10_007)
    assert exact.off_policy_samples(tree, 0.5, 2) == exact.off_policy_samples(tree, 0.5, 2, sampler)


def test_a_control_is_judged_by_all_depths_but_the_last():
    control = exact.Control("softmax_weights", [0.1, 0.3, 0.2, 1e-7], None)
    assert (control.violation, control.at_complete_answers) == (0.3, 1e-7)
    assert control.behaves
    alone = exact.Control("softmax_weights", [1e-9], "one step, no t < T")
    assert (alone.violation, alone.at_complete_answers) == (0.0, 1e-9)
    assert alone.behaves
    # The bounds themselves: more than BITE bites, up to 1e-7 is harmless.
    assert not exact.Control("softmax_weights", [BITE, 0.0], None).behaves
    assert exact.Control("softmax_weights", [BITE, 0.0], "it cannot").behaves
    assert not exact.Control("softmax_weights", [0.5, 1.1e-7], None).behaves


def test_one_step_leaves_the_controls_nothing_to_break():
    tree = random_tree(3, 1)
    for control in (exact.softmax_weights(tree, 0.5, 2), exact.off_policy_samples(tree, 0.5, 2)):
        assert control.why_not.startswith("at every t < T")
        assert control.behaves


def test_a_reason_must_hold_at_every_depth_before_the_last():
    # The reward is settled by the second token, not by the first: softmax weights bite at t = 1.
    rewards = np.repeat([0.0, 1.0, 1.0, 1.0], 2)
    tree = exact.enumerate_tree_from_rewards(rewards, 2, exact.random_reference(2, 3, seed=0))
    control = exact.softmax_weights(tree, 0.5, 2)
    assert control.why_not is None
    assert control.per_depth[0] > 1e-2
    assert control.per_depth[1] < 1e-9
    assert control.behaves
    # By the first: no depth is left to bite at, though the prefixes differ.
    tree = exact.enumerate_tree_from_rewards(np.repeat([0.0, 1.0], 4), 2)
    assert exact.softmax_weights(tree, 0.5, 2).why_not
    # Open, but all prefixes alike at t = 1 and not at t = 2: no reason.
    tree = exact.enumerate_tree_from_rewards([0, 0.2, 1, 1, 0, 0.2, 1, 1], 2)
    control = exact.softmax_weights(tree, 0.5, 2)
    assert control.per_depth[0] < 1e-9
    assert control.why_not is None
    assert control.behaves
    # The other policy's values are off by a constant at t = 1 and by more at t = 2.
    sampler = exact.uniform_reference(2, 3)
    sampler[2][0] = np.log([0.9, 0.1])
    sampler[2][2] = np.log([0.9, 0.1])
    control = exact.off_policy_samples(tree, 0.5, 2, sampler)
    assert control.per_depth[0] < 1e-9
    assert control.per_depth[1] > 1e-2
    assert control.why_not is None
    assert control.behaves


def test_the_reward_may_vary_a_little_before_it_counts_as_open():
    # Rewards 1e-7 apart have a variance of 2.5e-15: settled. 1e-4 apart: open.
    for gap, open_ in ((1e-7, False), (1e-4, True)):
        tree = exact.enumerate_tree_from_rewards([0.0, gap, 1.0, 1.0 + gap], 2)
        assert ("settles the reward" in exact.softmax_weights(tree, 0.5, 2).why_not) != open_


def test_the_variance_of_the_weights_is_that_of_the_reference():
    tree, all_answers, rewards, tables = problem(2, 3, None, seed=9)
    logs = _relative_variance(tree, exact.solve(tree, 0.5).values)
    for t in range(4):
        for n, log_variance in enumerate(logs[t]):
            prefix = tree.prefix(t, n)
            through = [a for a in all_answers if a[:t] == prefix]
            p = np.array([brute.probability(a, tables, 2, t) for a in through])
            w = np.exp(np.array([rewards[a] for a in through]) / 0.5)
            expected = (p @ w**2 - (p @ w) ** 2) / (p @ w) ** 2
            assert np.exp(log_variance) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("group_size", [2, 3, 4])
def test_the_race_of_clocks_is_the_softmax_over_k_tuples(group_size):
    rng = np.random.default_rng(group_size)
    p, x = rng.dirichlet(np.ones(4)), 4 * rng.standard_normal(4)
    _, share = by_tuples(p, None, np.exp(x), x, group_size)
    shares = np.exp(log_softmax_shares(np.log(p), x, group_size))
    assert shares == pytest.approx(share, rel=1e-12)
    # The mean over groups of a sum of shares is one.
    far = np.array([0.0, 900.0, 1.0, 5000.0])
    log_shares = log_softmax_shares(np.log(p), far, group_size)
    assert group_size * p @ np.exp(log_shares) == pytest.approx(1.0, rel=1e-11)


def test_the_target_of_softmax_weights_does_not_come_from_the_fit(monkeypatch):
    """A slip in the model of the fit must show, also at complete answers."""
    tree, integrals = random_tree(binary=True), exact.GroupObjective.log_model
    residual = exact.GroupObjective._residual

    def slipped(objective, own):
        tilt = 1e-5 * np.arange(len(objective.log_targets)) / len(objective.log_targets)
        return residual(objective, own) + tilt

    monkeypatch.setattr(exact.GroupObjective, "_residual", slipped)
    assert exact.softmax_weights(tree, 0.5, 2).at_complete_answers > 1e-6
    assert integrals is exact.GroupObjective.log_model


TEMPERATURES = [pytest.param(1e-4, marks=pytest.mark.slow), 1e-3, 0.01, 0.03, 0.05, 1.0, 100.0, 1e6]


@pytest.mark.parametrize("alpha", TEMPERATURES)
@pytest.mark.parametrize("group_size", [2, 4, 1_000_000])
def test_controls_behave_at_every_temperature(alpha, group_size):
    tree = random_tree(binary=True)
    for control in (exact.softmax_weights, exact.off_policy_samples):
        result = control(tree, alpha, group_size)
        assert result.behaves, result
        assert not np.isnan(result.per_depth).any()


def test_a_control_out_of_range_says_so():
    tree = random_tree()
    for control in (exact.softmax_weights, exact.off_policy_samples):
        result = control(tree, 1e-6, 2)
        assert "nats, and a free V_theta is fitted up to 20,000" in result.why_not
        assert result.behaves


def test_a_sampler_whose_chances_underflow_is_no_error(recwarn):
    tree = random_tree(2, 3)
    sampler = exact.uniform_reference(2, 3)
    for table in sampler:
        table[:] = [-700.0, 0.0]
    assert exact.off_policy_samples(tree, 0.5, 2, sampler).violation > 1e-3
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_impossible_prefixes_have_no_say():
    """Their rewards are 0, here a thousand nats above all others."""
    rewards = {(0,): -10.0, (1, 0): -9.9, (1, 1): -9.95}
    tree = exact.enumerate_tree(mdp_with(rewards, 2, 2, eos=0), exact.random_reference(2, 2, 0))
    for control in (exact.softmax_weights(tree, 0.01, 2), exact.off_policy_samples(tree, 0.01, 2)):
        assert control.behaves
        assert 1e-3 < control.violation < 30
    assert exact.verify_constant_shift(tree, 0.01, 2).passed


def test_prefixes_of_one_value_are_not_alike_if_only_one_leaves_the_reward_open():
    alpha = 0.5
    settled = alpha * math.log(0.5 + 0.5 * math.exp(1 / alpha))
    tree = exact.enumerate_tree_from_rewards([0.0, 1.0, settled, settled], 2)
    assert np.ptp(exact.solve(tree, alpha).values[1]) < 1e-12
    control = exact.softmax_weights(tree, alpha, 2)
    assert control.why_not is None
    assert control.behaves


def test_values_of_hundreds_of_nats_stay_in_range():
    tree, all_answers, rewards, _ = problem(2, 2, None, seed=4)
    sampler = exact.random_reference(2, 2, seed=5)
    alpha = (max(rewards.values()) - min(rewards.values())) / 550
    control = exact.off_policy_samples(tree, alpha, 2, sampler)
    values = exact.solve(tree, alpha).values
    assert values[2].max() > 400
    differences = [
        brute.soft_value((a,), all_answers, rewards, sampler, 2, alpha) - values[1][a]
        for a in range(2)
    ]
    assert control.violation == pytest.approx(max(differences) - min(differences), rel=1e-7)
