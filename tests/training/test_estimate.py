"""What a run will take, stated before it: parts that are known exactly, the peak that was measured,
and what the command says.
"""

from __future__ import annotations

import json
import os
import sys

import pytest
from transformers import AutoConfig

from gnivo_edu.policies import budget, load_checkpoint
from gnivo_edu.policies.loading import CHECKPOINTS
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.estimate import estimate
from tests.training.measure_memory import MEASURED, MIB, folder_of, near, rise
from tests.training.training_runs import SUMS, command

SMALL = SUMS | {"prompts_per_step": 2, "group_size": 4}


def parts_of(**settings):
    """Bytes while the run learns."""
    taken = estimate(TrainConfig(**SMALL | settings))
    return next(phase.parts for phase in taken.phases if phase.name == "learning")


@pytest.fixture(scope="module")
def weights():
    return sum(p.nbytes for p in load_checkpoint().parameters())


@pytest.mark.slow
def test_weights_their_copies_gradients_and_moments_are_exact(weights):
    parts = parts_of(objective="grpo")
    kept = {name: parts[name] for name in ("weights", "reference", "gradients", "moments")}
    assert kept == {
        "weights": weights,
        "reference": weights,
        "gradients": weights,
        "moments": 2 * weights,
    }
    assert parts_of(objective="grpo", optimizer="sgd")["moments"] == 0
    assert parts_of(objective="grpo", precision="float64")["weights"] == 2 * weights


@pytest.mark.slow
def test_adapters_share_what_they_do_not_train(weights):
    pytest.importorskip("peft")
    parts = parts_of(objective="grpo", lora_rank=4)
    adapters = parts["weights"] - weights
    assert 0 < adapters < weights / 4
    assert (parts["reference"], parts["moments"]) == (adapters, 2 * adapters)


@pytest.mark.slow
def test_more_answers_at_a_time_take_more_activations():
    few, many = (parts_of(micro_batch=n)["activations"] for n in (4, 8))
    assert 0 < few < many


@pytest.mark.slow
def test_no_weights_are_read(tmp_path):
    AutoConfig.from_pretrained(CHECKPOINTS / "arithmetic").save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    assert estimate(TrainConfig(**SMALL | {"model": str(tmp_path)})).largest.name == "learning"


@pytest.mark.slow
def test_a_machine_with_less_memory_is_told_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(budget, "memory_bytes", lambda: 2**20)
    options = ["--set", "task_options.tiers=[2]", "--set", "group_size=2", "--estimate", "--json"]
    status, out, err = command(capsys, "train", *options)
    report = json.loads(out)
    assert status == 0
    assert report["warning"].startswith("this machine has 1 MiB of memory")
    assert report["warning"] in err
    assert sum(report["phases"]["learning"]["parts"].values()) == pytest.approx(
        report["phases"]["learning"]["mib"], abs=5
    )
    assert report["seconds"] >= report["seconds_per_step"] > 0


def test_a_table_has_nothing_to_estimate():
    with pytest.raises(ValueError, match="as large as its task"):
        estimate(TrainConfig(model="table", task="toy_envs/Brackets-v0"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_the_peak_of_a_run_is_near_its_estimate(shared_model, tmp_path):
    settings = {"model": shared_model, "task": "stories", "task_options": {"horizon": 24}}
    settings |= {"steps": 2, "prompts_per_step": 4, "group_size": 8, "objective": "grpo"}
    estimated = estimate(TrainConfig(**settings)).largest.total / MIB
    assert near(estimated, rise(settings, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("cell", json.loads(MEASURED.read_text(encoding="utf-8")), ids=str)
def test_the_peaks_that_were_measured_are_near_their_estimates(cell, tmp_path):
    pytest.importorskip("peft")
    needed = "GNIVO_SHARED" if cell["model"] == "stories260k" else "GNIVO_MODELS"
    if needed not in os.environ:
        pytest.skip(f"needs {needed}")
    settings = dict(cell)
    measured = settings.pop("mib")
    settings["model"] = folder_of(cell["model"], tmp_path, weights=False)
    assert near(estimate(TrainConfig(**settings)).largest.total / MIB, measured)
