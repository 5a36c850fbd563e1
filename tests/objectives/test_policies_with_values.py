"""dro and oreo."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.dro import dro
from gnivo_edu.objectives.gvpo import gvpo
from gnivo_edu.objectives.oreo import oreo, squared
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.policies import TabularLM, all_groups
from tests.objectives.objective_checks import (
    Groups,
    Tree,
    check_invariances,
    check_loops,
    check_oracle,
    from_record,
    make_tree,
    merged,
    needs_oracles,
    oracle_batches,
    random_record,
    rows,
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


def oreo_loops(
    live: Groups,
    frozen: Groups,
    alpha: float,
    level: str = "token",
    kl_weight: float = 0.0,
    kl: str = "exact",
) -> float:
    total, count = 0.0, 0
    for group, same in zip(live, frozen, strict=True):
        for row, stop in zip(group, same, strict=True):
            T = len(row.p)
            x = [row.p[t] - row.r[t] for t in range(T)]
            sg = [stop.p[t] - stop.r[t] for t in range(T)]
            own = 0.0
            for t in range(T):
                own += (row.v[t] - row.R + alpha * sum(sg[t:])) ** 2 / T
                if level == "token":
                    own += (stop.v[t] - row.R + alpha * x[t] + alpha * sum(sg[t + 1 :])) ** 2 / T
                own += kl_weight * (row.kl[t] if kl == "exact" else math.exp(-x[t]) - 1 + x[t]) / T
            if level == "response":
                own += (stop.v[0] - row.R + alpha * sum(x)) ** 2
            total += own
            count += 1
    return total / count


@pytest.mark.parametrize("scaled", [True, False])
def test_dro_against_loops_and_finite_differences(scaled: bool) -> None:
    check_loops(dro, dro_loops, ("policy_logps", "values"), alpha=0.3, scaled=scaled)
    check_invariances(dro, alpha=0.3, scaled=scaled)


@pytest.mark.parametrize(
    "settings", [{}, {"kl_weight": 0.2}, {"kl_weight": 0.2, "kl": "k3"}], ids=str
)
@pytest.mark.parametrize("level", ["token", "response"])
def test_oreo_against_loops_and_finite_differences(level: str, settings: dict[str, Any]) -> None:
    exact = settings.get("kl_weight", 0) > 0 and settings.get("kl") is None
    fields = ("policy_logps", "values", "policy_kl") if exact else ("policy_logps", "values")
    check_loops(oreo, oreo_loops, fields, alpha=0.3, level=level, **settings)
    check_invariances(oreo, alpha=0.3, level=level, **settings)


def test_oreo_by_steps() -> None:
    record = random_record()
    batch = GroupBatch(**record)
    steps = merged(rows(record), record["step_ids"][0, 0].tolist())
    for settings in ({}, {"kl_weight": 0.3}):
        ours = oreo(batch, 0.3, level="step", **settings).loss.item()
        assert ours == pytest.approx(oreo_loops(steps, steps, 0.3, **settings), rel=1e-12)
    check_invariances(oreo, alpha=0.3, level="step")
    single = replace(batch, step_ids=torch.arange(5).expand(3, 4, 5))
    assert oreo(single, level="step").loss.item() == pytest.approx(
        oreo(batch).loss.item(), rel=1e-13
    )


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
        record["policy_logps"].grad, weight[..., None] * batch.mask, rtol=1e-12, atol=1e-15
    )
    assert torch.allclose(
        record["values"].grad[..., 0], (value - batch.rewards + alpha * h) / 12, rtol=1e-12
    )
    assert not record["values"].grad[..., 1:].any()


def only(live: Any, level: str = "token", **settings: Any) -> Any:
    """One of the two losses of OREO, with the regulariser on the policy's."""

    def objective(batch: GroupBatch, alpha: float) -> LossOutput:
        total = oreo(batch, alpha, level=level, **settings).loss  # type: ignore[arg-type]
        steps = batch.by_step() if level == "step" else batch
        value = squared(steps, alpha, live="value")
        return LossOutput(value if live == "value" else total - value)

    return objective


@needs_oracles
def test_oreo_gives_what_its_code_gave() -> None:
    for record, outputs in oracle_batches():
        state_mask = torch.tensor(outputs["oreo_step"]["state_mask"]).view(record["mask"].shape)
        steps = record | {"step_ids": (state_mask.cumsum(-1) - 1).clamp(min=0)}
        for key, level, own, settings in (
            ("oreo_token", "token", record, {}),
            ("oreo_token_klk3", "token", record, {"kl": "k3"}),
            ("oreo_token_klexact", "token", record, {"kl": "exact"}),
            ("oreo_step", "step", steps, {}),
            ("oreo_response", "response", record, {}),
        ):
            expected = outputs[key]
            settings = dict(settings, kl_weight=expected["config"]["kl_reg"] or 0.0)
            alpha = expected["config"]["beta"]
            critic, actor = only("value", level, **settings), only("policy", level, **settings)
            check_oracle(critic, own, expected["critic_loss"], "values", alpha=alpha)
            check_oracle(actor, own, expected["actor_loss"], alpha=alpha)


def batch_at(
    tree: Tree, alpha: float, tables: Any, values: Any, sampler: Any, size: int = 1
) -> GroupBatch:
    tokens = all_groups(tree.mdp, sampler, size).tokens
    policy = TabularLM.from_tables(tree.mdp, tables)
    return tree.batch(policy, tables, sampler, size, values=tree.of_states(tokens, values))


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_residuals_are_zero_at_the_optimum_under_any_sampler(horizon: int) -> None:
    tree, alpha = make_tree(2, horizon), 0.4
    optimum, values = tree.tilt(alpha)
    wrong = [v + 0.1 for v in values]
    for sampler in (tree.reference, random_reference(2, horizon, 99)):
        batch = batch_at(tree, alpha, optimum, values, sampler)
        assert dro(batch, alpha).loss < 1e-28
        assert oreo(batch, alpha).loss < 1e-28
        assert oreo(batch, alpha, level="response").loss < 1e-28
        assert (
            oreo(
                replace(batch, step_ids=torch.arange(horizon).expand(batch.mask.shape) // 2),
                level="step",
                alpha=alpha,
            ).loss
            < 1e-28
        )
        for tables, v in (
            (optimum, wrong),
            (tree.reference, values),
            (tree.tilt(0.5)[0], tree.tilt(0.5)[1]),
        ):
            other = batch_at(tree, alpha, tables, v, sampler)
            assert dro(other, alpha).loss > 1e-5
            assert oreo(other, alpha).loss > 1e-5


def test_the_regulariser_of_oreo_moves_the_optimum() -> None:
    tree, alpha = make_tree(2, 2), 0.4
    optimum, values = tree.tilt(alpha)
    tokens = all_groups(tree.mdp, tree.reference, 1).tokens
    fields = {"values": tree.of_states(tokens, values)}
    for weight in (0.0, 0.05):
        gradient = tree.gradient(
            oreo, optimum, tree.reference, 1, alpha=alpha, kl_weight=weight, kl="k3", fields=fields
        )
        assert (gradient.abs().max() > 1e-4) if weight else (gradient.abs().max() < 1e-15)


def test_a_wrong_value_moves_dro_off_policy_as_proposition_1_says() -> None:
    """tau h = r - V - (pi/mu)(V^pi - V), V^pi = E_mu[r - tau h], is stationary; on-policy V is a
    mere baseline.
    """
    tree, alpha, shift = make_tree(4, 1), 0.4, 0.05
    optimum, values = tree.tilt(alpha)
    tokens = all_groups(tree.mdp, tree.reference, 1).tokens
    fields = {"values": tree.of_states(tokens, [values[0] + shift])}
    gradient = tree.gradient(dro, optimum, optimum, 1, alpha=alpha, fields=fields)
    assert gradient.abs().max() < 1e-15
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
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-15)


def test_errors() -> None:
    record = random_record()
    batch = GroupBatch(**record)
    for objective in (dro, oreo):
        with pytest.raises(ValueError, match="needs values"):
            objective(from_record(record, values=None))
        with pytest.raises(ValueError, match="alpha must be"):
            objective(batch, alpha=0.0)
    with pytest.raises(ValueError, match="needs policy_kl"):
        oreo(from_record(record, policy_kl=None), kl_weight=0.1)
    with pytest.raises(ValueError, match="needs step_ids"):
        oreo(from_record(record, step_ids=None), level="step")
    for settings, words in (
        ({"level": "word"}, "level must be one of"),
        ({"kl": "k1"}, "kl must be one of"),
        ({"kl_weight": -1.0}, "kl_weight must"),
    ):
        with pytest.raises(ValueError, match=words):
            oreo(batch, **settings)
