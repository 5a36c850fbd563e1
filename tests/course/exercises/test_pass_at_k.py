"""Exercises 24 and 31: they are what the library computes; each known mistake is named, and named
alone.
"""

import itertools
from math import comb, nan

import numpy as np
import pytest

from gnivo_edu import evaluation
from gnivo_edu.course import check

STORY = {"1-(1-c/n)^k", "best of first k", "c/n", "accepts k > n"}


def test_the_storys_wrong_answers_are_there():
    assert set(check.pass_at_k.wrong_answers) >= STORY
    assert check.pass_at_k.statement.startswith("Exercise 24: ")
    assert check.paired_interval.statement.startswith("Exercise 31: ")


def test_pass_at_k_is_the_librarys():
    rng = np.random.default_rng(0)
    for n, k in itertools.product((4, 9), (1, 3, 4)):
        right = rng.integers(2, size=(20, n))
        expected = evaluation.pass_at_k(right.sum(axis=1), n, k)
        np.testing.assert_allclose(check.pass_at_k.reference(right, k), expected, atol=1e-13)


def test_other_ways_to_count_are_right():
    def binomials(right, k):
        n = right.shape[1]
        if k > n:
            return [nan] * len(right)
        return [1 - comb(n - int(c), k) / comb(n, k) for c in right.sum(axis=1)]

    def all_sets(right, k):
        n = right.shape[1]
        if k > n:
            return np.full(len(right), nan)
        if n > 10:
            return binomials(right, k)
        sets = itertools.combinations(range(n), k)
        return np.mean([right[:, list(chosen)].any(axis=1) for chosen in sets], axis=0)

    for seed in range(10):
        check.pass_at_k.run(binomials, seed)
        check.pass_at_k.run(all_sets, seed)


def test_what_averages_right_but_is_noisier_is_refused_too():
    """Three of the mistakes are unbiased for no k or for every k; the two unbiased ones lose in
    variance.
    """
    n, k, p = 8, 4, 0.3
    outcomes = np.array(list(itertools.product((0, 1), repeat=n)))
    law = np.prod(np.where(outcomes == 1, p, 1 - p), axis=1)
    truth = 1 - (1 - p) ** k
    ways = {
        name: check.pass_at_k.wrong_answers[name]
        for name in ("best of first k", "blocks of k", "1-(1-c/n)^k")
    }
    means, sds = {}, {}
    for name, way in (ways | {"right": check.pass_at_k.reference}).items():
        values = way(outcomes, k)
        means[name] = law @ values
        sds[name] = np.sqrt(law @ (values - means[name]) ** 2)
    for name in ("best of first k", "blocks of k", "right"):
        assert means[name] == pytest.approx(truth, abs=1e-12)
    assert means["1-(1-c/n)^k"] < truth - 0.02
    assert sds["right"] < sds["blocks of k"] < sds["best of first k"]


def test_the_interval_is_the_librarys_with_the_same_draws():
    rng = np.random.default_rng(1)
    a, b = rng.random(15), rng.random(15)
    picks = np.random.default_rng(4).integers(15, size=(2_000, 15), dtype=np.int32)
    expected = evaluation.paired_difference(a, b, draws=2_000, seed=4).ends
    np.testing.assert_allclose(check.paired_interval.reference(a, b, picks), expected, atol=1e-14)


def test_two_means_on_the_same_draws_are_right_too():
    def apart(first, second, picks):
        return tuple(np.percentile(second[picks].mean(1) - first[picks].mean(1), [2.5, 97.5]))

    for seed in range(10):
        check.paired_interval.run(apart, seed)
