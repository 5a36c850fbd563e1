"""vimpo: loops and differences, its code's numbers, pi_V, the actor, errors."""

from __future__ import annotations

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
from tests.objectives.vimpo_loops import loops


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"actor": 0.0},
        {"baseline": "leave_one_out", "kl": "k2", "lam": 0.95},
        {"kl": "k3", "lam": 0.0},
        {"whitened": False, "dual_clip": None},
        {"dual_clip": 1.05},
        {"huber": 0.3, "cap": 0.45},
        {"huber": 0.3, "baseline": "leave_one_out", "actor_ratio": 0.15},
        {"detached": False, "actor": 0.0},
        {"detached": False, "kl": "k3", "huber": 0.2, "normalised": True},
        {"normalised": True, "value_weight": 3.0, "cap": 0.2},
        {"value": "soft", "actor": 0.0},
        {"value": "soft", "actor": 0.0, "baseline": "leave_one_out", "kl": "k1", "huber": 0.4},
        {"value": "soft", "actor": 0.0, "kl": "k3", "cap": 0.3, "normalised": True},
        {"advantages": "group", "whitened": False, "dual_clip": 1.05},
        {"advantages": "group", "actor_ratio": 0.5, "whitened": False},
        {"actor_ratio": 2.0, "value_weight": 0.5},
    ],
    ids=str,
)
def test_against_loops_and_finite_differences(settings: dict[str, Any]) -> None:
    settings = {"alpha": 0.3, "actor": 0.4} | settings
    exact_and_live = not settings.get("detached", True) and settings.get("kl", "exact") == "exact"
    fields = ("policy_logps", "policy_kl") if exact_and_live else ("policy_logps",)
    check_loops(vimpo, loops, fields=fields, **settings)
    implicit = settings.get("advantages") != "group" and settings.get("value") != "soft"
    whitened = implicit and settings.get("whitened", True)
    check_invariances(vimpo, weighted=not whitened, **settings)


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
            for name, settings in (
                ("value_loss_huber_0.3", {"huber": 0.3}),
                ("value_loss_cap_v0_0.4", {"cap": 0.4}),
            ):
                check_oracle(
                    vimpo, record, expected[name], tolerance=1e-10, alpha=alpha, actor=0.0,
                    **settings,
                )  # fmt: skip
            sampled = torch.tensor(expected["old_token_kl_exact"], dtype=torch.float64)
            check_oracle(
                vimpo,
                record | {"policy_kl": sampled.view_as(record["policy_kl"])},
                expected["soft_value_loss"],
                tolerance=1e-10,
                alpha=alpha,
                actor=0.0,
                value="soft",
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
        vimpo(batch, kl="k1")
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
        ({"value": "hard"}, "value must be one of raw, soft"),
        ({"value": "soft"}, "set actor=0"),
        ({"value": "soft", "actor": 0.0, "actor_ratio": 0.1}, "set actor=0"),
        ({"advantages": "none"}, "advantages must be one of"),
        ({"actor_ratio": -0.1}, "actor_ratio must be a number >= 0"),
        ({"value_weight": float("inf")}, "value_weight must be a number >= 0"),
        ({"huber": 0.0}, "huber must be a positive reward"),
        ({"cap": float("nan")}, "cap must be a finite reward"),
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


@pytest.mark.parametrize("settings", [{}, {"huber": 0.2}, {"advantages": "group"}], ids=str)
@pytest.mark.parametrize("on_policy", [True, False])
def test_the_two_gradients_have_the_ratio_that_is_asked_for(
    settings: dict[str, Any], on_policy: bool
) -> None:
    record = full_record()
    if on_policy:
        record["behaviour_logps"] = record["policy_logps"]

    def size(**more: Any) -> float:
        leaf = record["policy_logps"].clone().requires_grad_()
        out = vimpo(GroupBatch(**record | {"policy_logps": leaf}), 0.3, **settings, **more)
        out.loss.backward()
        assert leaf.grad is not None
        return float(leaf.grad[record["mask"]].square().mean().sqrt())

    weight = float(
        vimpo(GroupBatch(**record), 0.3, actor_ratio=0.15, **settings).metrics["actor_weight"]
    )
    actor = size(actor=weight, value_weight=0.0)
    assert actor == pytest.approx(0.15 * size(actor=0.0), rel=1e-12)
    # The weight is looked at before value_weight, as in VIMPO's code.
    doubled = vimpo(GroupBatch(**record), 0.3, actor_ratio=0.15, value_weight=2.0, **settings)
    assert float(doubled.metrics["actor_weight"]) == weight


def test_an_actor_without_a_gradient_gets_no_weight() -> None:
    record = full_record()
    record["policy_logps"] = record["behaviour_logps"] + 3.0  # every ratio is clipped
    record["rewards"] = record["rewards"].abs() + 1
    out = vimpo(GroupBatch(**record), 0.3, actor_ratio=0.15, advantages="group", dual_clip=1.05)
    assert out.metrics["clipped"] == 1
    assert out.metrics["actor_weight"] == 0
    assert out.loss == out.metrics["value_loss"]


def test_the_soft_value_stops_at_the_optimum() -> None:
    tree, alpha = make_tree(2, 2), 0.4
    best, _ = tree.tilt(alpha)
    other, _ = tree.tilt(alpha, soft=False)
    soft = {"alpha": alpha, "actor": 0.0, "value": "soft", "baseline": "leave_one_out"}
    assert tree.gradient(vimpo, best, best, 3, **soft).abs().max() < 1e-13
    assert tree.gradient(vimpo, other, other, 3, **soft).abs().max() > 1e-4
    soft["baseline"] = "mean"
    assert tree.gradient(vimpo, best, best, 3, **soft).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("settings", "keeps_both"),
    [({"huber": 0.1}, True), ({"cap": 0.4}, False), ({"huber": 0.1, "cap": 0.4}, False)],
    ids=str,
)
def test_huber_keeps_the_solutions_and_a_cap_that_of_the_leave_one_out_mean(
    settings: dict[str, float], keeps_both: bool
) -> None:
    tree, alpha = make_tree(2, 2), 0.4
    plain, _ = tree.tilt(alpha, soft=False)
    shrunk, _ = tree.tilt(alpha * 3 / 2, soft=False)
    options = {"alpha": alpha, "actor": 0.0, **settings}
    left_out = tree.gradient(vimpo, plain, plain, 3, baseline="leave_one_out", **options)
    included = tree.gradient(vimpo, shrunk, shrunk, 3, **options)
    assert left_out.abs().max() < 1e-13
    assert (included.abs().max() < 1e-13) == keeps_both
    assert included.abs().max() > 1e-5 or keeps_both


def test_equal_rewards_have_no_scale_to_divide_by() -> None:
    record = full_record() | {"rewards": torch.ones(3, 4, dtype=torch.float64)}
    plain, scaled = (
        vimpo(GroupBatch(**record), 0.3, actor=0.0, normalised=normalised).loss
        for normalised in (False, True)
    )
    assert scaled.item() == pytest.approx(1e4 * plain.item(), rel=1e-12)


def test_the_actor_weighs_less_the_longer_the_answers_are() -> None:
    """The value loss gives a token a weight that length leaves alone, the actor one of 1/T."""

    def weights(length: int, actor: float) -> torch.Tensor:
        shape = (1, 2, length)
        logps = torch.full(shape, -0.7, dtype=torch.float64, requires_grad=True)
        # One log-ratio an answer, all of it at its first token: one residual at any length.
        first = torch.tensor([0.3, -0.2], dtype=torch.float64)[None, :, None]
        shift = torch.cat([first, torch.zeros(1, 2, length - 1, dtype=torch.float64)], -1)
        batch = GroupBatch(
            policy_logps=logps,
            behaviour_logps=logps.detach(),
            reference_logps=logps.detach() - shift,
            rewards=torch.tensor([[1.0, 0.0]], dtype=torch.float64),
            mask=torch.ones(shape, dtype=torch.bool),
            policy_kl=torch.zeros(shape, dtype=torch.float64),
        )
        vimpo(batch, alpha=0.5, actor=actor, lam=0.0, whitened=False).loss.backward()
        assert logps.grad is not None
        return logps.grad[0, :, 0]

    short, long = (weights(length, actor=0.0) for length in (4, 8))
    torch.testing.assert_close(short, long, rtol=0, atol=1e-15)
    short, long = (weights(n, actor=1.0) - weights(n, actor=0.0) for n in (4, 8))
    torch.testing.assert_close(short, 2 * long, rtol=0, atol=1e-15)
    assert float(short.abs().min()) > 1e-3
