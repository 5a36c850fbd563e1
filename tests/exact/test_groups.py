import math

import numpy as np
import pytest

from gnivo_edu import exact
from tests.exact.problems import by_tuples


@pytest.mark.parametrize("group_size", [2, 3, 4])
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("scale", [0.3, 5.0])
def test_group_expectations_equal_k_tuples(group_size, raw, scale):
    rng = np.random.default_rng(group_size)
    p = rng.dirichlet(np.ones(4))
    targets, v = np.exp(scale * rng.standard_normal(4)), scale * rng.standard_normal(4)
    objective = exact.GroupObjective(p, targets, group_size, total=targets if raw else None)
    loss, model = by_tuples(p, targets if raw else None, targets, v, group_size)
    assert objective.loss(v) == pytest.approx(loss, rel=1e-11)
    assert objective.model(v) == pytest.approx(model, rel=1e-13)
    # The gradient of the loss: dL/dv_k = K p_k (model_k - target_k), by central differences.
    for k in range(4):
        step = 1e-5 * np.eye(4)[k]
        slope = (objective.loss(v + step) - objective.loss(v - step)) / 2e-5
        assert group_size * p[k] * objective.gradient(v)[k] == pytest.approx(
            slope, rel=1e-6, abs=1e-7 * targets.max()
        )


@pytest.mark.parametrize("group_size", [2, 3, 5])
@pytest.mark.parametrize("raw", [True, False])
def test_the_fit_solves_its_equation_wherever_it_starts(group_size, raw):
    rng = np.random.default_rng(10 * group_size + raw)
    p, v = rng.dirichlet(np.ones(4)), 2 * rng.standard_normal(4)
    weights = np.exp(rng.standard_normal(4))
    # Targets that have v as their solution, from all K-tuples: under raw weights they are e^v.
    if raw:
        weights = np.exp(v)
    _, targets = by_tuples(p, weights if raw else None, weights, v, group_size)
    objective = exact.GroupObjective(p, targets, group_size, total=targets if raw else None)
    for start in (np.zeros(4), v + 3.0, 5 * rng.standard_normal(4)):
        copy = start.copy()
        difference = objective.fit(start) - v
        assert np.ptp(difference) < 1e-9
        assert np.array_equal(start, copy)
    loss = objective.loss(objective.fit(np.zeros(4)))
    assert all(objective.loss(v + 0.1 * d) > loss for d in np.eye(4))
    for shift in (-9.0, 0.7, 9.0):  # the loss does not change with a common shift
        assert objective.loss(v + shift) == pytest.approx(loss, rel=1e-10)


def test_the_fit_is_newtons(monkeypatch):
    """A fixed-point iteration would find the same V_theta, in hundreds of steps."""
    calls, integrals = [], exact.GroupObjective._integrals
    monkeypatch.setattr(
        exact.GroupObjective, "_integrals", lambda *args: calls.append(1) or integrals(*args)
    )
    rng = np.random.default_rng(0)
    p, v = rng.dirichlet(np.ones(20)), 2 * rng.standard_normal(20)
    for group_size in (2, 8):
        shares = exact.GroupObjective(p, np.ones(20), group_size, total=None).model(v)
        for targets, total in ((np.exp(v), np.exp(v)), (shares, None)):
            objective = exact.GroupObjective(p, targets, group_size, total=total)
            calls.clear()
            assert np.ptp(objective.fit(np.zeros(20)) - v) < 1e-9
            assert len(calls) <= 10


@pytest.mark.parametrize(
    ("seed", "size", "group_size"), [(59, 5, 3), (21, 8, 6), (22, 8, 6), (55, 8, 6)]
)
def test_rare_prefixes_are_fitted_as_well(seed, size, group_size):
    """Prefixes so rare that no group of a lifetime holds them."""
    rng = np.random.default_rng(seed)
    p = np.maximum(rng.dirichlet(np.full(size, 0.05)), 1e-30)
    p /= p.sum()
    v = 20 * rng.standard_normal(size)
    targets = np.exp(v - v.max())
    objective = exact.GroupObjective(p, targets, group_size, total=targets)
    fit = objective.fit(np.zeros(size))
    assert np.log(objective.model(fit)) == pytest.approx(np.log(targets), abs=1e-9)


def test_a_fit_that_does_not_arrive_says_so():
    rng = np.random.default_rng(0)
    p, targets = rng.dirichlet(np.ones(5)), np.exp(3 * rng.standard_normal(5))
    objective = exact.GroupObjective(p, targets, 2, total=targets)
    with pytest.raises(RuntimeError, match="stopped with a residual of"):
        objective.fit(np.zeros(5), max_iterations=2)
    # A loose tolerance stops early, and what is left is above 1e-9.
    with pytest.raises(RuntimeError, match="stopped with a residual of"):
        objective.fit(np.zeros(5), tolerance=1e-3)
    exact_fit = objective.fit(np.zeros(5))
    assert np.array_equal(objective.fit(exact_fit), exact_fit)
    for targets in ([1, 1, 1, 1, 0.0], [0.0] * 5, [1, 1, 1, 1, math.nan]):
        with pytest.raises(ValueError, match="needs targets above 0"):
            exact.GroupObjective(p, np.array(targets), 2, total=None).fit(np.zeros(5))
    # Where all is alike, any start is a fit, and it is given back in float64.
    flat = exact.GroupObjective(p, np.full(5, 0.5), 2, total=None)
    assert flat.fit(np.ones(5, dtype=np.int64)).dtype == np.float64


def test_the_range_of_the_values_is_limited():
    p = np.full(2, 0.5)
    objective = exact.GroupObjective(p, np.ones(2), 2, total=None)
    # K = 2 at 600 nats: a pair of equals shares evenly, the larger of two unequals takes all.
    assert objective.model(np.array([0.0, 600.0])) == pytest.approx([0.25, 0.75], abs=1e-14)
    assert objective.model(np.array([-900.0, -300.0])) == pytest.approx([0.25, 0.75], abs=1e-14)
    assert objective.model(np.array([0.0, 15_000.0])) == pytest.approx([0.25, 0.75], abs=1e-14)
    for far in ([0.0, 30_000.0], [-30_000.0, 0.0]):
        with pytest.raises(
            ValueError, match=r"span 3e\+04 nats.* 20,000: raise alpha .* 1\.5-fold"
        ):
            objective.model(np.array(far))
    with pytest.raises(ValueError, match=r"span 900 nats.* 600: raise alpha .* 1\.5-fold"):
        objective.loss(np.array([0.0, 900.0]))
    # The loss compares with v = 0, so it reaches less far.
    # Of four pairs one is (20, 20), with log S = 20 + log 2, and three hold a 320.
    mean_log_sum = 20 / 4 + 3 * 320 / 4 + math.log(2) / 2
    assert objective.loss(np.array([20.0, 320.0])) == pytest.approx(mean_log_sum - 20 - 320)


@pytest.mark.parametrize("seed", [14, 15, 40, 49])
def test_a_fit_arrives_where_newtons_step_is_far_too_long(seed):
    """Two clusters of values that only rare prefixes tie together."""
    rng = np.random.default_rng(seed)
    tables = [3 * rng.standard_normal((3**t, 3)) for t in range(4)]
    tables = [table - np.logaddexp.reduce(table, axis=1, keepdims=True) for table in tables]
    rewards = (rng.random(81) < 0.1).astype(float)
    tree = exact.enumerate_tree_from_rewards(rewards, 3, tables)
    certificate = exact.verify_constant_shift(tree, 0.04, 2, seed=seed)
    assert certificate.passed
    assert certificate.undecided == []
