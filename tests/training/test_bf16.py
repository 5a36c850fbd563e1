"""bfloat16 forward passes: sums in float32, weights as they are, and a run as reproducible as
before.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from gnivo_edu.training import rollout
from tests.training.training_runs import SUMS, Stop, left, run

FEW = SUMS | {
    "precision": "bf16",
    "steps": 2,
    "prompts_per_step": 4,
    "group_size": 4,
    "learning_rate": 1e-3,
}


@pytest.mark.parametrize("objective", ["gnivo", "vimpo", "ppo", "value_mse"])
@pytest.mark.slow
def test_a_run_in_bf16_is_close_to_one_in_float32(objective, tmp_path):
    options = {"alpha": 0.2}
    settings = FEW | {"objective": objective, "objective_options": options, "micro_batch": 5}
    half, rows = run(tmp_path / "half", **settings)
    _, expected = run(tmp_path / "full", **settings | {"precision": "float32"})
    assert {p.dtype for p in half.policy.parameters()} == {torch.float32}
    first, same = rows[0], expected[0]
    assert first["reward"] == same["reward"]  # the same answers, drawn from nearly the same law
    assert first["loss"] == pytest.approx(same["loss"], rel=0.03, abs=0.01)
    assert first["grad_norm"] == pytest.approx(same["grad_norm"], rel=0.05)
    assert first["entropy"] == pytest.approx(same["entropy"], rel=0.02)
    assert first["entropy"] != same["entropy"]  # it was not float32 after all


@pytest.mark.slow
def test_sampler_and_scorer_agree_and_what_is_left_is_reported(tmp_path, shared_model, monkeypatch):
    settings = FEW | {"objective": "grpo", "learning_rate": 1e-6}
    _, rows = run(tmp_path / "sums", **settings)
    # One law for both, head included: a head in bfloat16 alone is off by 0.02 nats here.
    assert max(row["sampling/sampling_logp_difference/max"] for row in rows) < 1e-3
    stories = {"model": shared_model, "task": "stories", "task_options": {"horizon": 16}}
    _, rows = run(tmp_path / "stories", **settings | stories)
    # Here attention over a cache may round otherwise than over a whole row; with some kernels it
    # does not.
    assert all(0 <= row["sampling/sampling_logp_difference/mean"] < 0.03 for row in rows)
    monkeypatch.setattr(rollout, "wide_head", lambda policy: nullcontext())
    _, rows = run(tmp_path / "narrow", **settings)
    assert max(row["sampling/sampling_logp_difference/max"] for row in rows) > 2e-3


@pytest.mark.parametrize(
    "changes",
    [{"objective": "ppo", "critic": "head"}, {"lora_rank": 2, "reference": "refreshed"}],
    ids=str,
)
@pytest.mark.slow
def test_a_run_in_bf16_that_stops_goes_on_bit_for_bit(changes, tmp_path):
    if "lora_rank" in changes:
        pytest.importorskip("peft", reason="needs peft, of the extra llm")
    settings = FEW | {"steps": 4, "save_every": 1, "inner_steps": 2, "refresh_every": 1} | changes
    run(tmp_path / "whole", **settings)
    with pytest.raises(Stop):
        run(tmp_path / "stopped", stop_at=2, **settings)
    run(tmp_path / "stopped", resume=True, **settings)
    assert left(tmp_path / "stopped") == left(tmp_path / "whole")


def test_runs_of_different_precision_follow_each_other_in_one_process(tmp_path):
    for name, precision in (("bf16", "bf16"), ("exact", "float64"), ("again", "bf16")):
        run(tmp_path / name, **FEW | {"steps": 1, "precision": precision})
    assert left(tmp_path / "again") == left(tmp_path / "bf16")
