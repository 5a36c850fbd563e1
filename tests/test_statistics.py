"""Intervals against the coverage they promise, quantiles against the tables, ranks by hand."""

import numpy as np
import pytest

from gnivo_edu.evaluation import pass_at_k
from gnivo_edu.statistics import (
    bootstrap_interval,
    median_interval,
    paired_difference,
    rank_correlation,
    t_quantile,
    unpaired_difference,
    wilson,
)


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
    assert paired.mean == pytest.approx(apart.mean, abs=1e-13)
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


def test_quantiles_are_those_of_the_tables():
    # Two-sided 95% points of Student's law.
    assert [t_quantile(0.95, n) for n in (1, 2, 7, 30)] == pytest.approx(
        [12.706, 4.3027, 2.3646, 2.0423], rel=1e-3
    )
    low, high = wilson(0.25, 20)
    for end in (low, high):  # Wilson's ends solve (p - share)^2 = z^2 p (1 - p) / n
        assert (end - 0.25) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 20, rel=1e-6)


def test_ranks_share_ties():
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    # By hand: ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
    assert rank_correlation(np.array([0.0, 1, 1, 2]), np.array([0.0, 1, 2, 3])) == pytest.approx(
        4.5 / np.sqrt(22.5)
    )
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3.0)))


@pytest.mark.parametrize(
    ("count", "rank"), [(1, 1), (5, 1), (6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (20, 6)]
)
def test_an_interval_of_the_median_has_the_ranks_of_the_tables(count: int, rank: int) -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert median_interval(values) == (rank, count + 1 - rank)


def test_an_interval_of_the_median_covers_it_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).exponential(size=(2000, 9))
    ends = np.array([median_interval(row) for row in draws])
    covered = ((ends[:, 0] <= np.log(2)) & (np.log(2) <= ends[:, 1])).mean()
    assert abs(covered - 0.961) < 0.02
