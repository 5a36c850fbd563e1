"""What the rows of the implicit-value objectives say beside one another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gnivo_edu.population import Population, expect, point_at
from gnivo_edu.population.atlas import find, problem, rows_of
from gnivo_edu.population.claims.claim import entry as solved


@pytest.mark.slow
def test_softmax_weights_err_less_in_larger_groups():
    row = next(
        row for row in rows_of("gnivo") if row.variant.startswith("softmax weights, all depths")
    )
    pairs, fours = (solved("gnivo", f"softmax weights, all depths, K={K}") for K in (2, 4))
    threes = find(replace(row, group_size=3))
    assert pairs.tv_from_optimum > threes.tv_from_optimum > fours.tv_from_optimum


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
