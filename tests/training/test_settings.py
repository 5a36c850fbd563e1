"""What the settings of a run mean together: the loss, what it asks for, and what does not fit."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch, MissingField
from gnivo_edu.objectives import LossOutput
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.settings import check_horizon, loss_of, needs, takes_depths
from tests.training.training_runs import tiny
from toy_envs import ArithmeticChain


@pytest.mark.parametrize(
    ("name", "options", "fields"),
    [
        ("gnivo", {}, set()),
        ("group_value", {}, {"prefix_values"}),
        ("value_mse", {}, {"log_z"}),
        ("oreo", {"level": "step", "kl_weight": 0.1}, {"values", "step_ids", "policy_kl"}),
        ("grpo", {"kl": "exact"}, {"policy_kl"}),
        ("dro", {}, {"values"}),
        ("ppo", {}, {"values", "behaviour_values"}),
        ("ppo", {"lam": 1.0, "value_weight": 0.0}, {"values", "behaviour_values"}),
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


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (lambda batch: "loss", "returns 'loss': return the loss as a tensor of one number"),
        (lambda batch: 0.5, "returns 0.5: return the loss as a tensor"),
        (lambda batch: batch.policy_logps, r"returns tensor\(.*: return the loss as a tensor"),
        (lambda batch: batch.rewards.mean(), "does not depend on policy_logps"),
        (lambda batch: batch.policy_logps.detach().sum(), "does not depend on policy_logps"),
        (lambda batch: batch.rewards[7], r"raised IndexError: .* on a record \[N, K, T\] = \["),
        (lambda batch, other: batch.rewards, "do not fit the objective: .* 'other'"),
    ],
)
def test_a_loss_that_nothing_is_learned_from_is_one_line(loss: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        needs(objectives.as_objective(loss), {}, 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objective": "grop"}, "did you mean 'grpo'"),
        ({"objective": "group_value"}, "moves no policy"),
        ({"objective": "vimpo", "kl_to_initial": 0.1}, "set reference=initial"),
        ({"kl_to_initial": 0.1, "kl_top_k": 2}, "kl_to_initial is an exact KL"),
        ({"objective": "grpo", "kl_top_k": 2}, "grpo takes no KL of whole laws"),
        ({"objective_options": {"alpah": 1}}, "alpah"),
        ({"group_size": 1}, "K = 1|single response"),
        ({"task": "toy_envs/Bracket-v0"}, "Bracket"),
        ({"kl_gradient": "answers"}, "kl_to_initial, which is 0"),
        ({"objective": "gvpo", "critic": "network"}, "gvpo has no critic"),
        (
            # Before the model, which is not there either.
            {"model": "no-model", "reference": "initial", "sampler": "data", "data": "none.jsonl"},
            "data: 'none.jsonl' cannot be read",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line_before_anything_is_drawn(changes, says, tmp_path):
    with pytest.raises(ValueError, match=says) as error:
        tiny(tmp_path, **changes)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "config.yaml").exists()


def batch_of_two() -> GroupBatch:
    """Two answers of three tokens in two steps, the second one shorter; a KL of 1, 2 and 3 nats."""
    zeros = torch.zeros(1, 2, 3, dtype=torch.float64)
    return GroupBatch(
        policy_logps=zeros - 0.5,
        behaviour_logps=zeros - 1,
        rewards=torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        mask=torch.tensor([[[1, 1, 1], [1, 1, 0]]]),
        policy_kl=zeros + torch.tensor([1.0, 2.0, 3.0]),
        step_ids=torch.tensor([0, 0, 1]).expand(1, 2, 3),
    )


def actions(batch: GroupBatch, scale: float = 1.0) -> LossOutput:
    """A loss that says how many actions the objective was shown."""
    return LossOutput(scale * batch.mask.sum().double(), {})


def test_the_loss_is_the_objective_at_its_level_with_its_options() -> None:
    batch, options = batch_of_two(), {"scale": 0.5}
    for level, count in (("token", 5), ("step", 3)):
        config = TrainConfig(objective_options=options, level=level)
        assert float(loss_of(actions, config)(batch).loss) == count / 2


def test_the_kl_to_the_initial_model_is_added_per_answer_and_reported() -> None:
    loss = loss_of(actions, TrainConfig(kl_to_initial=0.1))
    out = loss(batch_of_two())
    assert float(out.metrics["kl_to_initial"]) == (6 + 3) / 2
    assert float(out.loss) == pytest.approx(5 + 0.1 * 4.5)
    assert loss.__name__ == "actions"


@pytest.mark.parametrize(
    ("objective", "options", "expected"),
    [
        (objectives.gnivo, {}, False),
        (objectives.gnivo, {"prefixes": "given"}, True),
        (partial(objectives.gnivo, prefixes="given"), {}, True),
        (partial(objectives.gnivo, prefixes="given"), {"prefixes": "last"}, False),
        (partial(objectives.gnivo, prefixes="given", depths=torch.ones(2)), {}, False),
        (objectives.gvpo, {}, False),
    ],
)
def test_which_objectives_are_given_depths(
    objective: Any, options: dict[str, Any], expected: bool
) -> None:
    assert takes_depths(objective, options) is expected


def test_a_horizon_below_the_longest_answer_is_refused() -> None:
    task = ArithmeticChain()
    options = {"prefixes": "given", "horizon": task.horizon}
    check_horizon(TrainConfig(objective_options=options), task)
    low = options | {"horizon": 2}
    check_horizon(TrainConfig(objective_options=low, level="step"), task)
    with pytest.raises(ValueError, match=f"horizon=2, but .* may have {task.horizon} tokens"):
        check_horizon(TrainConfig(objective_options=low), task)
