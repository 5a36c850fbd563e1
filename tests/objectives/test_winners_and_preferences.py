"""sft_winning and online_dpo."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.online_dpo import online_dpo
from gnivo_edu.objectives.sft_winning import sft_winning
from tests.objectives.objective_checks import (
    Groups,
    check_invariances,
    check_loops,
    check_oracle,
    from_record,
    gradients,
    make_tree,
    needs_oracles,
    oracle_batches,
    random_record,
)


def sft_loops(live: Groups, _: Groups, rule: str = "best", threshold: float = 0.0) -> float:
    total = 0.0
    for group in live:
        best = max(row.R for row in group)
        winners = [
            row for row in group if (best == row.R if rule == "best" else threshold <= row.R)
        ]
        total -= sum(sum(row.p) for row in winners) / (
            len(winners) if rule == "best" else len(group)
        )
    return total / len(live)


def dpo_loops(
    live: Groups,
    _: Groups,
    alpha: float,
    labels: str = "hard",
    label_temperature: float = 1.0,
    pairs: str = "all",
    ties: str = "half",
    form: str = "sigmoid",
) -> float:
    total = 0.0
    for group in live:
        chosen = group if pairs == "all" else group[:2]
        terms = []
        for a, b in itertools.combinations(chosen, 2):
            margin = (sum(a.p) - sum(a.r)) - (sum(b.p) - sum(b.r))

            def cost(m: float) -> float:
                return (
                    math.log(1 + math.exp(-alpha * m))
                    if form == "sigmoid"
                    else (m - 0.5 / alpha) ** 2
                )

            if labels == "soft":
                p = 1 / (1 + math.exp((b.R - a.R) / label_temperature))
            else:
                p = {1: 1.0, -1: 0.0, 0: {"half": 0.5, "first": 1.0, "skip": 0.0}[ties]}[
                    (a.R > b.R) - (a.R < b.R)
                ]
            skipped = labels == "hard" and ties == "skip" and a.R == b.R
            terms.append(0.0 if skipped else p * cost(margin) + (1 - p) * cost(-margin))
        total += sum(terms) / len(terms)
    return total / len(live)


def with_ties(objective: Any) -> Any:
    """Rewards in halves, so that some pairs tie."""
    return lambda batch, **settings: objective(
        replace(batch, rewards=(batch.rewards * 2).round() / 2), **settings
    )


def loops_with_ties(loops: Any) -> Any:
    def rounded(groups: Groups) -> Groups:
        return [[replace(row, R=round(row.R * 2) / 2) for row in group] for group in groups]

    return lambda live, frozen, **settings: loops(rounded(live), rounded(frozen), **settings)


@pytest.mark.parametrize("settings", [{}, {"rule": "threshold", "threshold": 0.5}], ids=str)
def test_sft_winning_against_loops_and_finite_differences(settings: dict[str, Any]) -> None:
    check_loops(sft_winning, sft_loops, **settings)
    check_loops(with_ties(sft_winning), loops_with_ties(sft_loops), **settings)
    check_invariances(sft_winning, **settings)
    check_invariances(with_ties(sft_winning), **settings)
    record = random_record()
    record["policy_logps"].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: sft_winning(GroupBatch(**record | {"policy_logps": x}), **settings).loss,
        record["policy_logps"],
    )


DPO = [
    {},
    {"labels": "soft", "label_temperature": 0.3},
    {"form": "ipo"},
    {"form": "ipo", "labels": "soft"},
    {"ties": "skip"},
    {"pairs": "first", "ties": "first"},
    {"ties": "first", "form": "ipo"},
]


@pytest.mark.parametrize("settings", DPO, ids=str)
def test_online_dpo_against_loops_and_finite_differences(settings: dict[str, Any]) -> None:
    check_loops(online_dpo, dpo_loops, alpha=0.3, **settings)
    check_loops(with_ties(online_dpo), loops_with_ties(dpo_loops), alpha=0.3, **settings)
    if settings.get("pairs") != "first" and settings.get("ties") != "first":
        check_invariances(online_dpo, alpha=0.3, **settings)
        check_invariances(with_ties(online_dpo), alpha=0.3, **settings)
    record = random_record()
    record["policy_logps"].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: online_dpo(GroupBatch(**record | {"policy_logps": x}), 0.3, **settings).loss,
        record["policy_logps"],
    )


@needs_oracles
def test_online_dpo_gives_what_trl_gave() -> None:
    tied = 0
    for record, outputs in oracle_batches():
        tied += int((record["rewards"][:, 0] == record["rewards"][:, 1]).sum())
        for key in (key for key in outputs if key.startswith("trl_online_dpo")):
            config = outputs[key]["config"]
            settings = {
                "alpha": config["beta"],
                "form": config["loss_type"],
                "pairs": "first",
                "ties": "first",
            }
            check_oracle(online_dpo, record, outputs[key], **settings)
            out = online_dpo(GroupBatch(**record), **settings)
            assert out.loss.item() == pytest.approx(outputs[key]["loss"], rel=1e-9)
    assert tied >= 1


def law_of(tables: list[np.ndarray]) -> np.ndarray:
    law = np.ones(1)
    for table in tables:
        law = (law[:, None] * np.exp(table)).ravel()
    return law


def tables_of(law: np.ndarray, vocab_size: int, horizon: int) -> list[np.ndarray]:
    """Tables of a law over complete answers."""
    tables = []
    for t in range(horizon):
        mass = law.reshape(vocab_size**t, vocab_size, -1).sum(-1)
        tables.append(np.log(mass / mass.sum(1, keepdims=True)))
    return tables


@pytest.mark.parametrize("group_size", [2, 3])
@pytest.mark.parametrize("tied", [False, True])
def test_the_best_of_k_law_is_the_end_of_imitating_the_best(group_size: int, tied: bool) -> None:
    tree = make_tree(2, 2)
    if tied:
        tree.rewards[:] = [0.2, 0.9, 0.9, 0.4]
    law = law_of(tree.reference)
    best = np.zeros_like(law)
    for y, r in enumerate(tree.rewards):
        below, up_to = law[tree.rewards < r].sum(), law[tree.rewards <= r].sum()
        best[y] = (up_to**group_size - below**group_size) * law[y] / law[tree.rewards == r].sum()
    assert best.sum() == pytest.approx(1, abs=1e-14)
    fitted = tables_of(best, 2, 2)
    assert tree.gradient(sft_winning, fitted, tree.reference, group_size).abs().max() < 1e-15
    assert (
        tree.gradient(sft_winning, tree.tilt(0.3)[0], tree.reference, group_size).abs().max() > 1e-3
    )


def test_a_threshold_ends_at_the_conditional_law() -> None:
    tree = make_tree(2, 2)
    cut = float(np.sort(tree.rewards)[1])
    law = law_of(tree.reference) * (tree.rewards >= cut)
    law = np.maximum(law / law.sum(), 1e-300)
    gradient = tree.gradient(
        sft_winning, tables_of(law, 2, 2), tree.reference, 2, rule="threshold", threshold=cut
    )
    assert gradient.abs().max() < 1e-15


@pytest.mark.parametrize(("group_size", "tau"), [(2, 1.0), (2, 0.4), (3, 0.4)])
def test_bradley_terry_labels_end_at_beta_tau(group_size: int, tau: float) -> None:
    tree, alpha = make_tree(2, 2), 0.6
    settings: dict[str, Any] = {"alpha": alpha, "labels": "soft", "label_temperature": tau}
    for sampler in (tree.reference, random_reference(2, 2, 99)):
        optimum, _ = tree.tilt(alpha * tau)
        assert (
            tree.gradient(online_dpo, optimum, sampler, group_size, **settings).abs().max() < 1e-15
        )
        other, _ = tree.tilt(alpha * tau * 1.1)
        assert tree.gradient(online_dpo, other, sampler, group_size, **settings).abs().max() > 1e-5


def test_ipo_tilts_by_the_probability_of_being_preferred() -> None:
    tree, alpha = make_tree(2, 2), 0.6
    for sampler in (tree.reference, random_reference(2, 2, 99)):
        wins = np.sign(tree.rewards[:, None] - tree.rewards) / 2 + 0.5
        law = law_of(tree.reference) * np.exp(wins @ law_of(sampler) / alpha)
        tables = tables_of(law / law.sum(), 2, 2)
        assert (
            tree.gradient(online_dpo, tables, sampler, 2, alpha=alpha, form="ipo").abs().max()
            < 1e-15
        )
        assert (
            tree.gradient(online_dpo, tree.tilt(alpha)[0], sampler, 2, alpha=alpha, form="ipo")
            .abs()
            .max()
            > 1e-3
        )


def test_hard_labels_always_push_the_best_response_up() -> None:
    tree = make_tree(3, 1)
    best = int(tree.rewards.argmax())
    for seed in range(20):
        policy = random_reference(3, 1, seed)
        gradient = tree.gradient(online_dpo, policy, policy, 2, alpha=0.5)
        assert gradient[0, 0, best] < -1e-4


def test_metrics_and_errors() -> None:
    record = random_record()
    batch = GroupBatch(**record)
    for objective in (sft_winning, online_dpo):
        with pytest.raises(ValueError, match="K = 1"):
            objective(GroupBatch(**{name: x[:, :1] for name, x in record.items()}))
        with pytest.raises(ValueError, match="alpha must be"):
            objective(batch, alpha=math.nan)
    for settings, words in (
        ({"labels": "sharp"}, "labels must be one of"),
        ({"pairs": "last"}, "pairs must be one of"),
        ({"ties": "second"}, "ties must be one of"),
        ({"form": "hinge"}, "form must be one of"),
        ({"label_temperature": 0.0}, "label_temperature must"),
    ):
        with pytest.raises(ValueError, match=words):
            online_dpo(batch, **settings)
    with pytest.raises(ValueError, match="needs threshold"):
        sft_winning(batch, rule="threshold")
    with pytest.raises(ValueError, match="threshold is for"):
        sft_winning(batch, threshold=1.0)
    with pytest.raises(ValueError, match="rule must be one of"):
        sft_winning(batch, rule="median")  # type: ignore[arg-type]
    rewards = torch.tensor(
        [[1.0, 0.0, 0.0, 0.0], [0.5] * 4, [1.0, 1.0, 0.0, 0.0]], dtype=torch.float64
    )
    batch = replace(batch, rewards=rewards)
    metrics = sft_winning(batch).metrics
    assert metrics["winners"].item() == pytest.approx((1 / 4 + 1 + 2 / 4) / 3)
    assert metrics["winner_reward"].item() == pytest.approx((1 + 4 * 0.5 + 2) / 7)
    assert sft_winning(batch, rule="threshold", threshold=2.0).metrics["winner_reward"].item() == 0
    metrics = online_dpo(batch).metrics
    h = batch.sequence_logratio
    right, margins = 0, 0.0
    for n, group in enumerate(rewards.tolist()):
        for a, b in itertools.permutations(range(4), 2):
            if group[a] > group[b]:
                right += bool(h[n, a] > h[n, b])
                margins += float(h[n, a] - h[n, b])
    assert metrics["tied_pairs"].item() == pytest.approx(1 - 7 / 18)
    assert metrics["accuracy"].item() == pytest.approx(right / 7)
    assert metrics["margin"].item() == pytest.approx(margins / 7)
    tied = random_record() | {"rewards": torch.ones(3, 4, dtype=torch.float64)}
    assert not gradients(online_dpo, tied, ties="skip")[1].any()
    same = {"policy_logps": batch.reference_logps}
    assert not gradients(online_dpo, tied | same)[1].any()
    assert from_record(tied).rewards.dtype == torch.float64
