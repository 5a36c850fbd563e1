"""Soft values and log Z from samples: their intervals hold the exact ones."""

from __future__ import annotations

import numpy as np
import pytest

from gnivo_edu import exact
from gnivo_edu.evaluation.step_values.estimate import (
    change,
    estimate_log_z,
    estimate_value,
    known,
)
from tests.evaluation.step_values.small_tasks import ALPHA, random_tables, solved
from toy_envs import Brackets


def test_intervals_of_log_z_hold_the_exact_one_about_as_often_as_they_say(task):
    key, binary = solved(task), isinstance(task, Brackets)
    logps = [
        exact.enumerate_tree(task, random_tables(task, 2)).prefix_logps[-1],
        key.tree.prefix_logps[-1],
    ]
    rng, own, held = np.random.default_rng(0), np.arange(60) < 20, []
    for _ in range(400):
        rows = np.concatenate(
            [rng.choice(len(law), n, p=np.exp(law)) for law, n in zip(logps, (20, 40), strict=True)]
        )
        found = estimate_log_z(
            key.tree.rewards[rows], *(law[rows] for law in logps), own, ALPHA, 0.9, binary
        )
        held.append(found.low <= key.log_z <= found.high)
    assert 0.84 <= np.mean(held) <= 0.96


def test_log_z_of_group_and_fresh_answers_together(task):
    key = solved(task)
    rng, leaves = np.random.default_rng(0), np.exp(key.tree.prefix_logps[-1])
    policy_tree = exact.enumerate_tree(task, random_tables(task, 2))
    policy = np.exp(policy_tree.prefix_logps[-1])
    drawn = [rng.choice(len(leaves), 4000, p=law / law.sum()) for law in (policy, leaves)]
    rows, own = np.concatenate(drawn), np.arange(8000) < 4000
    laws = [tree.prefix_logps[-1][rows] for tree in (policy_tree, key.tree)]
    found = estimate_log_z(key.tree.rewards[rows], *laws, own, ALPHA)
    assert abs(found.value - key.log_z) < 4 * found.standard_error < 0.1
    swapped = estimate_log_z(
        key.tree.rewards[rows], *laws[::-1], ~own, ALPHA
    )  # then it is that of the policy
    assert abs(swapped.value - key.log_z) > 8 * swapped.standard_error


def test_log_z_of_one_policy_is_the_plain_mean_and_of_one_reward_exact():
    rng = np.random.default_rng(0)
    rewards, logps, own = rng.random(12), -rng.random(12), np.arange(12) < 5
    plain = np.log(np.exp(rewards / ALPHA).mean())
    assert estimate_log_z(rewards, logps, logps, own, ALPHA).value == pytest.approx(
        plain, abs=1e-12
    )
    assert estimate_log_z(np.full(12, 0.3), logps, logps - 1, own, ALPHA).value == pytest.approx(
        0.6, abs=1e-12
    )


def test_rewards_that_all_agree_still_leave_an_interval_for_a_chance():
    zero, one = (estimate_value(np.full(16, r), ALPHA, binary=True) for r in (0.0, 1.0))
    assert zero.value == zero.low == 0.0 < 0.5 < zero.high
    assert one.low < 1.9 < one.value == one.high == pytest.approx(2.0)
    assert estimate_value([0.0, 1.0], 1e-3).value == pytest.approx(1000 - np.log(2))


def test_the_standard_error_and_the_bias_of_the_log_are_those_of_many_repetitions():
    rng = np.random.default_rng(1)
    rewards = rng.random((4000, 24))
    found = [estimate_value(row, ALPHA) for row in rewards]
    values = np.array([estimate.value for estimate in found])
    truth = np.log(ALPHA * np.expm1(1 / ALPHA))  # of rewards uniform on 0..1
    assert np.mean([e.standard_error for e in found]) == pytest.approx(values.std(), rel=0.05)
    assert np.mean([e.bias for e in found]) == pytest.approx(values.mean() - truth, rel=0.2)
    assert np.mean([e.low <= truth <= e.high for e in found]) == pytest.approx(0.95, abs=0.015)


def test_a_change_holds_the_difference_as_often_as_its_parts_hold_theirs():
    rng = np.random.default_rng(0)
    chances, alpha, n = (0.5, 0.2), 0.5, 40
    truth = exact.value_of_chance(chances[1], alpha) - exact.value_of_chance(chances[0], alpha)
    held = 0
    for _ in range(400):
        before, after = (
            estimate_value(rng.random(n) < p, alpha, level=0.95, binary=True) for p in chances
        )
        found = change(before, after)
        assert found.low <= found.value <= found.high
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.98
    # A known value adds nothing to the interval.
    fixed = change(before, known(0.0))
    assert (fixed.low, fixed.high) == pytest.approx((-before.high, -before.low))
