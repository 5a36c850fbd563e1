import numpy as np
import pytest

import gnivo_edu.exact.group_integrals
from gnivo_edu.exact.group_integrals import GroupIntegrals, _minimal_residual
from tests.exact.problems import by_tuples


def log_model(p, v, group_size, weights):
    return np.log(by_tuples(p, weights, np.ones(len(p)), v, group_size)[1])


@pytest.mark.parametrize("group_size", [2, 3, 4, 5])
@pytest.mark.parametrize("raw", [True, False])
def test_the_derivative_is_that_of_the_k_tuples(monkeypatch, group_size, raw):
    monkeypatch.setattr(gnivo_edu.exact.group_integrals, "FEW", 1)  # then the dense matrix
    rng = np.random.default_rng(group_size)
    p, v = rng.dirichlet(np.ones(4)), 0.3 * rng.standard_normal(4)
    weights = np.exp(0.5 * rng.standard_normal(4)) if raw else None
    integrals = GroupIntegrals(np.log(p), v, group_size, np.log(weights) if raw else None)
    slopes = [
        (log_model(p, v + 1e-5 * e, group_size, weights)
         - log_model(p, v - 1e-5 * e, group_size, weights)) / 2e-5
        for e in np.eye(4)
    ]  # fmt: skip
    jacobian = np.stack(slopes, axis=1)
    order = integrals.order
    matrix = integrals._derivative()(np.eye(4))
    assert matrix == pytest.approx(jacobian[np.ix_(order, order)], rel=1e-6, abs=1e-9)
    assert matrix @ np.ones(4) == pytest.approx(np.zeros(4), abs=1e-12)
    step = integrals.newton_step(np.eye(4)[0])
    mass = np.exp(integrals.log_mass())
    mass = mass[np.argsort(order)] / mass.sum()
    assert mass @ step == pytest.approx(0, abs=1e-12)
    assert jacobian @ step == pytest.approx(np.eye(4)[0] - mass[0], abs=1e-6)


@pytest.mark.parametrize("raw", [True, False])
def test_without_a_dense_matrix_the_step_is_nearly_the_same(monkeypatch, raw):
    rng = np.random.default_rng(0)
    p, v = rng.dirichlet(np.ones(30)), 20 * rng.standard_normal(30)
    integrals = GroupIntegrals(np.log(p), v, 3, v + 0.1 * rng.random(30) if raw else None)
    residual = 0.1 * rng.standard_normal(30)
    monkeypatch.setattr(gnivo_edu.exact.group_integrals, "FEW", 1)
    dense = integrals.newton_step(residual)
    monkeypatch.setattr(gnivo_edu.exact.group_integrals, "DENSE", 1)
    derivative = integrals._derivative()
    order = integrals.order
    left = derivative(integrals.newton_step(residual)[order]) - derivative(dense[order])
    assert np.linalg.norm(left) < 0.02 * np.linalg.norm(residual)


@pytest.mark.parametrize("group_size", [2, 3, 4])
def test_blocks_far_apart_are_what_k_tuples_say(group_size):
    """Values over 200 nats, in several blocks, against the sum over every group in logarithms."""
    rng = np.random.default_rng(1)
    p, v = rng.dirichlet(np.ones(5)), np.array([0.0, 30.0, 80.0, 81.0, 200.0])
    weights = v + rng.standard_normal(5)
    ratio = GroupIntegrals(np.log(p), v, group_size, weights).log_ratio
    peak = v.max()
    model = by_tuples(p, np.exp(weights - peak), weights, v - peak, group_size)[1]
    assert ratio + weights - peak == pytest.approx(np.log(model), abs=1e-12)


def test_large_groups_are_those_of_the_law_of_large_numbers():
    p, v = np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 2.0])
    ratio = GroupIntegrals(np.log(p), v, 1_000_000, None).log_ratio
    share = v - np.log(1_000_000 * p @ np.exp(v))
    assert ratio == pytest.approx(share, abs=5e-6)
    # Raw weights at v = log w: W q_1 is w_1 in every group.
    raw = GroupIntegrals(np.log(p), v, 1_000_000, v).log_ratio
    assert raw == pytest.approx(np.zeros(3), abs=1e-13)


def test_minimal_residuals_solve():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((20, 20)) + 10 * np.eye(20)
    right = rng.standard_normal(20)
    x, solved = _minimal_residual(lambda d: matrix @ d, right, most=60, tolerance=1e-10)
    assert solved
    assert x == pytest.approx(np.linalg.solve(matrix, right), rel=1e-7, abs=1e-9)
    assert not _minimal_residual(lambda d: matrix @ d, right, most=2, tolerance=1e-10)[1]
    zero, solved = _minimal_residual(lambda d: d, np.zeros(3), most=2)
    assert (zero.tolist(), solved) == ([0, 0, 0], True)
