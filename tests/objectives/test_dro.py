"""dro: loops and differences, the gradients of the paper, Proposition 1, gvpo."""

from __future__ import annotations

import pytest
import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.dro import dro
from gnivo_edu.objectives.gvpo import gvpo
from gnivo_edu.policies import all_groups
from tests.objectives.objective_checks import (
    Groups,
    batch_at,
    check_errors,
    check_invariances,
    check_loops,
    from_record,
    make_tree,
    random_record,
)


def dro_loops(live: Groups, frozen: Groups, alpha: float, scaled: bool = True) -> float:
    total, count = 0.0, 0
    for group, same in zip(live, frozen, strict=True):
        for row, stop in zip(group, same, strict=True):
            h, h_stop = sum(row.p) - sum(row.r), sum(stop.p) - sum(stop.r)
            total += 0.5 * (row.R - row.v[0] - alpha * h_stop) ** 2
            total += 0.5 * (row.R - stop.v[0] - alpha * h) ** 2 / (alpha if scaled else 1)
            count += 1
    return total / count


@pytest.mark.parametrize("scaled", [True, False])
def test_dro_against_loops_and_finite_differences(scaled: bool) -> None:
    check_loops(dro, dro_loops, ("policy_logps", "values"), alpha=0.3, scaled=scaled)
    check_invariances(dro, alpha=0.3, scaled=scaled)


@pytest.mark.parametrize("scaled", [True, False])
def test_dro_gradients_are_those_of_the_paper(scaled: bool) -> None:
    alpha, record = 0.3, random_record()
    for name in ("policy_logps", "values"):
        record[name].requires_grad_()
    batch = GroupBatch(**record)
    dro(batch, alpha, scaled).loss.backward()
    h, value = batch.sequence_logratio.detach(), record["values"].detach()[..., 0]
    weight = -alpha * ((batch.rewards - value) - alpha / 2 * 2 * h) / (alpha if scaled else 1) / 12
    assert torch.allclose(
        record["policy_logps"].grad, weight[..., None] * batch.mask, rtol=1e-12, atol=1e-13
    )
    assert torch.allclose(
        record["values"].grad[..., 0], (value - batch.rewards + alpha * h) / 12, rtol=1e-12
    )
    assert not record["values"].grad[..., 1:].any()


def test_a_wrong_value_moves_dro_off_policy_as_proposition_1_says() -> None:
    """tau h = r - V - (pi/mu)(V^pi - V), V^pi = E_mu[r - tau h], is stationary; on-policy V is a
    mere baseline.
    """
    tree, alpha, shift = make_tree(4, 1), 0.4, 0.05
    optimum, values = tree.tilt(alpha)
    tokens = all_groups(tree.mdp, tree.reference, 1).tokens
    fields = {"values": tree.of_states(tokens, [values[0] + shift])}
    gradient = tree.gradient(dro, optimum, optimum, 1, alpha=alpha, fields=fields)
    assert gradient.abs().max() < 1e-13
    sampler = random_reference(4, 1, 99)
    assert tree.gradient(dro, optimum, sampler, 1, alpha=alpha, fields=fields).abs().max() > 1e-3
    tables = torch.from_numpy(optimum[0][0])
    reference, mu = torch.from_numpy(tree.reference[0][0]), torch.from_numpy(sampler[0][0]).exp()
    reward, v = torch.from_numpy(tree.rewards), float(values[0][0]) + shift
    for _ in range(3000):
        gap = (mu * (reward - alpha * (tables - reference))).sum() - v
        step = reference + (reward - v - tables.exp() / mu * gap) / alpha
        tables = (0.7 * tables + 0.3 * step).log_softmax(-1)
    assert (tables - torch.from_numpy(optimum[0][0])).abs().max() > 1e-2
    moved = tree.gradient(dro, [tables[None].numpy()], sampler, 1, alpha=alpha, fields=fields)
    assert moved.abs().max() < 1e-12


def test_dro_with_its_value_profiled_out_is_gvpo() -> None:
    tree, alpha = make_tree(2, 2), 0.4
    policy = random_reference(2, 2, 8)
    single = batch_at(tree, alpha, policy, [v * 0 for v in tree.tilt(alpha)[1]], tree.reference)
    target = single.rewards - alpha * single.sequence_logratio
    best = single.group_mean(target[:, 0]).detach()
    fields = {"values": best.expand(single.mask.shape)}
    ours = tree.gradient(dro, policy, tree.reference, 1, alpha=alpha, scaled=False, fields=fields)
    theirs = tree.gradient(gvpo, policy, tree.reference, 2, alpha=alpha)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-13)


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_the_residual_is_zero_at_the_optimum_under_any_sampler(horizon: int) -> None:
    tree, alpha = make_tree(2, horizon), 0.4
    optimum, values = tree.tilt(alpha)
    wrong = [v + 0.1 for v in values]
    warmer = tree.tilt(0.5)
    for sampler in (tree.reference, random_reference(2, horizon, 99)):
        batch = batch_at(tree, alpha, optimum, values, sampler)
        assert dro(batch, alpha).loss < 1e-28
        for tables, v in ((optimum, wrong), (tree.reference, values), warmer):
            assert dro(batch_at(tree, alpha, tables, v, sampler), alpha).loss > 1e-5


def test_errors() -> None:
    check_errors(dro, ({"alpha": 0.0}, "alpha must be"))
    with pytest.raises(ValueError, match="needs values"):
        dro(from_record(random_record(), values=None))
