"""dapo: loops and differences, the groups that leave, the pay for length, and where it stops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives.dapo import dapo
from gnivo_edu.objectives.grpo import grpo
from tests.objectives.objective_checks import (
    Groups,
    check_equal_rewards,
    check_errors,
    check_errors_of_groups,
    check_invariances,
    check_loops,
    gradients,
    make_tree,
    random_record,
    with_ties,
)
from tests.objectives.plain_loops import advantages_loops


def dapo_loops(
    live: Groups,
    _: Groups,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    max_length: int = 0,
    buffer: int = 0,
) -> float:
    total, tokens = 0.0, 0
    for group in live:
        if len({row.R for row in group}) == 1:
            continue
        pays = [0.0] * len(group)
        if buffer:
            over = [(len(row.p) - max_length + buffer) / buffer for row in group]
            pays = [min(1.0, max(0.0, x)) for x in over]
        (advantages,) = advantages_loops([group], "group", pays)
        for row, a in zip(group, advantages, strict=True):
            for p, b in zip(row.p, row.b, strict=True):
                u = math.exp(p - b)
                total -= min(u * a, max(1 - clip_low, min(u, 1 + clip_high)) * a)
                tokens += 1
    return total / tokens


@pytest.mark.parametrize(
    "settings", [{}, {"clip_high": 0.1}, {"max_length": 5, "buffer": 3}], ids=str
)
def test_dapo_against_loops_and_finite_differences(settings: dict[str, Any]) -> None:
    check_loops(dapo, dapo_loops, **settings)
    check_invariances(dapo, **settings)


def test_groups_of_equal_rewards_leave_the_mean() -> None:
    record = random_record()
    record["rewards"][1] = 0.5
    out = dapo(GroupBatch(**record))
    others = {name: x[[0, 2]] for name, x in record.items()}
    assert out.loss.item() == pytest.approx(dapo(GroupBatch(**others)).loss.item(), rel=1e-12)
    assert out.metrics["tied_groups"].item() == pytest.approx(1 / 3)
    stays = grpo(GroupBatch(**record), kl="none", normaliser="token-mean", clip_high=0.28)
    assert abs(out.loss - stays.loss) > 1e-3  # there its tokens still count


def test_without_ties_and_pay_it_is_grpo_with_a_higher_clip_over_all_tokens() -> None:
    record = random_record()
    settings = {"kl": "none", "normaliser": "token-mean"}
    for high in (0.28, 0.9):  # the record has no ratio between 1.2 and 1.28
        _, gradient = gradients(dapo, record, clip_high=high)
        _, same = gradients(grpo, record, clip_high=high, **settings)
        assert torch.allclose(gradient, same, rtol=1e-12, atol=1e-14)
    _, lower = gradients(grpo, record, **settings)
    assert (gradient - lower).abs().max() > 1e-3


def test_a_long_response_pays() -> None:
    record = random_record()
    _, plain = gradients(dapo, record)
    _, paid = gradients(dapo, record, max_length=5, buffer=2)
    change = (paid - plain)[0, 0]  # group 0, where one response is 5 tokens long: it pays 1
    assert change[0, :5].min() >= 0  # and 0 where the ratio is clipped
    assert change[0, :5].max() > 1e-3
    _, free = gradients(dapo, record, max_length=9, buffer=2)
    assert torch.equal(free, plain)


def test_it_collapses_on_the_best_response() -> None:
    tree = make_tree(2, 2)
    optimum, _ = tree.tilt(0.4)
    for policy in (random_reference(2, 2, 8), optimum):
        step = -tree.gradient(with_ties(dapo), policy, policy, 3)
        assert (step * tree.ascent(policy, 0.0)).sum() > 1e-4


def test_errors_and_ties() -> None:
    check_errors_of_groups(dapo)
    check_errors(
        dapo,
        ({"clip_low": 1.0}, "clip_low < 1"),
        ({"buffer": 2}, "buffer <= max_length"),
        ({"buffer": 4, "max_length": 3}, "got buffer 4, max_length 3"),
    )
    check_equal_rewards(dapo, on_policy=False)
