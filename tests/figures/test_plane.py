"""The frontier is solved exactly, and points are those of the definition."""

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact, figures
from gnivo_edu.figures.style import number


@pytest.mark.parametrize(
    "env", [toy_envs.PosterProblem(), toy_envs.RandomTree(3, 3), toy_envs.Brackets(4)]
)
def test_the_frontier_is_solved_exactly_and_no_policy_lies_above_it(env):
    tree = exact.enumerate_tree(env)
    rng, policies = np.random.default_rng(0), {}
    for n in range(5):
        tables = [t + np.log(rng.gamma(0.5 + n, size=t.shape)) for t in tree.step_logps]
        policies[f"random {n}"] = [
            t - np.logaddexp.reduce(t, axis=1, keepdims=True) for t in tables
        ]
    plane = figures.reward_kl_plane(tree, policies)
    for alpha, point in plane.frontier.items():
        if 0 < alpha < np.inf:
            key = exact.solve(tree, alpha)
            assert point == (key.kl, key.expected_reward)
            best = alpha * key.log_z
            assert all(p.reward - alpha * p.kl <= best + 1e-9 for p in plane.policies.values())
    limit = exact.solve(tree, 1e-3)
    assert plane.frontier[0.0] == pytest.approx((limit.kl, limit.expected_reward), abs=1e-6)
    assert plane.frontier[np.inf] == plane.policies["reference"]
    assert np.diff([p.kl for p in plane.curve()]).min() >= -1e-12


def test_policy_points_are_those_of_the_definition():
    tree = exact.enumerate_tree(toy_envs.RandomTree(2, 3))
    policy = exact.random_reference(2, 3, seed=1)
    kl = reward = 0.0
    for number_of, answer in enumerate(tree.answers()):
        logp = sum(policy[t][tree.index(answer[:t])[1], token] for t, token in enumerate(answer))
        kl += np.exp(logp) * (logp + 3 * np.log(2))
        reward += np.exp(logp) * tree.rewards[number_of]
    assert figures.policy_point(tree, policy) == pytest.approx((kl, reward))
    plane = figures.reward_kl_plane(tree, {"mine": policy}, named=[0.5])
    assert ["mine", number(kl), number(reward)] in plane.table()[1]
    assert any(
        mark.get_xydata()[0] == pytest.approx((kl, reward)) for mark in plane.figure().axes[0].lines
    )
    with pytest.raises(ValueError, match="infinite"):
        figures.policy_point(
            exact.enumerate_tree(toy_envs.Brackets(3)), exact.uniform_reference(3, 3)
        )
    with pytest.raises(ValueError, match="same reward"):
        figures.reward_kl_plane(exact.enumerate_tree_from_rewards([1, 1], 2))
