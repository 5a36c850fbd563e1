import math

import numpy as np
import pytest

import gnivo_edu.exact.groups
from gnivo_edu import exact
from gnivo_edu.exact.groups import _conjugate_gradients
from tests.exact.problems import by_tuples, random_tree


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


def test_the_fit_finds_a_spread_of_hundreds_of_nats_and_refuses_more():
    assert exact.verify_constant_shift(random_tree(), 0.005, 2).passed
    with pytest.raises(ValueError, match="raise alpha"):
        exact.verify_constant_shift(random_tree(), 1e-3, 2)
    with pytest.raises(ValueError, match="group_size"):
        exact.verify_constant_shift(random_tree(), 1.0, 1)


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


@pytest.mark.parametrize("group_size", [2, 3, 4, 5])
@pytest.mark.parametrize("raw", [True, False])
def test_the_newton_step_is_that_of_the_dense_matrix(monkeypatch, group_size, raw):
    rng = np.random.default_rng(group_size)
    p, v = rng.dirichlet(np.ones(4)), 0.3 * rng.standard_normal(4)
    targets = np.exp(0.5 * rng.standard_normal(4))
    total = targets if raw else None
    objective = exact.GroupObjective(p, targets, group_size, total=total)

    def log_model(v):
        return np.log(by_tuples(p, total, targets, v, group_size)[1])

    # I - J = d log model/dv, by central differences over all K-tuples.
    jacobian = np.stack(
        [(log_model(v + 1e-5 * e) - log_model(v - 1e-5 * e)) / 2e-5 for e in np.eye(4)], axis=1
    )
    model, kernel = objective._integrals(v)
    mass = p * model
    for residual in np.eye(4):
        step = objective._newton_step(residual, model, kernel)
        right = residual - mass @ residual / mass.sum()
        assert mass @ step == pytest.approx(0, abs=1e-12)
        # Conjugate gradients stop at a thousandth of the residual, in the norm of the mass.
        error = jacobian @ step - right
        assert mass @ error**2 < 1e-5 * (mass @ right**2)

    matrices = []

    def dense(matrix, right, diagonal):
        matrices.append(np.stack([matrix(d) for d in np.eye(4)], axis=1))
        assert np.array_equal(diagonal, mass)
        return right

    monkeypatch.setattr(gnivo_edu.exact.groups, "_conjugate_gradients", dense)
    objective._newton_step(np.eye(4)[0], model, kernel)
    assert matrices[0] == pytest.approx(mass[:, None] * jacobian, rel=1e-6, abs=1e-9)
    assert matrices[0] == pytest.approx(matrices[0].T, rel=1e-12)
    assert matrices[0] @ np.ones(4) == pytest.approx(np.zeros(4), abs=1e-12)


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
def test_a_newton_step_of_thousands_of_nats_is_cut(monkeypatch, seed, size, group_size):
    """Prefixes so rare that the Hessian hardly sees them: uncut, a step would leave the range."""
    rng = np.random.default_rng(seed)
    p = np.maximum(rng.dirichlet(np.full(size, 0.05)), 1e-30)
    p /= p.sum()
    v = 20 * rng.standard_normal(size)
    targets = np.exp(v - v.max())
    objective = exact.GroupObjective(p, targets, group_size, total=targets)
    lengths, newton_step = [], exact.GroupObjective._newton_step

    def measured(*args):
        step = newton_step(*args)
        lengths.append(np.abs(step).max())
        return step

    monkeypatch.setattr(exact.GroupObjective, "_newton_step", measured)
    fit = objective.fit(np.zeros(size))
    assert np.log(objective.model(fit)) == pytest.approx(np.log(targets), abs=1e-9)
    assert max(lengths) > 600
    assert len(lengths) <= 50


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
        with pytest.raises(ValueError, match=r"more than 600 nats, too much .* raise alpha"):
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
    for far in ([0.0, 900.0], [-900.0, 0.0]):
        with pytest.raises(ValueError, match=r"span 900 nats.* to 600: raise alpha .* 1\.5-fold"):
            objective.model(np.array(far))
    # The loss compares with v = 0, so it reaches less far.
    # Of four pairs one is (20, 20), with log S = 20 + log 2, and three hold a 320.
    mean_log_sum = 20 / 4 + 3 * 320 / 4 + math.log(2) / 2
    assert objective.loss(np.array([20.0, 320.0])) == pytest.approx(mean_log_sum - 20 - 320)


@pytest.mark.parametrize("size", [1, 2, 5, 30])
def test_conjugate_gradients_solve(size):
    rng = np.random.default_rng(size)
    factor = rng.standard_normal((size, size))
    matrix = factor @ factor.T + np.eye(size)
    right, calls = rng.standard_normal(size), []

    def times(d):
        calls.append(1)
        return matrix @ d

    x = _conjugate_gradients(times, right, diagonal=np.diag(matrix), tolerance=1e-10)
    assert x == pytest.approx(np.linalg.solve(matrix, right), rel=1e-7, abs=1e-8)
    assert len(calls) <= 2 * size + 5
    # The tolerance is on the norm of the residual, preconditioned.
    rough = _conjugate_gradients(times, right, diagonal=np.diag(matrix))
    left = right - matrix @ rough
    norms = [float(r @ (r / np.diag(matrix))) for r in (left, right)]
    assert norms[0] <= 1e-6 * norms[1]
    assert size < 30 or norms[0] > 1e-9 * norms[1]


def test_conjugate_gradients_stop_where_there_is_nothing_to_gain():
    assert _conjugate_gradients(lambda d: d, np.zeros(3), diagonal=np.ones(3)).tolist() == [0] * 3
    # A direction without curvature is left alone.
    still = _conjugate_gradients(lambda d: 0 * d, np.ones(3), diagonal=np.ones(3))
    assert still.tolist() == [0, 0, 0]
