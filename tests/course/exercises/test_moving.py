"""Exercises 45 and 46: they are what the library computes."""

from dataclasses import replace

import numpy as np
import pytest

from gnivo_edu.course import check
from gnivo_edu.population import laws
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.moving import value_at

TREE = problem("tree")


def test_their_numbers():
    assert check.refreshed_law.statement.startswith("Exercise 45: ")
    assert check.jump_at_refresh.statement.startswith("Exercise 46: ")


def test_refreshed_law_is_a_tilt_after_the_other():
    seen = TREE
    for times in range(4):
        ours = check.refreshed_law.reference(
            TREE.law(TREE.reference).numpy(), TREE.rewards.numpy(), 0.5, times
        )
        np.testing.assert_allclose(ours, seen.law(seen.reference).numpy(), atol=1e-12)
        seen = replace(seen, reference=seen.from_law(laws.tilt(seen, 0.5)))


def test_jump_at_refresh_is_the_expected_one():
    """Over all pairs, each as often as the policy writes it: at the rest the factor is K."""
    policy = TREE.from_law(laws.vimpo_law(TREE, 0.5))
    says = policy - TREE.reference - TREE.kl(policy)[:, None]
    learnt = 0.5 * TREE.token_logps(says).sum(1).numpy()
    before = value_at(TREE, policy, group_size=2, alpha=0.5).loss
    after = value_at(replace(TREE, reference=policy), policy, group_size=2, alpha=0.5).loss
    law = TREE.law(policy).numpy()
    rng = np.random.default_rng(0)
    pairs = rng.choice(len(law), size=(100_000, 2), p=law)
    ours = check.jump_at_refresh.reference(learnt[pairs], TREE.rewards.numpy()[pairs])
    assert after / before == pytest.approx(2, abs=1e-9)
    assert ours == pytest.approx(2, rel=0.02)
