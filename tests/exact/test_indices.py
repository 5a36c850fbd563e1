import itertools
import math

import numpy as np
import pytest

import gnivo_edu.exact.indices
from gnivo_edu import exact
from tests.exact.problems import random_tree


@pytest.mark.parametrize("group_size", [2, 3])
def test_the_sums_of_the_poster_run_from_zero(group_size):
    certificate = exact.index_question(random_tree(), 0.4, 2, group_size)
    assert certificate.passed
    both, targets_only, *_ = certificate.table
    # Read literally, the targets do not sum to one, yet the leading factor cancels: the minimiser
    # is the same.
    assert targets_only["targets sum to"] > 1.01
    assert targets_only["gradient at V"] < 1e-12
    assert both["gradient at V"] < 1e-12
    assert all(row["gradient at V"] > 1e-3 for row in certificate.table if row["model from j"] == 1)
    with pytest.raises(ValueError, match="too many"):
        exact.index_question(random_tree(4, 5), 0.4, 5, 4)


def test_the_index_question_counts_what_it_says():
    """All four readings against loops over every group, in plain Python."""
    tree, alpha, group_size = random_tree(3, 2, seed=3), 0.4, 3
    value = exact.solve(tree, alpha).values[1].tolist()
    law = np.exp(tree.prefix_logps[1]).tolist()
    groups = list(itertools.product(range(3), repeat=group_size))

    def gradient(v, first):
        entries = [0.0] * 3
        for group in groups:
            probability = math.prod(law[i] for i in group)
            weights = [math.exp(value[i]) for i in group]
            below = sum(math.exp(v[i]) for i in group[first:])
            for j, i in enumerate(group):
                share = math.exp(v[i]) / below if j >= first else 0.0
                entries[i] += probability * (sum(weights) * share - weights[j])
        return max(map(abs, entries))

    certificate = exact.index_question(tree, alpha, 1, group_size)
    assert (certificate.passed, certificate.prefixes, certificate.limit) == (True, 3, 1e-12)
    assert "(t = 1, groups of 3)" in certificate.claim
    readings = [(row["targets from j"], row["model from j"]) for row in certificate.table]
    assert readings == [(0, 0), (1, 0), (1, 1), (0, 1)]
    for row, (targets, model) in zip(certificate.table, readings, strict=True):
        sums, logs = 0.0, []
        for group in groups:
            weights = [math.exp(value[i]) for i in group]
            sums += math.prod(law[i] for i in group) * sum(weights) / sum(weights[targets:])
            logs.append(math.log(sum(weights[model:]) / sum(weights[targets:])))
        assert row["targets sum to"] == pytest.approx(sums, rel=1e-12)
        assert row["spread of log C"] == pytest.approx(max(logs) - min(logs), abs=1e-12)
        expected = gradient(value, model) / gradient([0.0] * 3, model)
        assert row["gradient at V"] == pytest.approx(expected, rel=1e-10, abs=1e-13)
    assert certificate.max_abs_error == certificate.table[0]["gradient at V"]


def test_groups_are_listed_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(gnivo_edu.exact.indices, "MAX_GROUPS", 81)
    tree = random_tree()
    assert exact.index_question(tree, 0.4, 2, 2).passed
    assert exact.index_question(tree, 0.4, 1, 4).passed
    with pytest.raises(ValueError, match=r"3\*\*5 groups are too many"):
        exact.index_question(tree, 0.4, 1, 5)


def test_the_index_question_fails_where_the_values_are_wrong(monkeypatch):
    """The first reading must meet all three measures, and no other may."""
    monkeypatch.setattr(gnivo_edu.exact.indices, "INDEX_LIMIT", 1e-30)
    assert not exact.index_question(random_tree(), 0.4, 2, 2).passed
    monkeypatch.setattr(gnivo_edu.exact.indices, "INDEX_LIMIT", 10.0)
    assert not exact.index_question(random_tree(), 0.4, 2, 2).passed


def test_a_reading_at_the_limit_does_not_meet_a_measure(monkeypatch):
    # Groups of 3: the third reading misses by its sum alone. Of 2: the fourth by its spread alone.
    tree, alpha = random_tree(), 0.4
    reading = exact.index_question(tree, alpha, 2, 3).table[2]
    error = reading["targets sum to"] - 1
    assert max(reading["spread of log C"], reading["gradient at V"]) < error
    monkeypatch.setattr(gnivo_edu.exact.indices, "INDEX_LIMIT", error)
    assert exact.index_question(tree, alpha, 2, 3).passed
    tree = exact.enumerate_tree_from_rewards([0.0, math.log(4)], 2)
    reading = exact.index_question(tree, 1.0, 1, 2).table[3]
    error = reading["spread of log C"]
    assert max(abs(reading["targets sum to"] - 1), reading["gradient at V"]) < error
    monkeypatch.setattr(gnivo_edu.exact.indices, "INDEX_LIMIT", error)
    assert exact.index_question(tree, 1.0, 1, 2).passed


def test_the_index_question_stays_in_range_at_hundreds_of_nats():
    assert exact.index_question(random_tree(2, 2), 0.0013, 1, 2).passed
