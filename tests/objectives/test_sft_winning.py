"""sft_winning: loops and differences, the laws at which it ends, metrics, errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.sft_winning import sft_winning
from tests.objectives.objective_checks import (
    Groups,
    check_errors,
    check_errors_of_groups,
    check_invariances,
    check_loops,
    full_record,
    loops_with_ties,
    make_tree,
    random_record,
    with_ties,
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
    assert tree.gradient(sft_winning, fitted, tree.reference, group_size).abs().max() < 1e-13
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
    assert gradient.abs().max() < 1e-13


def test_a_threshold_divides_by_the_group_size_in_float64() -> None:
    record = {name: x[:, :3] if x.dim() > 1 else x for name, x in full_record().items()}
    logp = record["policy_logps"].masked_fill(~record["mask"], 0.0).sum(-1)
    loss = objectives.sft_winning(GroupBatch(**record), rule="threshold", threshold=0.0).loss
    assert loss.item() == pytest.approx(-logp.mean().item(), rel=1e-14)


def test_errors() -> None:
    check_errors_of_groups(sft_winning)
    check_errors(
        sft_winning,
        ({"rule": "threshold"}, "needs threshold"),
        ({"threshold": 1.0}, "threshold is for"),
        ({"rule": "median"}, "rule must be one of"),
    )


def test_metrics() -> None:
    rewards = torch.tensor([[1, 0, 0, 0], [0.5] * 4, [1, 1, 0, 0]], dtype=torch.float64)
    batch = replace(GroupBatch(**random_record()), rewards=rewards)
    metrics = sft_winning(batch).metrics
    assert metrics["winners"].item() == pytest.approx((1 / 4 + 1 + 2 / 4) / 3)
    assert metrics["winner_reward"].item() == pytest.approx((1 + 4 * 0.5 + 2) / 7)
    assert sft_winning(batch, rule="threshold", threshold=2.0).metrics["winner_reward"].item() == 0


def test_without_winners_their_reward_is_0_in_half_precision_too() -> None:
    record = {name: x.half() if x.is_floating_point() else x for name, x in random_record().items()}
    metrics = sft_winning(GroupBatch(**record), rule="threshold", threshold=2.0).metrics
    assert metrics["winner_reward"].item() == 0
