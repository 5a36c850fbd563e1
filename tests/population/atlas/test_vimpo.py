"""What the rows of VIMPO say beside one another."""

from __future__ import annotations

import itertools

import pytest
import torch

from gnivo_edu.population import Population, expect, point_at
from gnivo_edu.population.atlas import problem, rows_of
from gnivo_edu.population.claims.claim import entry as solved


def test_vimpos_actor_climbs_the_kl_by_exactly_its_gradient():
    """E[A grad log pi] = alpha sum_s visits(s) grad KL(s), the visits held fixed."""
    answers = problem("tree")
    policy = answers.policy(
        torch.randn(answers.reference.shape, generator=torch.Generator().manual_seed(3)).double()
    )
    actor = next(row for row in rows_of("vimpo") if row.expected == "collapses")
    got = expect(
        actor.loss, Population.of(answers, 2, "current"), point_at(answers, 0.5, policy)
    ).gradient["logits"]
    logits = policy.masked_fill(~answers.legal, 0.0).requires_grad_()
    visits = answers.visits(policy)
    tokens = float(answers.law(policy) @ answers.lengths.double())
    climb = torch.autograd.grad((visits * answers.kl(answers.policy(logits))).sum(), logits)[0]
    torch.testing.assert_close(got, -0.5 * climb / tokens, rtol=0, atol=1e-14)


@pytest.mark.slow
def test_options_of_the_value_loss_move_its_end_or_not():
    leave_one_out = "value loss, leave-one-out mean"
    undetached = "value loss, KL not detached, leave-one-out mean"
    plain, through = (solved("vimpo", name).law for name in (leave_one_out, undetached))
    assert float((plain - through).abs().max()) < 1e-9
    assert solved("vimpo", "soft value, leave-one-out mean").tv_from_optimum < 1e-9
    names = (
        "soft value, group mean",
        "value loss, group mean",
        "value loss, group mean, capped at 0.4",
    )
    ends = [solved("vimpo", name).law for name in names]
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in itertools.pairwise(ends))
