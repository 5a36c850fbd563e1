"""Several processes: the same run as one, whatever the objective; no process waits behind another's
error; and all draw the same prompts, of those that can be graded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from gnivo_edu.policies import TabularLM, sample_completions
from gnivo_edu.training import checkpoint
from gnivo_edu.training.processes import Processes, prompts_of_step
from tests.training.training_runs import (
    SUMS,
    TINY,
    Stop,
    command,
    largest_difference,
    left,
    metrics,
    on_processes,
    run,
    weights,
)
from toy_envs import Brackets

LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="forks, which torch survives on Linux"
)

# One prompt only, so that every process draws to the same one; three of them on two processes are
# unequal shares.
TABLE = TINY | {"steps": 3, "prompts_per_step": 3, "inner_steps": 2}
SHIPPED = TABLE | SUMS | {"learning_rate": 1e-3}
CHAIN = TINY | {"task": "toy_envs/ArithmeticChain-v0", "group_size": 2, "completions_every": 1}


def close(one, two, tolerance):
    """Metrics, weights and texts agree."""
    for a, b in zip(metrics(one), metrics(two), strict=True):
        assert b == pytest.approx(a, rel=tolerance, abs=tolerance)
    assert largest_difference(weights(one), weights(two)) < tolerance
    assert (one / "completions.jsonl").read_text() == (two / "completions.jsonl").read_text()


@LINUX
@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "gnivo", "micro_batch": 3},
        {"objective": "ppo"},  # whitens over the batch, divides by its tokens, has a critic
        {"objective": "vimpo", "micro_batch": 5, "inner_steps": 1},
        {"objective": "value_mse", "max_grad_norm": 0.1},  # a log Z for each prompt
        {
            "objective": "grpo",
            "objective_options": {"normaliser": "token-mean"},
            "kl_to_initial": 0.1,
        },
    ],
    ids=lambda changes: changes["objective"],
)
def test_two_processes_learn_what_one_learns(changes, tmp_path):
    assert on_processes(2, lambda rank: run(tmp_path / "two", **TABLE | changes)) == ["", ""]
    run(tmp_path / "one", **TABLE | changes)
    close(tmp_path / "one", tmp_path / "two", 1e-12)


@LINUX
@pytest.mark.slow
def test_a_transformer_with_adapters_on_three_processes_learns_what_it_learns_on_one(tmp_path):
    pytest.importorskip("peft", reason="needs peft, of the extra llm")
    changes = {
        "lora_rank": 2,
        "objective": "ppo",
        "critic": "network",
        "steps": 2,
        "reference": "refreshed",
        "refresh_every": 1,
    }
    assert on_processes(3, lambda rank: run(tmp_path / "three", **SHIPPED | changes)) == [
        "",
        "",
        "",
    ]
    run(tmp_path / "one", **SHIPPED | changes)
    close(tmp_path / "one", tmp_path / "three", 1e-11)


def test_shares_are_drawn_as_they_would_be_among_all():
    policy, index = TabularLM.from_mdp(Brackets(), seed=0), [0, 0, 0]
    whole = sample_completions(policy, Brackets(), 4, index, seed=5).tokens
    parts = [
        sample_completions(policy, Brackets(), 4, index, seed=5, share=slice(a, b))
        for a, b in ((0, 1), (1, 3))
    ]
    assert torch.equal(torch.cat([part.tokens for part in parts]), whole)
    assert not torch.equal(whole[0], whole[1])


@LINUX
@pytest.mark.slow
def test_a_run_on_two_processes_that_stops_goes_on_bit_for_bit_and_on_one_up_to_rounding(tmp_path):
    changes = TABLE | {"save_every": 1, "steps": 4, "objective": "gvpo"}

    def stopped(out):
        def act(rank):
            with pytest.raises((Stop, RuntimeError)):  # the other one hears that the first is gone
                run(out, stop_at=2, **changes)

        return act

    for name in ("two", "one"):
        assert on_processes(2, stopped(tmp_path / name)) == ["", ""]
        assert (
            max(p.name for p in (tmp_path / name / "checkpoints").iterdir()) == "000002-001"
        )  # between two updates
    assert on_processes(2, lambda rank: run(tmp_path / "whole", **changes)) == ["", ""]
    assert on_processes(2, lambda rank: run(tmp_path / "two", resume=True, **changes)) == ["", ""]
    run(tmp_path / "one", resume=True, **changes)
    assert left(tmp_path / "two") == left(tmp_path / "whole")
    close(tmp_path / "whole", tmp_path / "one", 1e-12)


@LINUX
def test_only_the_first_process_writes_and_speaks(tmp_path):
    def act(rank):
        _, rows = run(tmp_path / "out", **TABLE)
        (tmp_path / str(rank)).write_text(str(len(rows)))

    assert on_processes(2, act) == ["", ""]
    assert [(tmp_path / str(rank)).read_text() for rank in (0, 1)] == ["3", "0"]
    assert len(metrics(tmp_path / "out")) == 3


@LINUX
def test_an_error_on_one_process_is_told_by_the_first_and_nobody_waits(tmp_path, monkeypatch):
    reward, log = Brackets.reward, tmp_path / "out" / "metrics.jsonl"

    def fails(self, *arguments):
        at_step_2 = log.exists() and len(log.read_text().splitlines()) == 2
        if os.environ.get("RANK") == "1" and at_step_2 and not (tmp_path / "mended").exists():
            raise RuntimeError("the grader is gone")
        return reward(self, *arguments)

    monkeypatch.setattr(Brackets, "reward", fails)
    changes = TABLE | {"save_every": 1, "inner_steps": 1}
    first, second = on_processes(2, lambda rank: run(tmp_path / "out", **changes))
    assert first == "process 1 of 2 stopped: the grader is gone"
    assert "RuntimeError: the grader is gone" in second
    assert len(metrics(tmp_path / "out")) == 2
    (tmp_path / "mended").touch()
    assert on_processes(2, lambda rank: run(tmp_path / "out", resume=True, **changes)) == ["", ""]
    assert on_processes(2, lambda rank: run(tmp_path / "whole", **changes)) == ["", ""]
    assert left(tmp_path / "out") == left(tmp_path / "whole")


@LINUX
def test_a_loss_that_is_not_finite_stops_both_with_the_answers_of_all_saved(tmp_path):
    changes = {"objective_options": {"alpha": 1e-4}, "steps": 30, "prompts_per_step": 5}
    first, second = on_processes(2, lambda rank: run(tmp_path, **TABLE | changes))
    assert first == second
    assert "its answers are in" in first
    assert (
        len(torch.load(next(tmp_path.glob("stopped-at-step-*.pt")), weights_only=True)["rewards"])
        == 5
    )


@LINUX
def test_a_full_disk_ends_both_in_one_line(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "sha", full)
    first, second = on_processes(2, lambda rank: run(tmp_path, **TABLE))
    assert "No space left on device" in first
    assert second.startswith(
        "process 0 of 2 stopped: the checkpoint of step 3 could not be written"
    )


@LINUX
def test_a_process_without_a_prompt_is_one_line(tmp_path):
    said = on_processes(2, lambda rank: run(tmp_path / "out", **TABLE | {"prompts_per_step": 1}))
    assert set(said) == {
        "prompts_per_step=1 leaves some of the 2 processes without a prompt: raise it, or launch "
        "fewer"
    }
    assert not (tmp_path / "out").exists()


def test_a_launch_that_splits_the_model_or_that_accelerate_misses_is_one_line(monkeypatch):
    class Launched:
        process_index, num_processes, distributed_type = 0, 1, "DistributedType.FSDP"

    with pytest.raises(ValueError, match="splits the model: here every process holds all of it"):
        Processes(Launched())
    Launched.distributed_type = "DistributedType.NO"
    monkeypatch.setenv(
        "ACCELERATE_USE_CPU", "True"
    )  # what `accelerate launch --cpu --num_processes 2` leaves
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(ValueError, match=r"on a CPU accelerate starts one process.*torchrun"):
        Processes(Launched())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="launched as 2 processes, of which accelerate finds 1"):
        Processes(Launched())


@LINUX
@pytest.mark.slow
def test_torchrun_prints_once(tmp_path):
    sets = [
        f"--set={key}={json.dumps(value)}"
        for key, value in (TABLE | {"out": str(tmp_path / "out")}).items()
    ]
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "-m",
        "gnivo_edu.cli",
        "train",
    ]
    done = subprocess.run([*launch, *sets, "--json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["steps"] == 3
    again = subprocess.run([*launch, *sets], capture_output=True, text=True, timeout=300)
    assert again.returncode != 0
    assert again.stderr.count("holds a run: --resume continues it") == 1


def test_prompts_go_round_in_permutations():
    seen = torch.cat([torch.from_numpy(prompts_of_step(3, step, 4, 10)) for step in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_what_cannot_be_graded_is_not_drawn_and_a_line_says_so(unreadable, tmp_path):
    unreadable(0, 2)
    said: list[str] = []
    run(tmp_path, progress=said.append, **CHAIN)
    assert said == ["2 of 4 questions are left out: their gold answers cannot be read"]
    saved = [json.loads(line) for line in (tmp_path / "completions.jsonl").read_text().splitlines()]
    assert {row["prompt"] for row in saved} == {1, 3}  # all prompts of each step


def test_nothing_left_out_is_the_run_that_it_was(unreadable, tmp_path):
    run(tmp_path / "plain", **CHAIN)
    unreadable()
    run(tmp_path / "none", **CHAIN)
    assert metrics(tmp_path / "none") == metrics(tmp_path / "plain")


def test_all_left_out_is_one_line_before_anything_is_written(unreadable, tmp_path):
    unreadable(0, 1, 2, 3)
    with pytest.raises(ValueError, match="none of the 4 gold answers can be read") as error:
        run(tmp_path / "out", **CHAIN)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tensorbord", "there is no tracker 'tensorbord'; did you mean 'tensorboard'?"),
        ("all", "there is no tracker 'all'; known: aim,"),
        ("wandb", "the tracker 'wandb' is not installed: pip install wandb"),
    ],
)
def test_a_tracker_that_is_not_there_is_one_line_before_anything_is_written(
    name, says, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        "gnivo_edu.training.processes.get_available_trackers", lambda: ["tensorboard"]
    )
    sets = {**TINY, "trackers": [name], "out": str(tmp_path / "out")}
    status, out, said = command(
        capsys, "train", *(f"--set={key}={json.dumps(value)}" for key, value in sets.items())
    )
    assert (status, out, said.count("\n")) == (2, "", 1)
    assert says in said
    assert not (tmp_path / "out").exists()
