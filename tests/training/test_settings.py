"""What a run has to compute because its objective asks for it."""

from __future__ import annotations

from typing import Any

import pytest

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch, MissingField
from gnivo_edu.training.settings import needs


@pytest.mark.parametrize(
    ("name", "options", "fields"),
    [
        ("gnivo", {}, set()),
        ("group_value", {}, {"prefix_values"}),
        ("value_mse", {}, {"log_z"}),
        ("oreo", {"level": "step", "kl_weight": 0.1}, {"values", "step_ids", "policy_kl"}),
        ("grpo", {"kl": "exact"}, {"policy_kl"}),
        ("dro", {}, {"values"}),
    ],
)
def test_needs_are_the_fields_that_the_objective_misses(
    name: str, options: dict[str, Any], fields: set[str]
) -> None:
    assert needs(objectives.get(name), options, 2) == fields


def test_a_message_that_names_a_field_is_not_a_need() -> None:
    def refuses(batch: GroupBatch) -> objectives.LossOutput:
        raise ValueError("prefix_values are of no use here")

    with pytest.raises(ValueError, match="of no use here"):
        needs(refuses, {}, 2)


def test_a_field_that_nobody_can_give_is_an_error() -> None:
    def asks(batch: GroupBatch) -> objectives.LossOutput:
        raise MissingField("truncated", "needs truncated")

    with pytest.raises(MissingField, match=r"^needs truncated$"):
        needs(asks, {}, 2)
