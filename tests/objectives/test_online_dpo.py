"""online_dpo: loops and differences, TRL's numbers, the laws at which it ends, metrics."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.online_dpo import online_dpo
from tests.objectives.objective_checks import (
    Groups,
    check_errors,
    check_errors_of_groups,
    check_invariances,
    check_loops,
    check_oracle,
    full_record,
    gradients,
    loops_with_ties,
    make_tree,
    needs_oracles,
    oracle_batches,
    random_record,
    with_ties,
)


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


@pytest.mark.parametrize(("group_size", "tau"), [(2, 1.0), (2, 0.4), (3, 0.4)])
def test_bradley_terry_labels_end_at_beta_tau(group_size: int, tau: float) -> None:
    tree, alpha = make_tree(2, 2), 0.6
    settings: dict[str, Any] = {"alpha": alpha, "labels": "soft", "label_temperature": tau}
    for sampler in (tree.reference, random_reference(2, 2, 99)):
        optimum, _ = tree.tilt(alpha * tau)
        assert (
            tree.gradient(online_dpo, optimum, sampler, group_size, **settings).abs().max() < 1e-13
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
            < 1e-13
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


def test_online_dpo_margins_are_those_of_the_better_response_whatever_the_gap() -> None:
    record = full_record()
    batch = GroupBatch(**record)
    margins = [
        (batch.sequence_logratio[n, i] - batch.sequence_logratio[n, j]).item()
        for n in range(3)
        for i in range(4)
        for j in range(4)
        if record["rewards"][n, i] > record["rewards"][n, j]
    ]
    metrics = objectives.online_dpo(batch).metrics
    assert metrics["margin"].item() == pytest.approx(sum(margins) / len(margins), rel=1e-12)
    assert metrics["accuracy"].item() == pytest.approx(
        sum(m > 0 for m in margins) / len(margins), rel=1e-12
    )
    metrics = objectives.online_dpo(replace(batch, rewards=torch.ones_like(batch.rewards))).metrics
    assert [metrics[key].item() for key in ("tied_pairs", "accuracy", "margin")] == [1.0, 1.0, 0.0]


def test_errors() -> None:
    check_errors_of_groups(online_dpo)
    check_errors(
        online_dpo,
        ({"labels": "sharp"}, "labels must be one of"),
        ({"pairs": "last"}, "pairs must be one of"),
        ({"ties": "second"}, "ties must be one of"),
        ({"form": "hinge"}, "form must be one of"),
        ({"label_temperature": 0.0}, "label_temperature must"),
    )


def test_metrics_of_pairs() -> None:
    rewards = torch.tensor([[1, 0, 0, 0], [0.5] * 4, [1, 1, 0, 0]], dtype=torch.float64)
    batch = replace(GroupBatch(**random_record()), rewards=rewards)
    h = batch.sequence_logratio
    margins = [
        float(h[n, a] - h[n, b])
        for n, group in enumerate(rewards.tolist())
        for a, b in itertools.permutations(range(4), 2)
        if group[a] > group[b]
    ]
    metrics = online_dpo(batch).metrics
    assert metrics["tied_pairs"].item() == pytest.approx(1 - 7 / 18)
    assert metrics["accuracy"].item() == pytest.approx(sum(m > 0 for m in margins) / 7)
    assert metrics["margin"].item() == pytest.approx(sum(margins) / 7)


def test_tied_pairs_that_are_skipped_or_on_policy_give_no_gradient() -> None:
    tied = random_record() | {"rewards": torch.ones(3, 4, dtype=torch.float64)}
    assert not gradients(online_dpo, tied, ties="skip")[1].any()
    same = {"policy_logps": tied["reference_logps"]}
    assert not gradients(online_dpo, tied | same)[1].any()


def test_without_untied_pairs_the_margin_is_0_in_half_precision_too() -> None:
    record = {name: x.half() if x.is_floating_point() else x for name, x in random_record().items()}
    metrics = online_dpo(GroupBatch(**record | {"rewards": record["rewards"] * 0})).metrics
    assert [metrics[key].item() for key in ("tied_pairs", "accuracy", "margin")] == [1.0, 1.0, 0.0]
