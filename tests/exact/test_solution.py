import math
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gnivo_edu.exact.solution
import toy_envs
from gnivo_edu import exact
from tests.exact import brute
from tests.exact.problems import mdp_with, problem


@settings(max_examples=20, deadline=None)
@given(
    st.integers(2, 3),
    st.integers(1, 4),
    st.sampled_from([None, 0, 1]),
    st.integers(0, 99),
    st.floats(0.05, 20),
)
def test_every_quantity_against_plain_python(vocab_size, horizon, eos, seed, alpha):
    tree, all_answers, rewards, tables = problem(vocab_size, horizon, eos, seed)
    sol = exact.solve(tree, alpha)
    value = {
        p: brute.soft_value(p, all_answers, rewards, tables, vocab_size, alpha)
        for p in brute.prefixes(all_answers)
    }
    log_z = value[()]
    assert sol.log_z == pytest.approx(log_z, abs=1e-12)
    assert list(tree.answers()) == all_answers
    for prefix, v in value.items():
        assert sol.soft_value(prefix) == pytest.approx(v, abs=1e-11)
        # Theorem 1, against the definition pi*(prefix) = sum of pi_ref(y) e^{R/alpha} / Z through
        # the prefix.
        tilted = sum(
            brute.probability(a, tables, vocab_size) * math.exp(rewards[a] / alpha - log_z)
            for a in all_answers
            if a[: len(prefix)] == prefix
        )
        assert sol.optimal_logprob(prefix) == pytest.approx(math.log(tilted), abs=1e-10)
    for answer in all_answers:
        credit = sol.step_credit(answer)
        assert len(credit) == len(answer)
        assert credit.sum() == pytest.approx(rewards[answer] / alpha - log_z, abs=1e-11)
        for t in range(len(answer)):
            prefix = answer[:t]
            assert credit[t] == pytest.approx(sol.advantage(prefix)[answer[t]], abs=1e-12)
            assert sol.soft_q(prefix)[answer[t]] == pytest.approx(value[answer[: t + 1]], abs=1e-11)
    optimal = {a: math.exp(sol.optimal_logprob(a)) for a in all_answers}
    assert sum(optimal.values()) == pytest.approx(1, abs=1e-11)
    assert sol.expected_reward == pytest.approx(
        sum(p * rewards[a] for a, p in optimal.items()), abs=1e-11
    )
    kl = sum(
        p * math.log(p / brute.probability(a, tables, vocab_size))
        for a, p in optimal.items()
        if p > 0
    )
    assert sol.kl == pytest.approx(kl, abs=1e-10)


def test_optimal_policy_tables_are_normalised_and_multiply_to_the_optimal_law():
    tree, all_answers, _, _ = problem(3, 3, 2, seed=5)
    sol = exact.solve(tree, 0.3)
    for table in sol.optimal_step_logps:
        assert np.abs(np.exp(table).sum(axis=1) - 1).max() < 1e-12
    for answer in all_answers:
        p = brute.probability(answer, sol.optimal_step_logps, 3)
        assert math.log(p) == pytest.approx(sol.optimal_logprob(answer), abs=1e-12)


def test_chance_of_ending_right_is_the_conditional_mean_of_a_binary_reward():
    all_answers = brute.answers(2, 4)
    rewards = {a: float(sum(a) == 2) for a in all_answers}
    tables = exact.random_reference(2, 4, seed=3)
    tree = exact.enumerate_tree(mdp_with(rewards, 2, 4), tables)
    for alpha in (1e-3, 0.1, 1.0, 1e3):
        sol = exact.solve(tree, alpha)
        for prefix in brute.prefixes(all_answers):
            chance = sum(
                brute.probability(a, tables, 2, len(prefix)) * rewards[a]
                for a in all_answers
                if a[: len(prefix)] == prefix
            )
            # At alpha = 1000 a value is about 1e-3 nats, so 1e-16 in it is 1e-13 in the chance.
            assert sol.success_probability(prefix) == pytest.approx(chance, abs=1e-11)
    with pytest.raises(ValueError, match="graded"):
        exact.solve(exact.enumerate_tree_from_rewards([0, 0.5], 2), 1.0).success_probability(())


@given(st.floats(0, 1), st.floats(0.002, 100))
def test_a_chance_and_its_value_are_inverse(chance, alpha):
    back = exact.success_probability(np.array(exact.value_of_chance(chance, alpha)), alpha)
    assert float(back) == pytest.approx(chance, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("alpha", [1e-3, 1e-2, 1.0, 1e3])
def test_stable_over_six_decades_of_alpha(alpha):
    tree, all_answers, rewards, tables = problem(3, 4, None, seed=1)
    sol = exact.solve(tree, alpha)
    for prefix in brute.prefixes(all_answers):
        v = brute.soft_value(prefix, all_answers, rewards, tables, 3, alpha)
        assert sol.soft_value(prefix) == pytest.approx(v, rel=1e-12, abs=1e-14)
    assert exact.verify_soft_value_theorem(tree, alpha).max_abs_error <= 1e-10


def test_rows_far_below_the_block_maximum_do_not_underflow():
    # One hopeless half of the tree, two thousand nats below the other: both need their exact value.
    tree = exact.enumerate_tree_from_rewards([0, 0.001, 1, 1], 2)
    sol = exact.solve(tree, 5e-4)
    assert sol.soft_value((0,)) == pytest.approx(math.log(0.5 + 0.5 * math.e**2), rel=1e-14)


def test_limits_of_alpha():
    tree, _, rewards, tables = problem(2, 3, None, seed=2)
    greedy, copying = exact.solve(tree, 1e-3), exact.solve(tree, 1e3)
    assert greedy.expected_reward == pytest.approx(max(rewards.values()), abs=1e-6)
    mean = sum(brute.probability(a, tables, 2) * r for a, r in rewards.items())
    assert copying.expected_reward == pytest.approx(mean, abs=1e-3)
    assert copying.log_z * 1e3 == pytest.approx(mean, abs=1e-3)


@pytest.mark.parametrize("alpha", [0, -1, math.nan, math.inf])
def test_alpha_must_be_positive(alpha):
    with pytest.raises(ValueError, match="alpha must be a positive number"):
        exact.solve(exact.enumerate_tree_from_rewards([0, 1], 2), alpha)


@pytest.mark.filterwarnings("error")
def test_alpha_must_leave_the_reward_a_number():
    tree = exact.enumerate_tree_from_rewards([0, 1], 2)
    with pytest.raises(ValueError, match="alpha must be at least 1e-300"):
        exact.solve(tree, 1e-320)
    assert exact.solve(tree, 1e-300).expected_reward == 1


def test_what_cannot_be_solved_is_one_clear_line():
    mdp = toy_envs.TokenMDP(2, 2, reward=lambda tokens, lengths: lengths)
    with pytest.raises(ValueError, match="needs an enumerated tree"):
        exact.solve(mdp, 1.0)
    with pytest.raises(ValueError, match="positive number"):
        exact.solve(exact.enumerate_tree(mdp), "x")
    with pytest.raises(ValueError, match="no token follows"):
        exact.solve(exact.enumerate_tree(mdp), 1.0).soft_q((0, 1))


def test_solve_uses_little_memory_and_leaves_its_inputs_alone():
    rewards = np.random.default_rng(0).random(10**6)
    tree = exact.enumerate_tree_from_rewards(rewards, 10, exact.random_reference(10, 6, 0))
    before = [table.copy() for table in tree.step_logps]
    tracemalloc.start()
    exact.solve(tree, 0.3)
    assert tracemalloc.get_traced_memory()[1] <= 1.5 * rewards.nbytes
    tracemalloc.stop()
    assert all(np.array_equal(a, b) for a, b in zip(before, tree.step_logps, strict=True))


def test_values_do_not_depend_on_the_size_of_a_block(monkeypatch):
    tree, all_answers, rewards, tables = problem(3, 4, None, seed=6)
    for block in (1, 7, 12, 30):
        monkeypatch.setattr(gnivo_edu.exact.solution, "BLOCK", block)
        solution = exact.solve(tree, 0.3)
        for prefix in brute.prefixes(all_answers):
            v = brute.soft_value(prefix, all_answers, rewards, tables, 3, 0.3)
            assert solution.soft_value(prefix) == pytest.approx(v, rel=1e-12)


@pytest.mark.parametrize("alpha", [2e-3, 1e-3])
def test_every_row_of_a_block_is_exact_however_far_below_its_maximum(alpha):
    """Rows at the maximum, at the edge of underflow and a thousand nats below it, in one block."""
    rewards = [
        3.0,
        2.9,
        2.55,
        2.5,
        2.31,
        2.3,
        2.0,
        2.001,
        1.0,
        -0.5,
        0.1,
        0.1,
        -3.0,
        0.4,
        -2.0,
        2.0,
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = exact.solve(exact.enumerate_tree_from_rewards(rewards, 2), alpha)
    for n in range(8):
        high, low = max(rewards[2 * n : 2 * n + 2]), min(rewards[2 * n : 2 * n + 2])
        expected = high / alpha + math.log(0.5 + 0.5 * math.exp((low - high) / alpha))
        assert solution.values[3][n] == pytest.approx(expected, rel=1e-14)


def test_an_impossible_prefix_has_no_value_and_warns_of_nothing():
    tables = [np.log([[0.5, 0.5]]), np.log([[0.5, 0.5], [0.5, 0.5]])]
    tables[0] = np.array([[0.0, -np.inf]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = exact.solve(exact.enumerate_tree_from_rewards([0, 1, 1, 1], 2, tables), 0.5)
        assert solution.log_z == pytest.approx(math.log(0.5 + 0.5 * math.exp(2)))
        assert solution.optimal_logprob((1,)) == -math.inf
        ends = exact.value_of_chance(0.0, alpha=0.5), exact.value_of_chance(1.0, alpha=0.5)
    assert ends == (0.0, 2.0)


def test_the_copy_of_a_solution_is_the_callers():
    solution = exact.solve(exact.enumerate_tree_from_rewards([0, 0, 0, 1], 2), 0.5)
    solution.soft_q((1,))[:] = 7
    assert solution.soft_value((1, 1)) == 2.0


@pytest.mark.parametrize("good", [1, 0.5, np.float32(0.5), np.int64(2)])
def test_any_positive_number_is_a_temperature(good):
    assert exact.check_alpha(good) == float(good)
    assert type(exact.check_alpha(good)) is float
    solution = exact.solve(exact.enumerate_tree_from_rewards([0, 1], 2), good)
    assert type(solution.alpha) is float


def test_the_optimal_policy_at_one_prefix_is_the_reference_tilted_by_the_advantage():
    tree, _, _, tables = problem(3, 3, None, seed=8)
    solution = exact.solve(tree, 0.7)
    policy = np.exp(tables[1][2] + solution.advantage((2,)))
    assert policy.sum() == pytest.approx(1)
    assert np.exp(solution.optimal_step_logps[1][2]) == pytest.approx(policy)
    assert np.log(policy / np.exp(tables[1][2])) == pytest.approx(
        solution.soft_q((2,)) - solution.soft_value((2,))
    )
