"""Pass@k and maj@k against every subset and every draw; intervals against the coverage they
promise.
"""

import itertools
from math import comb

import numpy as np
import pytest

from gnivo_edu.evaluation import (
    bootstrap_interval,
    majority_at_k,
    paired_difference,
    pass_at_k,
    unpaired_difference,
)


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


# --- intervals ------------------------------------------------------------------------------------


def drawn_problems(rng, count, samples, ability=0.0):
    """Pass@3 of problems of all degrees of difficulty: estimated; and the mean over all such
    problems.
    """
    p = rng.beta(1.0 + ability, 1.5, size=count)
    return pass_at_k(rng.binomial(samples, p), samples, 3)


def true_mean(ability=0.0):
    p = np.random.default_rng(99).beta(1.0 + ability, 1.5, size=2_000_000)
    return (1 - (1 - p) ** 3).mean()


def test_the_interval_covers_as_often_as_it_says():
    rng, truth, trials = np.random.default_rng(0), true_mean(), 400
    for level in (0.8, 0.95):
        found = [
            bootstrap_interval(drawn_problems(rng, 60, 6), level, draws=400, seed=trial)
            for trial in range(trials)
        ]
        covered = np.mean([x.low <= truth <= x.high for x in found])
        slack = 4 * np.sqrt(level * (1 - level) / trials)
        assert abs(covered - level) < slack + 0.015, (
            "0.015: a percentile interval of 60 problems is a little short"
        )


def test_resampling_samples_alone_would_not_cover():
    """A problem's own samples say how hard it is, not how hard the next one is."""
    rng, truth = np.random.default_rng(1), true_mean()
    p = [rng.beta(1.0, 1.5, size=60) for _ in range(200)]
    samples = [[pass_at_k(rng.binomial(24, one), 24, 3).mean() for _ in range(60)] for one in p]
    ends = np.quantile(samples, [0.025, 0.975], axis=1)
    assert ((ends[0] <= truth) & (truth <= ends[1])).mean() < 0.8


def test_shared_problems_make_the_difference_sharper():
    rng = np.random.default_rng(2)
    p = rng.beta(0.6, 0.6, size=200)
    a, b = (pass_at_k(rng.binomial(16, np.clip(p + shift, 0, 1)), 16, 1) for shift in (0.0, 0.04))
    paired, apart = paired_difference(a, b), unpaired_difference(a, b)
    assert paired.mean == pytest.approx(apart.mean, abs=1e-15)
    assert paired.width < 0.5 * apart.width
    assert paired.low > 0 > apart.low


def test_pairing_does_nothing_for_problems_that_are_not_shared():
    rng = np.random.default_rng(3)
    a, b = drawn_problems(rng, 200, 6), drawn_problems(rng, 200, 6)
    assert paired_difference(a, b).width == pytest.approx(unpaired_difference(a, b).width, rel=0.15)


def test_the_interval_is_that_of_the_normal_law_for_many_problems():
    values = np.random.default_rng(4).random(500)
    found = bootstrap_interval(values)
    half = 1.959964 * values.std() / np.sqrt(len(values))
    assert found.ends == pytest.approx(
        [values.mean() - half, values.mean() + half], abs=0.05 * half
    )
    assert bootstrap_interval(values) == found, "the seed decides"
    assert bootstrap_interval(values, seed=1) != found


def test_intervals_refuse_what_has_none():
    with pytest.raises(ValueError, match="two or more, got shape"):
        bootstrap_interval([1.0])
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval([1.0, np.nan])
    with pytest.raises(ValueError, match="same problems: got 2 and 3"):
        paired_difference([0.0, 1.0], [0.0, 1.0, 0.5])
    with pytest.raises(ValueError, match="level must be above 0 and below 1"):
        bootstrap_interval([0.0, 1.0], level=95)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        bootstrap_interval([0.0, 1.0], draws=0)
