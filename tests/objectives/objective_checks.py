"""What every objective is put through: plain loops, finite differences, invariances, recorded
numbers, populations.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu.batch import LOGPS, GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.policies import TabularLM, all_groups, make_group_batch
from toy_envs import TokenMDP

ORACLES = (
    Path(os.environ.get("GNIVO_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    / "oracles/losses.json"
)
needs_oracles = pytest.mark.skipif(
    not ORACLES.is_file(), reason="GNIVO_SHARED holds no oracles/losses.json"
)
PER_TOKEN = {
    "p": "policy_logps",
    "b": "behaviour_logps",
    "r": "reference_logps",
    "kl": "policy_kl",
    "v": "values",
    "bv": "behaviour_values",
}
LEVEL = 6.0  # nats by which random numbers are lowered where they are log-probabilities
Tables = list[np.ndarray]


@dataclass
class Row:
    """One response in plain numbers: its reward, and lists as long as it is."""

    R: float
    p: list[float]
    b: list[float]
    r: list[float]
    kl: list[float]
    v: list[float]
    bv: list[float]


Groups = list[list[Row]]


def random_record(seed: int = 1) -> dict[str, Any]:
    """Three groups of four, off-policy, lengths from 1 to 5, junk after the end, every optional
    field.
    """
    g = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([[5, 2, 1, 3], [2, 2, 2, 2], [1, 4, 3, 3]])
    record: dict[str, Any] = {"mask": torch.arange(5) < lengths[..., None]}
    for name in PER_TOKEN.values():
        record[name] = 0.4 * torch.randn(3, 4, 5, generator=g, dtype=torch.float64)
    for name in LOGPS:
        record[name] -= LEVEL  # a log-probability is negative
    record["policy_kl"] = record["policy_kl"].abs()
    record["rewards"] = torch.rand(3, 4, generator=g, dtype=torch.float64)
    record["step_ids"] = torch.tensor([0, 0, 1, 1, 2]).expand(3, 4, 5).clone()
    return record


def rows(record: dict[str, Any]) -> Groups:
    lengths = record["mask"].sum(-1).tolist()
    lists = {short: record[name].tolist() for short, name in PER_TOKEN.items()}
    return [
        [
            Row(
                float(record["rewards"][n, k]),
                **{s: x[n][k][: lengths[n][k]] for s, x in lists.items()},
            )
            for k in range(len(lengths[n]))
        ]
        for n in range(len(lengths))
    ]


def merged(groups: Groups, step_ids: list[int]) -> Groups:
    """The same with steps for tokens: sums over a step, values at its first token."""

    def merge(row: Row) -> Row:
        ids = step_ids[: len(row.p)]
        steps = sorted(set(ids))
        sums = {
            s: [sum(x for x, i in zip(getattr(row, s), ids, strict=True) if i == j) for j in steps]
            for s in "pbr"
        }
        kl = [sum(x for x, i in zip(row.kl, ids, strict=True) if i == j) for j in steps]
        first = {s: [getattr(row, s)[ids.index(j)] for j in steps] for s in ("v", "bv")}
        return Row(row.R, **sums, kl=kl, **first)

    return [[merge(row) for row in group] for group in groups]


def check_loops(
    objective: Callable[..., Any],
    loops: Callable[..., float],
    fields: tuple[str, ...] = ("policy_logps",),
    step: float = 1e-5,
    **settings: Any,
) -> None:
    """Value against `loops(live, frozen, **settings)`, gradient against its differences in `live`
    alone.

    What an objective detaches, the loops read from `frozen`. A field without gradient must not be
    in `fields`."""
    record = random_record()
    for name in ("policy_logps", "values", "policy_kl"):
        record[name].requires_grad_()
    out = objective(GroupBatch(**record), **settings)
    out.loss.backward()
    plain = {name: x.detach() for name, x in record.items()}
    frozen = rows(plain)
    assert out.loss.item() == pytest.approx(loops(frozen, frozen, **settings), rel=1e-12, abs=1e-14)
    for name in ("policy_logps", "values", "policy_kl"):
        if name not in fields:
            assert record[name].grad is None or not record[name].grad.any()
            continue
        assert record[name].grad is not None
        for place in np.ndindex(*plain[name].shape):
            values = []
            for sign in (1, -1):
                moved = plain[name].clone()
                moved[place] += sign * step
                values.append(loops(rows(plain | {name: moved}), frozen, **settings))
            slope = (values[0] - values[1]) / (2 * step)
            assert record[name].grad[place].item() == pytest.approx(slope, rel=1e-6, abs=1e-8)
    steps = GroupBatch(**plain).by_step()
    by_hand = merged(frozen, plain["step_ids"][0, 0].tolist())
    assert objective(steps, **settings).loss.item() == pytest.approx(
        loops(by_hand, by_hand, **settings), rel=1e-12, abs=1e-14
    )


def gradients(
    objective: Callable[..., Any], record: dict[str, Any], **settings: Any
) -> tuple[float, torch.Tensor]:
    """Loss, and its gradients with respect to policy log-probabilities, values and KL, stacked."""
    leaves = {
        name: record[name].clone().requires_grad_()
        for name in ("policy_logps", "values", "policy_kl")
        if name in record
    }
    out = objective(GroupBatch(**record | leaves), **settings)
    out.loss.backward()
    return out.loss.item(), torch.stack(
        [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves.values()]
    )


def check_invariances(
    objective: Callable[..., Any], weighted: bool = True, **settings: Any
) -> None:
    """Padding, order in the group, weights of groups, empty responses; metrics carry no
    gradient.
    """
    record = random_record()
    loss, gradient = gradients(objective, record, **settings)
    assert gradient.abs().max() > 1e-6

    junk = dict(record)
    for name in PER_TOKEN.values():
        junk[name] = torch.nn.functional.pad(
            record[name].masked_fill(~record["mask"], torch.nan), (0, 2), value=1e9
        )
    junk |= {name: torch.nn.functional.pad(record[name], (0, 2)) for name in ("mask", "step_ids")}
    padded_loss, padded = gradients(objective, junk, **settings)
    assert padded_loss == pytest.approx(loss, rel=1e-13)
    assert torch.allclose(padded[..., :5], gradient, rtol=1e-12, atol=1e-13)
    assert not padded[:, ~junk["mask"]].any()

    order = torch.tensor([2, 0, 3, 1])
    moved = {name: x[:, order] for name, x in record.items()}
    moved_loss, moved_gradient = gradients(objective, moved, **settings)
    assert moved_loss == pytest.approx(loss, rel=1e-12)
    assert torch.allclose(moved_gradient, gradient[:, :, order], rtol=1e-10, atol=1e-14)

    if weighted:
        weight = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64) / 6
        repeated = {name: x[[0, 0, 0, 1, 2, 2]] for name, x in record.items()}
        weighted_loss, _ = gradients(objective, record | {"group_weight": weight}, **settings)
        assert weighted_loss == pytest.approx(
            gradients(objective, repeated, **settings)[0], rel=1e-12
        )

    empty = {name: record[name].clone() for name in ("mask", "rewards")}
    empty["mask"][0], empty["rewards"][0] = False, 0.0
    empty_loss, some = gradients(objective, record | empty, **settings)
    assert np.isfinite(empty_loss)
    assert not some[:, 0].any()
    live = {
        name: record[name].clone().requires_grad_()
        for name in ("policy_logps", "values", "policy_kl")
    }
    for x in objective(GroupBatch(**record | live), **settings).metrics.values():
        assert not x.requires_grad
        assert x.dim() == 0
        assert x.isfinite()


def check_errors_of_groups(objective: Callable[..., Any]) -> None:
    """Groups of one, and temperatures that are none, are refused in one line."""
    record = random_record()
    with pytest.raises(ValueError, match="K = 1"):
        objective(GroupBatch(**{name: x[:, :1] for name, x in record.items()}))
    for alpha in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="alpha must be"):
            objective(GroupBatch(**record), alpha=alpha)


def check_errors(objective: Callable[..., Any], *refused: tuple[dict[str, Any], str]) -> None:
    """Settings that do not exist, or are out of range, are refused with these words."""
    batch = GroupBatch(**random_record())
    for settings, words in refused:
        with pytest.raises(ValueError, match=words):
            objective(batch, **settings)


def check_equal_rewards(
    objective: Callable[..., Any], on_policy: bool = True, **settings: Any
) -> None:
    """Groups of equal rewards give no loss and no gradient."""
    record = random_record()
    if on_policy:
        record |= {name: record["policy_logps"] for name in ("behaviour_logps", "reference_logps")}
    record["rewards"] = torch.ones_like(record["rewards"])
    leaf = record["policy_logps"].clone().requires_grad_()
    out = objective(GroupBatch(**record | {"policy_logps": leaf}), **settings)
    out.loss.backward()
    assert out.loss.item() == 0.0
    assert out.metrics["tied_groups"] == 1.0
    assert leaf.grad is not None
    assert not leaf.grad.any()


def with_ties(objective: Any) -> Any:
    """Rewards in halves, so that some pairs tie."""
    return lambda batch, **settings: objective(
        replace(batch, rewards=(batch.rewards * 2).round() / 2), **settings
    )


def loops_with_ties(loops: Any) -> Any:
    def rounded(groups: Groups) -> Groups:
        return [[replace(row, R=round(row.R * 2) / 2) for row in group] for group in groups]

    return lambda live, frozen, **settings: loops(rounded(live), rounded(frozen), **settings)


def full_record() -> dict[str, Any]:
    """`random_record` with a wide range of ratios, every field, a tied group and a tied pair."""
    record = random_record()
    record["policy_logps"] = 4 * (record["policy_logps"] + LEVEL) - LEVEL
    # A ratio of 50 where what follows is bad.
    record["policy_logps"][2, 2, :2] = torch.tensor([4.0, -7.0]) - LEVEL
    record["rewards"][1] = 0.7
    record["rewards"][2, :2] = 0.6
    g = torch.Generator().manual_seed(9)
    record["prefix_values"] = torch.randn(3, 4, 5, generator=g, dtype=torch.float64)
    return record | {"log_z": torch.tensor([0.1, -0.4, 1.3], dtype=torch.float64)}


# --- recorded numbers -----------------------------------------------------------------------------


def oracle_batches() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(record, outputs) of each recorded batch; the record holds the fields of a GroupBatch and the
    logits.
    """
    out = []
    for recorded in json.loads(ORACLES.read_text())["batches"]:
        x = recorded["inputs"]
        shape = (x["N"], x["K"], x["T"])
        names = {
            "policy_logps": "policy_logp",
            "behaviour_logps": "old_logp",
            "reference_logps": "ref_logp",
            "values": "values",
            "behaviour_values": "old_values",
        }
        record: dict[str, Any] = {
            name: torch.tensor(x[key], dtype=torch.float64).view(shape)
            for name, key in names.items()
        }
        record["mask"] = torch.tensor(x["mask"]).view(shape)
        record["rewards"] = torch.tensor(x["rewards"], dtype=torch.float64).view(shape[:2])
        kl = recorded["outputs"]["vimpo"]["token_kl_exact"]
        record["policy_kl"] = torch.tensor(kl, dtype=torch.float64).view(shape)
        out.append((record, recorded["outputs"]))
    return out


def check_oracle(
    objective: Callable[..., Any],
    record: dict[str, Any],
    expected: dict[str, Any],
    field: str = "policy_logps",
    times: float = 1.0,
    tolerance: float = 1e-9,
    **settings: Any,
) -> None:
    """Loss and gradient, times `times`, against what the published code gave."""
    leaf = record[field].clone().requires_grad_()
    loss = times * objective(GroupBatch(**record | {field: leaf}), **settings).loss
    loss.backward()
    gradient = torch.tensor(expected["grad"], dtype=torch.float64).view(leaf.shape)
    assert abs(loss.item() - expected["loss"]) <= tolerance * max(1.0, abs(expected["loss"]))
    assert leaf.grad is not None
    assert (leaf.grad - gradient).abs().max() <= tolerance * max(1.0, gradient.abs().max().item())


# --- populations ----------------------------------------------------------------------------------


@dataclass
class Tree:
    """A small token MDP without an end token, its reference and rewards [V**T]."""

    mdp: TokenMDP
    reference: Tables
    rewards: np.ndarray

    def batch(
        self, policy: TabularLM, tables: Tables, sampler: Tables, group_size: int, **fields: Any
    ) -> GroupBatch:
        """Every group with its probability under `sampler`; reference, exact KL and `fields` filled
        in.
        """
        reference = TabularLM.from_tables(self.mdp, self.reference)
        groups = all_groups(self.mdp, sampler, group_size)
        kl = [(np.exp(p) * (p - r)).sum(1) for p, r in zip(tables, self.reference, strict=True)]
        fields.setdefault("policy_kl", self.of_states(groups.tokens, kl))
        return make_group_batch(policy, self.mdp, groups, reference, **fields)

    def of_states(self, tokens: torch.Tensor, tables: Tables) -> torch.Tensor:
        """[N, K, T]: entry of the state before each token, from arrays [V**t]."""
        columns, number = [], torch.zeros_like(tokens[..., 0])
        for t, table in enumerate(tables):
            columns.append(torch.from_numpy(table)[number])
            number = number * self.mdp.vocab_size + tokens[..., t]
        return torch.stack(columns, -1)

    def gradient(
        self,
        objective: Callable[..., Any],
        tables: Tables,
        sampler: Tables,
        group_size: int,
        **settings: Any,
    ) -> torch.Tensor:
        """Expected gradient of an objective with respect to the logits of the policy."""
        policy = TabularLM.from_tables(self.mdp, tables)
        fields = settings.pop("fields", {})
        objective(
            self.batch(policy, tables, sampler, group_size, **fields), **settings
        ).loss.backward()
        assert policy.logits.grad is not None
        return policy.logits.grad

    def ascent(self, tables: Tables, alpha: float) -> torch.Tensor:
        """Gradient of J = E[R] - alpha KL(pi || pi_ref) with respect to the logits, from its
        definition.
        """
        policy = TabularLM.from_tables(self.mdp, tables)
        batch = self.batch(policy, tables, tables, 1)
        probability = batch.policy_logps.sum((1, 2)).exp()
        (
            probability * (batch.rewards[:, 0] - alpha * batch.sequence_logratio[:, 0])
        ).sum().backward()
        assert policy.logits.grad is not None
        return policy.logits.grad

    def tilt(self, alpha: float, soft: bool = True) -> tuple[Tables, Tables]:
        """(tables, values [V**t] in reward units) of pi*, or of pi_V where values are backed up
        without the KL.
        """
        V, value, tables, values = self.mdp.vocab_size, self.rewards, [], []
        for reference in reversed(self.reference):
            q = value.reshape(-1, V)
            logits = reference + q / alpha
            log_z = np.log(np.exp(logits).sum(1, keepdims=True))
            tables.append(logits - log_z)
            value = alpha * log_z[:, 0] if soft else (np.exp(tables[-1]) * q).sum(1)
            values.append(value)
        return tables[::-1], values[::-1]


def make_tree(vocab_size: int = 2, horizon: int = 2, seed: int = 3) -> Tree:
    rewards = np.random.default_rng(seed).random(vocab_size**horizon)
    powers = vocab_size ** np.arange(horizon)[::-1]
    mdp = TokenMDP(vocab_size, horizon, lambda tokens, lengths: rewards[tokens @ powers])
    return Tree(mdp, random_reference(vocab_size, horizon, seed), rewards)


def from_record(record: dict[str, Any], **changes: Any) -> GroupBatch:
    return replace(GroupBatch(**record), **changes)


def batch_at(
    tree: Tree, alpha: float, tables: Any, values: Any, sampler: Any, size: int = 1
) -> GroupBatch:
    tokens = all_groups(tree.mdp, sampler, size).tokens
    policy = TabularLM.from_tables(tree.mdp, tables)
    return tree.batch(policy, tables, sampler, size, values=tree.of_states(tokens, values))
