"""Parts of the group objectives by themselves."""

from __future__ import annotations

import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import groups
from tests.objectives.objective_checks import full_record


def test_parts_of_the_group_objective_have_its_defaults() -> None:
    batch = GroupBatch(**full_record())
    assert torch.equal(groups.reward_weights(batch, 0.7), (batch.rewards / 0.7).exp())
    t = torch.arange(1, 6)
    expected = (t <= batch.lengths.amax(1)[:, None, None]).double().expand(3, 4, 5)
    assert torch.equal(groups.prefix_coefficients(batch), expected)
    assert groups.check_alpha(2) == 2.0
