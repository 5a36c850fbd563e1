"""Runs of VIMPO with the options of its code: what reaches the weights, and by which way."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.policies import two_pass_scorers
from gnivo_edu.training import two_pass_step
from tests.training.training_runs import largest_difference, tiny, weights
from tests.training.two_pass_world import MDP, distance, world

VIMPO: dict[str, Any] = {
    "objective": "vimpo",
    "objective_options": {"alpha": 0.2},
    "reference": "initial",
}


@pytest.mark.parametrize("kind", ["table", "qwen2"])
@pytest.mark.parametrize(
    "settings",
    [
        {"detached": False, "actor": 0.0},
        {"detached": False, "kl": "k3", "huber": 0.2},
        {"actor_ratio": 0.3, "normalised": True},
    ],
    ids=str,
)
def test_two_passes_give_the_gradient_of_one(kind: str, settings: dict[str, Any]) -> None:
    here = world(kind)
    direct, _ = here.direct(objectives.vimpo, alpha=0.3, **settings)
    two_pass_step(objectives.vimpo, here.record, here.score, 5, alpha=0.3, **settings)
    assert distance(here.gradient(), direct) < 1e-11
    assert direct.norm() > 1e-6


def test_the_kl_that_is_not_detached_moves_the_policy_by_itself() -> None:
    here = world("table")
    detached, live = (
        here.direct(objectives.vimpo, alpha=0.3, actor=0.0, detached=detached)[0]
        for detached in (True, False)
    )
    assert distance(detached, live) > 1e-2


def test_a_weighted_sum_of_the_likeliest_terms_is_that_of_the_scores() -> None:
    here = world("qwen2")
    law = (here.policy, MDP, here.samples, here.reference)
    gradients = []
    for pushed in (False, True):
        score, weighted_sum = two_pass_scorers(*law, kl_top_k=2)
        two_pass_step(
            objectives.vimpo, here.record, score, 5, alpha=0.3, detached=False,
            weighted_sum=weighted_sum if pushed else None,
        )  # fmt: skip
        gradients.append(here.gradient())
    assert distance(*gradients) < 1e-11


@pytest.mark.parametrize(
    "changes",
    [
        {"kl_top_k": 1},
        {"objective_options": {"alpha": 0.2, "value": "soft", "actor": 0.0}},
        {"objective_options": {"alpha": 0.2, "actor_ratio": 0.5}},
        {"objective_options": {"alpha": 0.2, "detached": False}},
        {"reference": "refreshed", "refresh_every": 2},
    ],
    ids=str,
)
def test_each_option_reaches_the_weights(changes: dict[str, Any], tmp_path) -> None:
    tiny(tmp_path / "plain", **VIMPO)
    rows = tiny(tmp_path / "other", **VIMPO | changes)
    difference = largest_difference(weights(tmp_path / "plain"), weights(tmp_path / "other"))
    assert difference > 1e-5
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in rows)


def test_the_likeliest_terms_of_all_tokens_are_the_exact_kl(tmp_path) -> None:
    tiny(tmp_path / "plain", **VIMPO)
    tiny(tmp_path / "all", **VIMPO, kl_top_k=1000)
    assert largest_difference(weights(tmp_path / "plain"), weights(tmp_path / "all")) < 1e-12


def test_the_kl_that_is_reported_is_the_exact_one(tmp_path) -> None:
    """`kl` is the objective's, of the likeliest token alone; `kl_to_initial` stays a KL."""
    rows = tiny(tmp_path, **VIMPO, kl_top_k=1)
    measured = [row for row in rows if "kl_to_initial" in row]
    assert 0 < len(measured) < len(rows)
    assert abs(measured[-1]["kl_to_initial"] - measured[-1]["kl"]) > 1e-3
    assert all(row["kl_to_initial"] > -1e-12 for row in measured)
