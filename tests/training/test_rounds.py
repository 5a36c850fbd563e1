"""A reference that moves, with exact minimisation in every round."""

import pytest

import toy_envs
from gnivo_edu import exact, training


def test_with_a_moving_reference_exact_rounds_compound():
    """pi_n = pi_0 e^{nR/alpha} / Z_n, and the expected reward climbs towards the largest."""
    mdp = toy_envs.RandomTree(vocab_size=2, horizon=3)
    for group_size in (2, 3):
        rounds = training.exact_rounds(mdp, 0.5, rounds=4, group_size=group_size)
        assert [r.round for r in rounds] == [1, 2, 3, 4]
        assert all(r.kl < 1e-10 and r.value_error < 1e-5 for r in rounds)
        rewards = [r.expected_reward for r in rounds]
        assert rewards == sorted(rewards)
    start = exact.enumerate_tree(mdp)
    for r in rounds:
        assert r.expected_reward == pytest.approx(
            exact.solve(start, 0.5 / r.round).expected_reward, abs=1e-6
        )
