"""Parts of the group objectives by themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import groups
from tests.objectives.objective_checks import full_record


def test_parts_of_the_group_objective_have_its_defaults() -> None:
    batch = GroupBatch(**full_record())
    assert torch.equal(groups.reward_weights(batch, 0.7)[..., 0], (batch.rewards / 0.7).exp())
    t = torch.arange(1, 6)
    expected = (t <= batch.lengths.amax(1)[:, None, None]).double().expand(3, 4, 5)
    assert torch.equal(groups.prefix_coefficients(batch), expected)
    assert groups.check_alpha(2) == 2.0


def test_alpha_is_a_positive_number() -> None:
    for alpha in (1, 0.5, np.float32(0.5), torch.tensor(0.5)):
        assert groups.check_alpha(alpha) == float(alpha)
    for alpha in (0, -1.0, math.nan, math.inf, True, "0.5", None, [0.5], 1j):
        with pytest.raises(ValueError, match=r"^alpha must be a positive number .*, got"):
            groups.check_alpha(alpha)
