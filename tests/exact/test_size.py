import math
import time
import tracemalloc

import pytest

import toy_envs
from gnivo_edu import exact
from gnivo_edu.exact import size as size_module
from gnivo_edu.exact.size import TreeSize


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


def test_sizes_are_written_short():
    written = {
        (10**15 - 1, 3 * 10**14, 3 * 2**19): "999,999,999,999,999 sequences, 300,000,000,000,000 "
        "prefixes, 1.5 MiB",
        (10**15, 2 * 10**20, 2**60 - 2**20): "about 1e15 sequences, about 1e20 prefixes, "
        "1,099,511,627,775.0 MiB",
        (1, 2, 2**60): "1 sequences, 2 prefixes, 1,099,511,627,776 MiB",
        (1, 2, 2**80): "1 sequences, 2 prefixes, about 1e18 MiB",
    }
    for sizes, text in written.items():
        assert str(TreeSize(*sizes)) == text


def test_a_limit_is_inclusive_and_is_stated(monkeypatch):
    mdp = toy_envs.ArithmeticChain()
    size = exact.tree_size(mdp.vocab_size, mdp.horizon).bytes
    assert exact.check_size(mdp.vocab_size, mdp.horizon, max_bytes=size).bytes == size
    with pytest.raises(exact.TreeTooLargeError, match="above the limit of 2 MiB"):
        exact.check_size(10, 7, max_bytes=2 * 2**20)
    with pytest.raises(exact.TreeTooLargeError, match="above the limit of 0 MiB: enumerate them"):
        exact.enumerate_prompts(mdp, max_bytes=4 * size - 1)
    with pytest.raises(exact.TreeTooLargeError, match="above the limit of 2 MiB: take a smaller"):
        exact.enumerate_prompts(toy_envs.TokenMDP(10, 7), max_bytes=2 * 2**20)
    # A limit that is given counts, even above the default.
    monkeypatch.setattr(size_module, "DEFAULT_MAX_BYTES", 10)
    assert len(exact.enumerate_prompts(mdp, max_bytes=4 * size)) == 4
    with pytest.raises(exact.TreeTooLargeError):
        exact.enumerate_prompts(mdp)
    with pytest.raises(exact.TreeTooLargeError):
        exact.enumerate_tree(mdp)


def test_sizes_are_counted_as_the_tree_is():
    for vocab_size, horizon in ((1, 0), (1, 5), (2, 0), (3, 4), (7, 2)):
        size = exact.tree_size(vocab_size, horizon)
        assert size.sequences == vocab_size**horizon
        assert size.prefixes == sum(vocab_size**t for t in range(horizon + 1))
    assert exact.tree_size(1, 10**7).prefixes == 10**7 + 1
    assert "about 1e999 sequences" in str(exact.tree_size(10, 999))
    for bad in ((0, 3), (2, -1)):
        with pytest.raises(ValueError, match="V >= 1 tokens and T >= 0 steps"):
            exact.tree_size(*bad)
    # A limit of nothing is a limit.
    with pytest.raises(exact.TreeTooLargeError):
        exact.check_size(2, 3, max_bytes=0)


@pytest.mark.parametrize(("vocab_size", "horizon"), [(4, 10**5), (2, 10**12), (10**9, 10**6)])
def test_a_tree_beyond_all_numbers_is_refused_at_once(vocab_size, horizon):
    words = f"^the tree has about 1e{horizon * math.log10(vocab_size):.0f} sequences: take a"
    for call in (
        lambda: exact.tree_size(vocab_size, horizon),
        lambda: exact.check_size(vocab_size, horizon, max_bytes=2**80),
        lambda: exact.uniform_reference(vocab_size, horizon),
        lambda: exact.random_reference(vocab_size, horizon, seed=0),
    ):
        start = time.perf_counter()
        with pytest.raises(exact.TreeTooLargeError, match=words) as error:
            call()
        assert time.perf_counter() - start < 0.5
        assert "\n" not in str(error.value)
