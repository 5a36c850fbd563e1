import math

import numpy as np
import pytest

import gnivo_edu.exact.tree as tree_module
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


@pytest.mark.slow
def test_many_prompts():
    mdp = toy_envs.ArithmeticChain()
    trees = exact.enumerate_prompts(mdp)
    assert [tree.prompt_index for tree in trees] == list(range(len(mdp.prompts())))
    for i, tree in enumerate(trees):
        right = mdp.demonstration(i).tolist()
        padded = right + [mdp.eos_token_id] * (mdp.horizon - len(right))
        assert tree.rewards[tree.index(padded)[1]] == 1.0
        log_z = toy_envs.optimum(mdp, 0.5, prompt_index=i).log_z
        assert exact.solve(tree, 0.5).log_z == pytest.approx(log_z, abs=1e-12)
    size = exact.tree_size(mdp.vocab_size, mdp.horizon).bytes
    with pytest.raises(exact.TreeTooLargeError, match="prompts"):
        exact.enumerate_prompts(mdp, max_bytes=len(trees) * size - 1)
    assert len(exact.enumerate_prompts(mdp, max_bytes=len(trees) * size)) == len(trees)


@pytest.mark.parametrize(
    ("rewards", "vocab_size", "words"),
    [
        ([0.0, np.nan], 2, "answer number 1 is nan: rewards must be finite"),
        ([-np.inf, 0.0, 1.0, 1.0], 2, "answer number 0 is -inf"),
        ([], 2, r"need V\*\*T rewards for V=2, got 0"),
        ([[0.0, 1.0], [1.0, 0.0]], 2, r"need V\*\*T rewards for V=2, got an array \[2, 2\]"),
        ([0.0], 1, "need at least 2 tokens"),
    ],
)
def test_rewards_that_make_no_tree_are_refused(rewards, vocab_size, words):
    with pytest.raises(ValueError, match=words) as error:
        exact.enumerate_tree_from_rewards(rewards, vocab_size)
    assert "\n" not in str(error.value)


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
        exact.enumerate_tree(toy_envs.TokenMDP(2, 2, reward=lambda y, n: n * np.nan))
    with pytest.raises(ValueError, match="at most 2 tokens"):
        exact.enumerate_tree(mdp).index((0, 0, 1))


def test_a_reference_may_differ_from_prompt_to_prompt():
    mdp = toy_envs.TokenMDP(
        2, 2, reward=lambda y, n, prompt: prompt + 0.0, prompts=[[2, 0], [2, 1]]
    )
    trees = exact.enumerate_prompts(mdp, reference=lambda i: exact.random_reference(2, 2, seed=i))
    same = exact.enumerate_prompts(mdp, reference=exact.random_reference(2, 2, seed=1))
    for i, tree in enumerate(trees):
        assert tree.rewards.tolist() == [i] * 4
        expected = exact.random_reference(2, 2, seed=i)
        assert all(map(np.array_equal, tree.step_logps, expected))
    assert all(map(np.array_equal, same[0].step_logps, trees[1].step_logps))


def test_a_stated_reference_is_taken_for_its_prompt():
    class Stated(toy_envs.TokenMDP):
        def reference(self, prompt_index=0):
            return exact.random_reference(2, 2, seed=prompt_index)

    mdp = Stated(2, 2, reward=lambda y, n: n, prompts=[[2, 0], [2, 1]])
    for i in range(2):
        stated = exact.enumerate_tree(mdp, prompt_index=i)
        assert all(map(np.array_equal, stated.step_logps, mdp.reference(i)))
        assert stated.prompt_index == i
        assert stated.decode((0, 1)) == mdp.decode((0, 1))
    told = exact.enumerate_tree(mdp, exact.uniform_reference(2, 2))
    assert np.array_equal(told.step_logps[1], np.log(np.full((2, 2), 0.5)))


def test_rewards_are_asked_for_in_chunks(monkeypatch):
    asked = []

    def reward(tokens, lengths):
        asked.append(len(tokens))
        return tokens @ 2.0 ** np.arange(4, -1, -1)

    monkeypatch.setattr(tree_module, "CHUNK", 12)
    tree = exact.enumerate_tree(toy_envs.TokenMDP(2, 5, reward=reward))
    assert tree.rewards.tolist() == list(range(32))
    assert asked == [12, 12, 8]


def test_after_its_end_an_answer_only_repeats_its_last_token():
    lengths_seen = []

    def reward(tokens, lengths):
        lengths_seen.extend(lengths.tolist())
        return lengths + 0.0

    table = exact.random_reference(3, 2, seed=0)
    untouched = [t.copy() for t in table]
    tree = exact.enumerate_tree(toy_envs.TokenMDP(3, 2, reward=reward, eos_token_id=1), table)
    # Of 9 sequences, (1, 0) and (1, 2) go on after the end.
    assert sorted(lengths_seen) == [1] + [2] * 6
    assert tree.rewards.tolist() == [2, 2, 2, 0, 1, 0, 2, 2, 2]
    assert tree.step_logps[1][1].tolist() == [-np.inf, 0.0, -np.inf]
    assert np.array_equal(tree.step_logps[1][[0, 2]], table[1][[0, 2]])
    assert all(map(np.array_equal, table, untouched))
    assert (tree.num_sequences, tree.num_prefixes) == (7, 1 + 3 + 7)
    assert tree.prefix(2, 4) == (1,)
    assert tree.prefix(2, 3) == (1,)
    assert tree.prefix(2, 1) == (0, 1)
    assert tree.prefix(0, 0) == ()


def test_a_row_that_does_not_sum_to_one_is_named():
    mdp = toy_envs.TokenMDP(3, 2, reward=lambda y, n: n, eos_token_id=1)
    tables = exact.uniform_reference(3, 2)
    tables[1][1] = 7.0  # what is said after the end does not matter
    assert exact.enumerate_tree(mdp, tables).num_sequences == 7
    for change, total in ((1e-8, r"1\.0"), (-1e-8, r"0\.9999"), (-1.0, r"0\.36")):
        tables[1][2] += change
        with pytest.raises(ValueError, match=f"row 2 of reference table 1 sums to {total}"):
            exact.enumerate_tree(mdp, tables)
        tables[1][2] -= change
    tables[1][2] += 1e-10  # rounding is allowed
    assert exact.enumerate_tree(mdp, tables).num_sequences == 7


def test_tables_are_taken_in_float64():
    mdp = toy_envs.TokenMDP(1, 2, reward=lambda y, n: n)
    tree = exact.enumerate_tree(mdp, [np.zeros((1, 1), dtype=np.int64)] * 2)
    assert [table.dtype for table in tree.step_logps] == [np.float64] * 2


def test_a_reward_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match="answer number 2 is inf"):
        exact.enumerate_tree(Plain([0.0, 1.0, np.inf, np.nan]))


class Plain:
    """A token MDP without anything that it need not have."""

    vocab_size, horizon, eos_token_id = 2, 2, None

    def __init__(self, rewards):
        self.rewards = np.array(rewards)

    def prompts(self):
        return np.array([[2]])

    def reward(self, tokens, lengths, prompt_index=None):
        assert prompt_index == 0
        assert lengths.tolist() == [2] * 4
        return self.rewards[tokens @ [2, 1]]

    def reference(self, prompt_index=0):
        return None

    def decode(self, tokens):
        return str(tokens)


def test_any_object_with_prompts_and_rewards_can_be_enumerated():
    tree = exact.enumerate_tree(Plain([0.0, 1.0, 2.0, 3.0]))
    assert tree.rewards.tolist() == [0, 1, 2, 3]
    assert tree.decode((0, 1)) == "(0, 1)"
    assert np.exp(tree.step_logps[1]) == pytest.approx(np.full((2, 2), 0.5))
    for bad in (-1, 1):
        with pytest.raises(ValueError, match=r"prompt_index must be in 0\.\.0"):
            exact.enumerate_tree(Plain([0.0] * 4), prompt_index=bad)


def test_prefixes_are_numbered_in_base_v():
    tree = exact.enumerate_tree_from_rewards(np.zeros(27), 3)
    assert [tree.index(tree.prefix(t, n)) for t in range(4) for n in range(3**t)] == [
        (t, n) for t in range(4) for n in range(3**t)
    ]
    assert tree.index((2, 0, 1)) == (3, 19)
    for bad in ((3,), (-1,), (0, 0, 0, 0)):
        with pytest.raises(ValueError, match=r"at most 3 tokens in 0\.\.2, got"):
            tree.index(bad)
    with pytest.raises(ValueError, match=r"need V\*\*T rewards for V=3, got 26"):
        exact.enumerate_tree_from_rewards(np.zeros(26), 3)
    told = exact.enumerate_tree_from_rewards([0, 1], 2, exact.random_reference(2, 1, seed=3))
    assert told.rewards.dtype == np.float64
    assert np.array_equal(told.step_logps[0], exact.random_reference(2, 1, seed=3)[0])


def test_a_random_reference_has_logits_of_the_stated_deviation():
    def log_odds(**settings):
        tables = exact.random_reference(3, 6, **settings)
        assert [table.shape for table in tables] == [(3**t, 3) for t in range(6)]
        assert all(np.exp(table).sum(axis=1) == pytest.approx(1) for table in tables)
        return np.concatenate([table[:, 1:] - table[:, :1] for table in tables])

    # The difference of two independent normals of deviation 1 has deviation sqrt(2).
    assert log_odds(seed=0).std() == pytest.approx(math.sqrt(2), rel=0.05)
    assert log_odds(seed=0, scale=3.0) == pytest.approx(3 * log_odds(seed=0))
    assert (log_odds(seed=0) != log_odds(seed=1)).all()
