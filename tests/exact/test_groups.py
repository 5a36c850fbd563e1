import itertools
import math

import numpy as np
import pytest

from gnivo_edu import exact
from tests.exact.problems import random_tree


def by_tuples(p, weights, targets, v, group_size):
    """Model and loss of GroupObjective from every K-tuple, in plain Python."""
    n, loss, model = len(p), 0.0, np.zeros(len(p))
    for group in itertools.product(range(n), repeat=group_size):
        probability = math.prod(p[i] for i in group)
        total = sum(weights[i] for i in group) if weights is not None else 1.0
        normaliser = sum(math.exp(v[i]) for i in group)
        loss += probability * total * math.log(normaliser)
        model[group[0]] += probability / p[group[0]] * total * math.exp(v[group[0]]) / normaliser
    return loss - group_size * sum(p * targets * v), model


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
