"""Runs with completion weights: who wrote an answer counts, and has to be known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from gnivo_edu import objectives
from gnivo_edu.training.settings import reads_writers
from tests.training.test_writers import mixed
from tests.training.training_runs import TINY, tiny

NAMES = ("completion", "completion_softmax")


def options(weights: str) -> dict[str, object]:
    return {
        "objective": "gnivo",
        "objective_options": {"alpha": 0.5, "weights": weights, "reward_max": 1.0},
    }


@pytest.mark.parametrize("weights", NAMES)
def test_they_read_who_wrote_an_answer_unless_it_is_complete(weights: str) -> None:
    assert reads_writers(objectives.gnivo, {"weights": weights}, 2)
    assert not reads_writers(objectives.gnivo, {"weights": weights, "prefixes": "last"}, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "plain"), list(zip(NAMES, ("raw", "softmax"), strict=True)))
def test_where_the_reference_is_the_sampler_a_run_is_the_published_one(
    tmp_path: Path, weights: str, plain: str
) -> None:
    ours, published = (
        tiny(tmp_path / name, **TINY | options(name) | {"steps": 3}) for name in (weights, plain)
    )
    losses = [[row["loss"] for row in rows] for rows in (ours, published)]
    assert losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("weights", NAMES)
def test_groups_of_several_writers_take_the_weights_of_each(tmp_path: Path, weights: str) -> None:
    """A replay, the reference and the policy in one group, two updates on each."""
    sampler = {"policy": 2, "replay": 1, "reference": 1}
    changes = options(weights) | {"sampler": sampler, "steps": 3}
    ours = mixed(tmp_path / weights, **changes)
    published = mixed(tmp_path / "raw", **changes | options("raw"))
    assert all(math.isfinite(row["loss"]) for row in ours)
    assert ours[-1]["loss"] != published[-1]["loss"]
