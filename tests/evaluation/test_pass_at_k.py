"""Pass@k and maj@k against every subset and every draw."""

import itertools
from math import comb

import numpy as np
import pytest

from gnivo_edu.evaluation import majority_at_k, pass_at_k


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_pass_at_k_is_the_mean_over_all_subsets_of_k_samples(n):
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        right = [True] * c + [False] * (n - c)
        found = np.mean([any(subset) for subset in itertools.combinations(right, k)])
        assert pass_at_k(c, n, k) == pytest.approx(found, abs=1e-14)


@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 0.9, 1.0])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (4, 3), (16, 8), (64, 64)])
def test_pass_at_k_is_unbiased(n, k, p):
    c = np.arange(n + 1)
    law = np.array([comb(n, i) for i in c]) * p**c * (1 - p) ** (n - c)
    assert law @ pass_at_k(c, n, k) == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_pass_at_k_is_accurate_for_many_samples():
    for n, c, k in [(1000, 1, 500), (1000, 400, 3), (10_000, 3, 5_000)]:
        assert pass_at_k(c, n, k) == pytest.approx(1 - comb(n - c, k) / comb(n, k), rel=1e-11)


def test_pass_at_k_refuses_what_has_no_answer():
    for c in range(3):
        with pytest.raises(ValueError, match="pass@3 needs at least 3 samples to a problem, got 2"):
            pass_at_k(c, 2, 3)
    with pytest.raises(ValueError, match="pass@3 needs"):
        pass_at_k([0, 1], [5, 2], 3)
    with pytest.raises(ValueError, match="k must be at least 1"):
        pass_at_k(1, 4, 0)
    with pytest.raises(ValueError, match="of 4 samples 5 cannot be correct"):
        pass_at_k([1, 5], 4, 2)
    with pytest.raises(ValueError, match="of 4 samples -1 cannot be correct"):
        pass_at_k(-1, 4, 2)
    with pytest.raises(ValueError, match="give integers, got float64"):
        pass_at_k(0.5, 4, 2)


def by_lot(votes, right):
    """The chance that a vote ends for `right`: the most named wins, a tie is settled by lot."""
    named = [vote for vote in votes if vote is not None]
    best = (
        {vote for vote in named if named.count(vote) == max(map(named.count, named))}
        if named
        else set()
    )
    return (right in best) / max(len(best), 1)


@pytest.mark.parametrize("seed", range(6))
def test_majority_is_the_mean_over_all_subsets_of_votes(seed):
    rng = np.random.default_rng(seed)
    votes = [[None, "a", "b", "c", "d"][i] for i in rng.integers(5, size=9)]
    for k in range(1, 10):
        found = np.mean([by_lot(subset, "a") for subset in itertools.combinations(votes, k)])
        assert majority_at_k(votes, "a", k) == pytest.approx(found, abs=1e-14)


def test_majority_is_unbiased_for_fresh_votes():
    law, n, k = {"a": 0.4, "b": 0.3, None: 0.2, "c": 0.1}, 5, 3

    def expected(votes, f):
        return sum(
            np.prod([law[v] for v in drawn]) * f(drawn)
            for drawn in itertools.product(law, repeat=votes)
        )

    truth = expected(k, lambda drawn: by_lot(drawn, "a"))
    assert expected(n, lambda drawn: majority_at_k(drawn, "a", k)) == pytest.approx(
        truth, abs=1e-12
    )


def test_majority_at_the_edges():
    assert majority_at_k([None, None], "a", 2) == 0
    assert majority_at_k(["a", "b"], "a", 2) == 0.5
    assert majority_at_k(["b"] * 60 + ["a"] * 4, "a", 32) == 0
    votes = ["a"] * 3 + ["b"] * 2
    assert majority_at_k(votes, "a", 1) == pytest.approx(pass_at_k(3, 5, 1), abs=1e-14)
    with pytest.raises(ValueError, match="needs at least 3"):
        majority_at_k(votes[:2], "a", 3)
