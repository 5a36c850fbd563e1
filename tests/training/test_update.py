"""An update is one whatever its micro-batches and however its layers keep their states, and a bad
one reaches no checkpoint.
"""

import pytest
import torch

from gnivo_edu.policies import score_model
from tests.training.training_runs import SUMS, left, run, tiny


@pytest.mark.parametrize("name", ["gnivo", "ppo", "vimpo", "value_mse"])
def test_the_run_does_not_depend_on_the_micro_batch(name, tmp_path):
    whole, cut = (
        tiny(tmp_path / str(size), objective=name, inner_steps=2, micro_batch=size)
        for size in (None, 3)
    )
    for one, two in zip(whole, cut, strict=True):
        one.pop("step_time")
        two.pop("step_time")
        assert two == pytest.approx(one, rel=1e-9, abs=1e-12)


def test_a_loss_that_is_not_finite_stops_with_its_answers_saved(tmp_path):
    with pytest.raises(
        ValueError, match=r"stopped at step .*overflows.*its answers are in"
    ) as error:
        tiny(tmp_path, objective_options={"alpha": 1e-4}, steps=30)
    assert "\n" not in str(error.value)
    saved = torch.load(next(tmp_path.glob("stopped-at-step-*.pt")), weights_only=True)
    assert set(saved) >= {"tokens", "rewards", "logps"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"precision": "float32", "learning_rate": 1e30, "weight_decay": 1e30},
            "too large for the weights' precision|not all weights are finite",
        ),
        (
            {
                "precision": "float32",
                "learning_rate": 1e30,
                "optimizer": "sgd",
                "objective_options": {"alpha": 0.02},
                "max_grad_norm": 1e12,
            },
            "not all weights are finite",
        ),
        (
            {
                "model": "shipped",
                "task": "arithmetic",
                "precision": "float32",
                "learning_rate": 1e30,
            },
            "gives nan",
        ),
        (
            {
                "precision": "float32",
                "objective": "ppo",
                "value_learning_rate": 1e30,
                "weight_decay": 1e30,
                "inner_steps": 2,
            },
            "too large for the weights' precision|not all weights are finite",
        ),
    ],
    ids=["adamw", "sgd", "finite and too large", "critic"],
)
def test_an_update_that_breaks_the_weights_stops_before_they_are_saved(changes, why, tmp_path):
    with pytest.raises(
        ValueError, match=rf"stopped at step .*{why}.*its answers are in.*smaller learning_rate"
    ) as error:
        tiny(tmp_path, save_every=1, **changes)
    assert "\n" not in str(error.value)
    saved = torch.load(next(tmp_path.glob("stopped-at-step-*.pt")), weights_only=True)
    assert set(saved) >= {"tokens", "rewards", "logps"}
    for path in (tmp_path / "checkpoints").glob("*/tensors.pt"):
        kept = torch.load(path, weights_only=True)["policy"]
        assert all(bool(x.isfinite().all()) for x in kept.values())
        assert max(float(x.abs().max()) for x in kept.values()) < 1e6


def test_a_run_whose_layers_run_again_is_the_same_bit_for_bit(tmp_path):
    few = SUMS | {"steps": 2, "prompts_per_step": 2, "group_size": 2, "learning_rate": 1e-3}
    for name, again in (("kept", False), ("again", True)):
        run(tmp_path / name, **few, gradient_checkpointing=again, report_questions=0)
    assert left(tmp_path / "again") == left(tmp_path / "kept")


def test_a_table_has_no_layers_to_run_again(tmp_path):
    with pytest.raises(ValueError, match="set gradient_checkpointing to false"):
        tiny(tmp_path, gradient_checkpointing=True)


def test_a_batch_in_one_micro_batch_is_run_once_and_one_row_again(tmp_path, monkeypatch):
    rows = []
    look = score_model._hidden

    def counts(policy, answers, **named):
        if any(p.requires_grad for p in policy.parameters()):
            rows.append(len(answers.index))
        return look(policy, answers, **named)

    monkeypatch.setattr(score_model, "_hidden", counts)
    few = SUMS | {"steps": 3, "prompts_per_step": 2, "group_size": 3, "completions_every": 9}
    run(tmp_path, **few, objective="grpo", report_questions=0)
    # The first and the last step report how far the policy has gone from the initial model.
    assert rows == [6, 6, 1, 6, 1, 6, 6, 1]
