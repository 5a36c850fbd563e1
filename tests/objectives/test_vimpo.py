"""vimpo: loops and differences, its code's numbers, pi_V, the actor, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import whiten
from gnivo_edu.objectives.vimpo import detached_kl, implicit_advantages, vimpo
from gnivo_edu.policies import TabularLM
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
    actor: float = 5e-3,
    lam: float = 1.0,
    baseline: str = "mean",
    kl: str = "exact",
    whitened: bool = True,
    dual_clip: float | None = 10.0,
) -> float:
    def kappa(row: Any, t: int) -> float:
        x = row.p[t] - row.r[t]
        return alpha * {"exact": row.kl[t], "k2": x * x / 2, "k3": math.exp(-x) - 1 + x}[kl]

    value, responses = 0.0, 0
    for group, same in zip(live, frozen, strict=True):
        rewards = [row.R for row in group]
        for i, row in enumerate(group):
            others = rewards if baseline == "mean" else rewards[:i] + rewards[i + 1 :]
            token = sum(
                alpha * (row.p[t] - row.r[t]) - kappa(same[i], t) for t in range(len(row.p))
            )
            value += 0.5 * (token - (row.R - sum(others) / len(others))) ** 2
            responses += 1
    advantages = []
    for row in (row for group in frozen for row in group):
        delta = [alpha * (row.p[t] - row.r[t]) - kappa(row, t) for t in range(len(row.p))]
        advantages.append(
            [
                sum(lam ** (m - t) * delta[m] for m in range(t, len(delta)))
                for t in range(len(delta))
            ]
        )
    flat = [a for row_advantages in advantages for a in row_advantages]
    mean = sum(flat) / len(flat)
    variance = sum((a - mean) ** 2 for a in flat) / (len(flat) - 1)
    total = 0.0
    for row, row_advantages in zip(
        (row for group in live for row in group), advantages, strict=True
    ):
        for t, raw in enumerate(row_advantages):
            a = (raw - mean) / math.sqrt(variance + 1e-8) if whitened else raw
            u = math.exp(row.p[t] - row.b[t])
            term = max(-a * u, -a * min(max(u, 0.8), 1.28))
            total += min(term, -dual_clip * a) if dual_clip is not None and a < 0 else term
    return value / responses + actor * total / len(flat)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"actor": 0.0},
        {"baseline": "leave_one_out", "kl": "k2", "lam": 0.95},
        {"kl": "k3", "lam": 0.0},
        {"whitened": False, "dual_clip": None},
        {"dual_clip": 1.05},
    ],
    ids=str,
)
def test_against_loops_and_finite_differences(settings: dict[str, Any]) -> None:
    settings = {"alpha": 0.3, "actor": 0.4} | settings
    check_loops(vimpo, loops, **settings)
    check_invariances(vimpo, weighted=not settings.get("whitened", True), **settings)


def test_value_loss_against_gradcheck() -> None:
    record = random_record()
    record["policy_logps"].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: vimpo(GroupBatch(**record | {"policy_logps": x}), 0.3, actor=0).loss,
        record["policy_logps"],
    )


def actor_alone(batch: GroupBatch, **settings: Any) -> LossOutput:
    return LossOutput(
        vimpo(batch, actor=1.0, **settings).loss - vimpo(batch, actor=0.0, **settings).loss
    )


@needs_oracles
def test_gives_what_its_code_gave() -> None:
    for record, outputs in oracle_batches():
        for key in ("vimpo", "vimpo_defaults"):
            expected = outputs[key]
            alpha, c_a = expected["config"]["beta"], expected["config"]["c_A"]
            check_oracle(vimpo, record, expected["value_loss"], alpha=alpha, actor=0.0)
            for kl in ("k2", "k3"):
                check_oracle(
                    vimpo,
                    record,
                    expected[f"value_loss_kl_{kl}_detached"],
                    alpha=alpha,
                    actor=0.0,
                    kl=kl,
                )
            check_oracle(
                vimpo, record, expected["total_loss"], tolerance=1e-7, alpha=alpha, actor=c_a
            )
            check_oracle(
                actor_alone, record, expected["actor_loss_old"], tolerance=1e-7, alpha=alpha
            )
            fields = record | {
                "behaviour_logps": record["policy_logps"],
                "reference_logps": record["reference_logps"],
            }
            check_oracle(
                actor_alone, fields, expected["actor_loss_onpolicy"], tolerance=1e-7, alpha=alpha
            )
            batch = GroupBatch(**record)
            for lam in (1.0, 0.95, 0.0):
                raw = implicit_advantages(
                    alpha * (batch.logratio - detached_kl(batch, "exact")), lam
                )
                for name, ours in (("raw", raw), ("whitened", whiten(batch, raw))):
                    theirs = torch.tensor(expected[f"adv_lam{lam}_{name}"], dtype=torch.float64)
                    assert torch.allclose(ours, theirs.view(ours.shape), rtol=0, atol=1e-7)


@pytest.mark.parametrize("group_size", [2, 3, 4])
def test_value_loss_stops_at_pi_v_and_the_baseline_that_includes_itself_shrinks_it(
    group_size: int,
) -> None:
    tree, alpha = make_tree(2, 2), 0.4
    shrunk, _ = tree.tilt(alpha * group_size / (group_size - 1), soft=False)
    plain, _ = tree.tilt(alpha, soft=False)
    for tables, baseline, exact in (
        (shrunk, "mean", True),
        (plain, "mean", False),
        (plain, "leave_one_out", True),
        (shrunk, "leave_one_out", False),
        (tree.tilt(alpha)[0], "leave_one_out", False),
    ):
        gradient = tree.gradient(
            vimpo, tables, tables, group_size, alpha=alpha, actor=0.0, baseline=baseline
        )
        assert (gradient.abs().max() < 1e-13) if exact else (gradient.abs().max() > 1e-4)


def test_residual_is_zero_at_pi_v_with_the_expected_reward() -> None:
    tree, alpha = make_tree(2, 3), 0.4
    for soft, zero in ((False, True), (True, False)):
        tables, values = tree.tilt(alpha, soft=soft)
        batch = tree.batch(TabularLM.from_tables(tree.mdp, tables), tables, tables, 1)
        delta = alpha * (batch.logratio - detached_kl(batch, "exact")).sum(-1)
        residual = delta - (batch.rewards - float(values[0][0]))
        assert (residual.abs().max() < 1e-14) if zero else (residual.std() > 1e-3)


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_actor_climbs_the_kl(lam: float) -> None:
    tree, alpha = make_tree(2, 3), 0.4
    tables = random_reference(2, 3, 8)
    record = {"alpha": alpha, "lam": lam, "whitened": False}
    ours = tree.gradient(actor_alone, tables, tables, 2, **record)
    expected = kl_climb(tree, tables, alpha) / 3  # a token mean over three tokens
    assert expected.abs().max() > 1e-2
    assert torch.allclose(-ours, expected, rtol=0, atol=1e-13)


def kl_climb(tree: Tree, tables: list[np.ndarray], alpha: float) -> torch.Tensor:
    """alpha sum_s occ(s) grad KL(s), occupancies held fixed."""
    policy = TabularLM.from_tables(tree.mdp, tables)
    total, reach, row = torch.zeros(()), np.ones(1), 0
    for t, table in enumerate(tables):
        logp = policy.logits[0, row : row + len(table)].log_softmax(-1)
        kl = (logp.exp() * (logp - torch.from_numpy(tree.reference[t]))).sum(-1)
        total = total + (torch.from_numpy(reach) * kl).sum()
        reach = (reach[:, None] * np.exp(table)).ravel()
        row += len(table)
    (alpha * total).backward()
    assert policy.logits.grad is not None
    return policy.logits.grad


def test_k1_is_refused_because_its_token_term_is_zero() -> None:
    batch = GroupBatch(**random_record())
    with pytest.raises(ValueError, match="zero at every token"):
        vimpo(batch, kl="k1")  # type: ignore[arg-type]
    assert not (batch.logratio - batch.logratio).any()


def test_errors_and_equal_rewards() -> None:
    record = random_record()
    batch = GroupBatch(**record)
    with pytest.raises(ValueError, match="K = 1"):
        vimpo(GroupBatch(**{name: x[:, :1] for name, x in record.items()}))
    with pytest.raises(ValueError, match="needs policy_kl"):
        vimpo(from_record(record, policy_kl=None))
    for settings, words in (
        ({"alpha": 0.0}, "alpha must"),
        ({"actor": -1.0}, "actor must"),
        ({"lam": 1.5}, "lam must"),
        ({"kl": "k4"}, "kl must be one of"),
        ({"baseline": "median"}, "baseline must be one of"),
        ({"dual_clip": 0.5}, "dual_clip > 1"),
    ):
        with pytest.raises(ValueError, match=words):
            vimpo(batch, **settings)
    leaf = batch.policy_logps.clone().requires_grad_()
    same = {"reference_logps": batch.policy_logps, "policy_kl": torch.zeros_like(leaf)}
    tied = from_record(record, policy_logps=leaf, rewards=torch.ones_like(batch.rewards), **same)
    out = vimpo(tied)
    out.loss.backward()
    assert out.loss.item() == 0.0
    assert leaf.grad is not None
    assert not leaf.grad.any()


def test_without_an_actor_a_ratio_that_overflows_does_no_harm() -> None:
    record = full_record()
    plain = objectives.vimpo(GroupBatch(**record), actor=0.0, dual_clip=None).loss
    record["behaviour_logps"] = record["behaviour_logps"] - 1e3
    assert torch.equal(
        objectives.vimpo(GroupBatch(**record), actor=0.0, dual_clip=None).loss, plain
    )
