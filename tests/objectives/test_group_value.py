"""group_value: loops and differences, depths, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from tests.objectives.objective_checks import full_record, random_record
from tests.objectives.plain_loops import GROUP_IDS, GROUP_SETTINGS, group_loops


@pytest.mark.parametrize("settings", GROUP_SETTINGS, ids=GROUP_IDS)
def test_group_value_against_loops_and_finite_differences(
    random_batch: dict[str, torch.Tensor], settings: dict[str, Any]
) -> None:
    batch = GroupBatch(**random_batch)
    values = random_batch["prefix_values"]
    scores = [
        [values[n, k, : int(batch.lengths[n, k])].tolist() for k in range(4)] for n in range(3)
    ]
    out = objectives.group_value(batch, alpha=0.7, **settings)
    assert float(out.loss) == pytest.approx(group_loops(batch, scores, 0.7, settings), rel=1e-12)

    def loss(prefix_values: torch.Tensor) -> torch.Tensor:
        fields = random_batch | {"prefix_values": prefix_values}
        return objectives.group_value(GroupBatch(**fields), alpha=0.7, **settings).loss

    assert torch.autograd.gradcheck(loss, values.requires_grad_(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("horizon", [5, 8])
def test_given_depths_average_to_horizon(
    random_batch: dict[str, torch.Tensor], horizon: int
) -> None:
    batch = GroupBatch(**random_batch)
    losses = [
        objectives.group_value(
            batch, prefixes="given", depths=torch.full((3,), t), horizon=horizon
        ).loss
        for t in range(1, horizon + 1)
    ]
    whole = objectives.group_value(batch, lengths="horizon", horizon=horizon).loss
    assert whole.item() == pytest.approx(sum(x.item() for x in losses) / horizon, rel=1e-13)


def test_errors() -> None:
    with pytest.raises(ValueError, match="group_value needs prefix_values"):
        objectives.group_value(GroupBatch(**random_record()))
    single = {name: x[:, :1] for name, x in full_record().items() if x.dim() > 1}
    with pytest.raises(ValueError, match="groups of at least 2"):
        objectives.group_value(GroupBatch(**single))
