"""oreo: loops and differences, its code's numbers, the optimum and what moves it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.oreo import oreo, squared
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.policies import all_groups
from tests.objectives.objective_checks import (
    Groups,
    batch_at,
    check_errors,
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
            loss = 0.0
            for t in range(T):
                loss += (row.v[t] - row.R + alpha * sum(sg[t:])) ** 2 / T
                if level == "token":
                    later = sum(sg[t + 1 :])
                    loss += (stop.v[t] - row.R + alpha * x[t] + alpha * later) ** 2 / T
                k = row.kl[t] if kl == "exact" else math.exp(-x[t]) - 1 + x[t]
                loss += kl_weight * k / T
            if level == "response":
                loss += (stop.v[0] - row.R + alpha * sum(x)) ** 2
            total += loss
            count += 1
    return total / count


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
        for key, level, fields, settings in (
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
            check_oracle(critic, fields, expected["critic_loss"], "values", alpha=alpha)
            check_oracle(actor, fields, expected["actor_loss"], alpha=alpha)


def test_the_regulariser_of_oreo_moves_the_optimum() -> None:
    tree, alpha = make_tree(2, 2), 0.4
    optimum, values = tree.tilt(alpha)
    tokens = all_groups(tree.mdp, tree.reference, 1).tokens
    fields = {"values": tree.of_states(tokens, values)}
    for weight in (0.0, 0.05):
        gradient = tree.gradient(
            oreo, optimum, tree.reference, 1, alpha=alpha, kl_weight=weight, kl="k3", fields=fields
        )
        assert (gradient.abs().max() > 1e-4) if weight else (gradient.abs().max() < 1e-13)


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_the_residual_is_zero_at_the_optimum_under_any_sampler(horizon: int) -> None:
    tree, alpha = make_tree(2, horizon), 0.4
    optimum, values = tree.tilt(alpha)
    wrong = [v + 0.1 for v in values]
    warmer = tree.tilt(0.5)
    for sampler in (tree.reference, random_reference(2, horizon, 99)):
        batch = batch_at(tree, alpha, optimum, values, sampler)
        assert oreo(batch, alpha).loss < 1e-28
        assert oreo(batch, alpha, level="response").loss < 1e-28
        pairs = torch.arange(horizon).expand(batch.mask.shape) // 2
        assert oreo(replace(batch, step_ids=pairs), alpha, level="step").loss < 1e-28
        for tables, v in ((optimum, wrong), (tree.reference, values), warmer):
            assert oreo(batch_at(tree, alpha, tables, v, sampler), alpha).loss > 1e-5


def test_errors() -> None:
    check_errors(
        oreo,
        ({"alpha": 0.0}, "alpha must be"),
        ({"level": "word"}, "level must be one of"),
        ({"kl": "k1"}, "kl must be one of"),
        ({"kl_weight": -1.0}, "kl_weight must"),
    )
    for field, settings in (
        ("values", {}),
        ("policy_kl", {"kl_weight": 0.1}),
        ("step_ids", {"level": "step"}),
    ):
        with pytest.raises(ValueError, match=f"needs {field}"):
            oreo(from_record(random_record(), **{field: None}), **settings)


@pytest.mark.parametrize("level", ["token", "response"])
def test_one_joint_update_is_that_of_the_code_in_two_steps(level: str) -> None:
    """The code steps the critic first, and then the policy on the values from before that step."""
    start, after = random_record(), []
    for joint in (True, False):
        leaves = {name: start[name].clone().requires_grad_() for name in ("policy_logps", "values")}

        def push(leaves: dict[str, torch.Tensor], **constant: torch.Tensor) -> None:
            for x in leaves.values():
                x.grad = None
            oreo(from_record(start, **leaves | constant), 0.3, level=level).loss.backward()

        of_policy, of_critic = (
            torch.optim.AdamW([x], lr=rate)
            for x, rate in zip(leaves.values(), (0.01, 0.05), strict=True)
        )
        for _ in range(5):
            before = leaves["values"].detach().clone()
            push(leaves)
            of_critic.step()
            if not joint:
                push(leaves, values=before)
            of_policy.step()
        after.append([x.detach() for x in leaves.values()])
    for one, other, name in zip(*after, leaves, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)
        assert not torch.equal(one, start[name])
