import tracemalloc

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact


def test_a_masked_token_stays_at_probability_zero():
    tables = exact.uniform_reference(3, 2)
    tables[0][0] = np.log([0.5, 0.5, 1e-300])
    tables[0][0, 2] = -np.inf
    tree = exact.enumerate_tree_from_rewards(np.arange(9.0), 3, tables)
    assert tree.num_sequences == 6
    assert exact.verify_soft_value_theorem(tree, 0.5).passed
    assert exact.verify_constant_shift(tree, 1.0, 2).passed


def test_many_prompts():
    mdp = toy_envs.ArithmeticChain()
    trees = exact.enumerate_prompts(mdp)
    assert [tree.prompt_index for tree in trees] == list(range(len(mdp.prompts())))
    for i, tree in enumerate(trees):
        right = tuple(int(token) for token in mdp.demonstration(i))
        assert (
            tree.rewards[tree.index(right + (mdp.eos_token_id,) * (mdp.horizon - len(right)))[1]]
            == 1.0
        )
        assert exact.solve(tree, 0.5).log_z == pytest.approx(
            toy_envs.optimum(mdp, 0.5, i).log_z, abs=1e-12
        )
    with pytest.raises(exact.TreeTooLargeError, match="prompts"):
        exact.enumerate_prompts(
            mdp, max_bytes=2 * exact.tree_size(mdp.vocab_size, mdp.horizon).bytes
        )


def test_size_is_estimated_and_refused_before_anything_is_allocated():
    huge = toy_envs.TokenMDP(50, 12, reward=lambda tokens, lengths: lengths)
    tracemalloc.start()
    with pytest.raises(exact.TreeTooLargeError, match="raise max_bytes"):
        exact.enumerate_tree(huge)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    with pytest.raises(exact.TreeTooLargeError, match="about 1e"):
        exact.enumerate_tree(toy_envs.TokenMDP(50_000, 100, reward=lambda tokens, lengths: lengths))
    small = toy_envs.TokenMDP(2, 3, reward=lambda tokens, lengths: lengths)
    with pytest.raises(exact.TreeTooLargeError):
        exact.enumerate_tree(small, max_bytes=100)
    tree = exact.enumerate_tree(small, max_bytes=10**6)
    held = tree.rewards.nbytes + sum(a.nbytes for a in [*tree.step_logps, *tree.prefix_logps])
    assert exact.tree_size(2, 3).bytes == held


def test_bad_requests_are_one_clear_line():
    mdp = toy_envs.TokenMDP(2, 2, reward=lambda tokens, lengths: lengths)
    for bad, word in (
        (lambda tokens, lengths: "high", "numbers"),
        (lambda tokens, lengths: [1.0], "one number per answer"),
    ):
        with pytest.raises(ValueError, match=word):
            exact.enumerate_tree(toy_envs.TokenMDP(2, 2, reward=bad))
    with pytest.raises(ValueError, match="sums to"):
        exact.enumerate_tree(mdp, [np.zeros((1, 2)), np.zeros((2, 2))])
    with pytest.raises(ValueError, match="one per step"):
        exact.enumerate_tree(mdp, exact.uniform_reference(2, 3))
    with pytest.raises(ValueError, match="must be"):
        exact.enumerate_tree(mdp, exact.uniform_reference(3, 2))
    with pytest.raises(ValueError, match="prompt_index"):
        exact.enumerate_tree(mdp, prompt_index=1)
    with pytest.raises(ValueError, match="finite"):
        exact.enumerate_tree(
            toy_envs.TokenMDP(2, 2, reward=lambda tokens, lengths: lengths * np.nan)
        )
    with pytest.raises(ValueError, match="at most 2 tokens"):
        exact.enumerate_tree(mdp).index((0, 0, 1))
