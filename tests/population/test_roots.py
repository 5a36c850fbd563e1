"""Newton's method on expected gradients: Jacobians, gauges, kinks, and where there is no root."""

from __future__ import annotations

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.population import Population, point_at, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.roots import jacobian, newton, rest


def test_the_jacobian_is_that_of_autograd():
    def field(x):
        return torch.stack([x[0] * x[1], x[1].exp(), x.sum().square()])

    x = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
    exact = torch.autograd.functional.jacobian(field, x)
    torch.testing.assert_close(jacobian(field, x), exact, rtol=0, atol=1e-9)


def test_a_direction_that_the_field_does_not_see_stays_as_it_is():
    """Softmax probabilities do not see a constant: the logits keep the sum that they started at."""
    target = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    start = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)
    root, residual, _ = newton(lambda x: x.softmax(0) - target, start)
    assert residual < 1e-11
    torch.testing.assert_close(root.softmax(0), target, rtol=0, atol=1e-11)
    assert float(root.sum()) == pytest.approx(1.5, abs=1e-9)


@pytest.mark.parametrize("field", [lambda x: x.abs() + 1, lambda x: (-x).exp()])
def test_where_there_is_no_root_none_is_claimed(field):
    """At a kink no step shrinks the field; along a slope that only fades the steps run out."""
    _, residual, iterations = newton(field, torch.tensor([2.0], dtype=torch.float64), limit=8)
    assert residual > 1e-9
    assert iterations <= 8


def test_gvpo_rests_at_the_optimum_and_a_loss_without_kl_nowhere():
    answers = problem("one step")
    start = point_at(answers, 0.5)
    on_policy = Population.of(answers, 2, "current")
    found = rest(objectives.gvpo, on_policy, start, alpha=0.5)
    best = answers.law(answers.tilted(answers.rewards / 0.5))
    assert found.converged
    assert total_variation(answers.law(answers.policy(found.point.logits)), best) < 1e-9
    assert not rest(objectives.dr_grpo, on_policy, start, alpha=0.5).converged
