"""ppo: loops and differences, verl's numbers, the gradient of J on-policy, errors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.ppo import generalised_advantages, ppo
from gnivo_edu.objectives.surrogate import behaviour_divergence, needed, whiten
from gnivo_edu.policies import all_groups
from tests.objectives.objective_checks import (
    Groups,
    Tree,
    check_invariances,
    check_loops,
    check_oracle,
    from_record,
    full_record,
    make_tree,
    needs_oracles,
    oracle_batches,
    random_record,
)


def loops(
    live: Groups,
    frozen: Groups,
    alpha: float,
    lam: float = 0.95,
    gamma: float = 1.0,
    kl: str = "k1",
    whitened: bool = True,
    value_weight: float = 0.1,
    value_clip: float | None = 0.2,
    dual_clip: float | None = None,
) -> float:
    advantages, returns = [], []
    for row in (row for group in frozen for row in group):
        T = len(row.p)
        x = [row.b[t] - row.r[t] for t in range(T)]
        r = [-alpha * (x[t] if kl == "k1" else math.exp(-x[t]) - 1 + x[t]) for t in range(T)]
        r[-1] += row.R
        v = [*row.bv, 0.0]
        d = [r[t] + gamma * v[t + 1] - v[t] for t in range(T)]
        row_advantages = [
            sum((gamma * lam) ** (m - t) * d[m] for m in range(t, T)) for t in range(T)
        ]
        advantages.append(row_advantages)
        returns.append([row_advantages[t] + v[t] for t in range(T)])
    flat = [a for row_advantages in advantages for a in row_advantages]
    mean = sum(flat) / len(flat)
    variance = sum((a - mean) ** 2 for a in flat) / (len(flat) - 1)
    total = 0.0
    for row, row_advantages, goal in zip(
        (row for group in live for row in group), advantages, returns, strict=True
    ):
        for t, raw in enumerate(row_advantages):
            a = (raw - mean) / math.sqrt(variance + 1e-8) if whitened else raw
            u = math.exp(row.p[t] - row.b[t])
            term = max(-a * u, -a * min(max(u, 0.8), 1.2))
            total += min(term, -dual_clip * a) if dual_clip is not None and a < 0 else term
            errors = [(row.v[t] - goal[t]) ** 2]
            if value_clip is not None:
                step = min(max(row.v[t] - row.bv[t], -value_clip), value_clip)
                errors.append((row.bv[t] + step - goal[t]) ** 2)
            total += value_weight * max(errors) / 2
    return total / len(flat)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kl": "k3", "gamma": 0.9, "lam": 0.7},
        {"whitened": False, "value_clip": None, "value_weight": 0.7},
        {"lam": 1.0, "dual_clip": 1.05, "value_clip": 0.05},
        {"lam": 0.0},
    ],
    ids=str,
)
def test_against_loops_and_finite_differences(settings: dict[str, Any]) -> None:
    check_loops(ppo, loops, ("policy_logps", "values"), alpha=0.3, **settings)
    check_invariances(ppo, weighted=not settings.get("whitened", True), alpha=0.3, **settings)


def test_gradcheck() -> None:
    record = random_record()
    leaves = tuple(record[name].requires_grad_() for name in ("policy_logps", "values"))

    def loss(policy_logps: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return ppo(
            GroupBatch(**record | {"policy_logps": policy_logps, "values": values}), 0.3
        ).loss

    assert torch.autograd.gradcheck(loss, leaves)


def value_alone(batch: GroupBatch, **settings: Any) -> LossOutput:
    return LossOutput(
        ppo(batch, value_weight=1.0, **settings).loss
        - ppo(batch, value_weight=0.0, **settings).loss
    )


@needs_oracles
def test_gives_what_verl_gave() -> None:
    for record, outputs in oracle_batches():
        for key in ("verl_ppo", "verl_ppo_lam1"):
            expected = outputs[key]
            c = expected["config"]
            settings = {
                "alpha": c["kl_coef"],
                "lam": c["lam"],
                "gamma": c["gamma"],
                "value_clip": c["value_clip"],
                "dual_clip": c["dual_clip"],
            }
            check_oracle(
                ppo, record, expected["policy_loss"], tolerance=1e-7, value_weight=0.0, **settings
            )
            check_oracle(value_alone, record, expected["value_loss"], "values", **settings)
            batch = GroupBatch(**record)
            before = needed(batch, "behaviour_values", "ppo")
            raw = generalised_advantages(
                batch, before, c["kl_coef"] * behaviour_divergence(batch), c["lam"]
            )
            for ours, name, tolerance in (
                (whiten(batch, raw), "advantages_whitened", 1e-7),
                (raw + before, "returns", 1e-9),
            ):
                theirs = torch.tensor(expected[name], dtype=torch.float64).view(raw.shape)
                assert torch.allclose(ours, theirs * batch.mask, rtol=0, atol=tolerance)


def exact_critic(tree: Tree, tables: list[np.ndarray], alpha: float) -> list[np.ndarray]:
    """V(s) = E[R - alpha sum of later log-ratios | s] by backward induction, [V**t]."""
    value, values = tree.rewards, []
    for table, reference in zip(tables[::-1], tree.reference[::-1], strict=True):
        q = value.reshape(-1, tree.mdp.vocab_size) - alpha * (table - reference)
        value = (np.exp(table) * q).sum(1)
        values.append(value)
    return values[::-1]


@pytest.mark.parametrize(
    ("lam", "critic", "kl", "exact"),
    [
        (1.0, "exact", "k1", True),
        (1.0, "wrong", "k1", True),
        (0.5, "exact", "k1", True),
        (0.0, "exact", "k1", True),
        (0.5, "wrong", "k1", False),
        (1.0, "exact", "k3", False),
    ],
)
def test_on_policy_gradient_is_that_of_the_objective(
    lam: float, critic: str, kl: str, exact: bool
) -> None:
    tree, alpha = make_tree(2, 3), 0.4
    tokens = all_groups(tree.mdp, tree.reference, 1).tokens
    for policy in (random_reference(2, 3, 8), tree.tilt(alpha)[0]):
        values = exact_critic(tree, policy, alpha)
        if critic == "wrong":
            values = [v + np.cos(3 * np.arange(len(v)) + t) for t, v in enumerate(values)]
        fields = {"values": tree.of_states(tokens, values)}
        settings = {"alpha": alpha, "lam": lam, "kl": kl, "whitened": False, "fields": fields}
        ours = tree.gradient(ppo, policy, policy, 1, **settings)
        gap = (-3 * ours - tree.ascent(policy, alpha)).abs().max()
        assert (gap < 1e-14) if exact else (gap > 1e-3)


def test_metrics_errors_and_defaults() -> None:
    record = random_record()
    batch = GroupBatch(**record)
    with pytest.raises(ValueError, match="needs values"):
        ppo(from_record(record, values=None))
    for settings, words in (
        ({"alpha": 0.0}, "alpha must"),
        ({"lam": 1.1}, "lam and gamma must"),
        ({"gamma": -0.1}, "lam and gamma must"),
        ({"kl": "k2"}, "kl must be one of"),
        ({"value_weight": -1.0}, "value_weight and value_clip"),
        ({"value_clip": -1.0}, "value_weight and value_clip"),
        ({"clip_low": 1.0}, "clip_low < 1"),
    ):
        with pytest.raises(ValueError, match=words):
            ppo(batch, **settings)
    alone = ppo(replace(batch, behaviour_values=None)).loss
    assert alone.item() == ppo(replace(batch, behaviour_values=batch.values)).loss.item()
    single = GroupBatch(**{name: x[:, :1] for name, x in record.items()})
    assert ppo(single).loss.isfinite()
    perfect = replace(
        batch,
        reference_logps=batch.behaviour_logps,
        values=batch.rewards[..., None].expand(3, 4, 5),
    )
    perfect = replace(perfect, behaviour_values=None)
    nothing = replace(
        perfect, rewards=batch.rewards * 0, values=batch.rewards[..., None].expand(3, 4, 5) * 0
    )
    assert ppo(nothing).metrics["explained"].item() == 0
    assert ppo(perfect).metrics["explained"].item() == pytest.approx(1)
    assert ppo(perfect).metrics["value_loss"].item() == pytest.approx(0)
    raw = generalised_advantages(
        batch, needed(batch, "behaviour_values", "ppo"), 0.05 * behaviour_divergence(batch), 0.95
    )
    returns = (raw + needed(batch, "behaviour_values", "ppo"))[batch.mask]
    errors = returns - record["values"][batch.mask]
    expected = 1 - errors.var(correction=0) / returns.var(correction=0)
    assert ppo(batch).metrics["explained"].item() == pytest.approx(expected.item(), rel=1e-12)


def test_only_the_value_loss_moves_a_critic_that_is_its_own_behaviour() -> None:
    record = full_record() | {"behaviour_values": None}
    record["values"].requires_grad_()
    record["policy_logps"].requires_grad_()
    objectives.ppo(GroupBatch(**record), value_weight=0.0).loss.backward()
    assert not record["values"].grad.any()


def test_advantages_are_those_of_the_rollout_until_they_are_made_anew() -> None:
    """With `behaviour_values` no later value moves the push on the policy; "update" is what a batch
    without them gives.
    """

    def push(batch: GroupBatch, **settings: Any) -> torch.Tensor:
        live = batch.policy_logps.detach().requires_grad_()
        ppo(replace(batch, policy_logps=live), value_clip=None, **settings).loss.backward()
        assert live.grad is not None
        return live.grad

    batch = GroupBatch(**random_record())
    later = replace(batch, values=batch.values + 0.3 * batch.mask.cumsum(-1))
    assert torch.equal(push(batch), push(later))
    anew = push(later, advantages="update")
    assert torch.equal(anew, push(replace(later, behaviour_values=None)))
    assert float((anew - push(later)).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="advantages must be one of rollout, update"):
        ppo(batch, advantages="step")  # type: ignore[arg-type]
