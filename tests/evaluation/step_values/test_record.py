"""What the JSON of step values says, and where steps begin."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from gnivo_edu.evaluation.step_values import step_values
from tests.evaluation.keys import every_key
from tests.evaluation.step_values.small_tasks import ALPHA, random_tables, table_of
from toy_envs import Brackets, RandomTree


class InSteps(RandomTree):
    """Four tokens in two steps, of one and of three tokens."""

    def step_ids(self, tokens: Any, lengths: Any) -> Any:
        return np.broadcast_to([0, 1, 1, 1], np.asarray(tokens).shape)


def test_steps_follow_the_task():
    task = InSteps(2, 4)
    policy, reference = (
        table_of(task, random_tables(task, 2)),
        table_of(task, random_tables(task, 1)),
    )
    found = step_values(policy, reference, task, group_size=3, alpha=ALPHA, continuations=4)
    for answer in found.answers:
        assert answer.boundaries.tolist() == [0, 1, 4]
        assert answer.step_credits == pytest.approx(
            [answer.credits[0], answer.credits[1:].sum()], abs=1e-12
        )
        assert [place.samples for place in answer.monte_carlo] == [4, 4, 0]
        assert "".join(answer.step_texts) == "".join(answer.texts)
    record = found.to_json()["answers"][0]
    assert [(s["start"], s["stop"]) for s in record["steps"]] == [(0, 1), (1, 4)]
    assert [place["after"] for place in record["monte_carlo"]] == [0, 1, 4]


def test_the_json_has_the_documented_keys(task):
    reference = table_of(task, random_tables(task, 1))
    found = step_values(
        table_of(task, random_tables(task, 2)), reference, task, alpha=ALPHA, continuations=2
    )
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    text = type(found).to_json.__doc__
    estimate = {"value", "low", "high", "standard_error", "bias", "samples", "method"}
    answer = record["answers"][0]
    assert set(record["log_z"]) == estimate
    assert {*estimate, "after", "chance"} == set(answer["monte_carlo"][0])
    assert [key for key in sorted(every_key(record)) if f"`{key}`" not in text] == []
    assert record["schema"] in text
    assert record["binary_reward"] == isinstance(task, Brackets)
    L, S = len(answer["tokens"]), len(answer["steps"])
    assert [len(answer[key]) for key in ("texts", "credits", "step_ids")] == [L] * 3
    assert [len(answer[key]) for key in ("implicit_values", "exact_values")] == [L + 1] * 2
    assert len(answer["monte_carlo"]) == S + 1
