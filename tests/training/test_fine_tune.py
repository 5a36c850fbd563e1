"""Fine-tuning: every objective, any micro-batch, and a run that cannot tell that it was stopped."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.training import checkpoint
from gnivo_edu.training.config import load_config
from gnivo_edu.training.loop import fine_tune
from gnivo_edu.training.processes import prompts_of_step

TINY = {
    "model": "table",
    "task": "toy_envs/Brackets-v0",
    "precision": "float64",
    "steps": 6,
    "prompts_per_step": 2,
    "group_size": 4,
    "learning_rate": 0.1,
    "completions_every": 2,
}
TRAINABLE = [name for name in objectives.names() if name != "group_value"]


def run(out: Path, resume: bool = False, on_step=lambda row: None, **changes):
    rows: list[dict] = []

    def keep(row):
        rows.append(row)
        on_step(row)

    fine_tune(load_config(**{**TINY, "out": str(out), **changes}), resume, on_step=keep)
    return rows


def left(out: Path) -> tuple[bytes, list[dict], list[str]]:
    """Final weights, metrics without timings, saved texts."""
    weights = (out / "model" / "model.safetensors").read_bytes()
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for row in metrics:
        row.pop("step_time")
    return weights, metrics, (out / "completions.jsonl").read_text().splitlines()


@pytest.mark.parametrize("name", TRAINABLE)
@pytest.mark.slow
def test_every_objective_trains(name, tmp_path):
    rows = run(tmp_path, objective=name, steps=40, prompts_per_step=4, save_every=1000)
    early, late = (sum(row["reward"] for row in part) / 10 for part in (rows[:10], rows[-10:]))
    assert late > early + 0.1, (early, late)
    assert rows[0]["sampling/sampling_logp_difference/max"] < 1e-10


@pytest.mark.parametrize("name", ["gnivo", "ppo", "vimpo", "value_mse"])
def test_the_run_does_not_depend_on_the_micro_batch(name, tmp_path):
    whole, cut = (
        run(tmp_path / str(size), objective=name, inner_steps=2, micro_batch=size)
        for size in (None, 3)
    )
    for one, two in zip(whole, cut, strict=True):
        one.pop("step_time")
        two.pop("step_time")
        assert two == pytest.approx(one, rel=1e-9, abs=1e-12)


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    "changes",
    [
        {"inner_steps": 3, "save_every": 4},
        {"reference": "refreshed", "refresh_every": 2, "inner_steps": 2, "save_every": 3},
        {"reference": "initial", "objective": "vimpo", "micro_batch": 3, "save_every": 2},
        {"objective": "vimpo", "inner_steps": 2, "save_every": 1},
        {
            "objective": "ppo",
            "inner_steps": 2,
            "save_every": 3,
            "schedule": "cosine",
            "warmup_steps": 2,
        },
        {"kl_to_initial": 0.1, "save_every": 1},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
@pytest.mark.slow
def test_a_run_that_stops_at_any_step_goes_on_bit_for_bit(changes, tmp_path):
    run(tmp_path / "whole", **changes)
    for at in (1, 3, 5):
        out = tmp_path / f"stopped-{at}"

        def stop(row, at=at):
            if row["step"] == at:
                raise Stop

        with pytest.raises(Stop):
            run(out, on_step=stop, **changes)
        run(out, resume=True, **changes)
        assert left(out) == left(tmp_path / "whole"), at


@pytest.mark.slow
def test_a_run_that_is_killed_at_twenty_random_moments_goes_on_bit_for_bit(tmp_path):
    """SIGKILL, in a process of its own: also while a checkpoint is being written."""
    changes = {
        "steps": 40,
        "inner_steps": 2,
        "save_every": 1,
        "micro_batch": 5,
        "objective": "gvpo",
    }
    began = time.monotonic()
    run(tmp_path / "whole", **changes)
    seconds = time.monotonic() - began
    out, rng, kills, finished = tmp_path / "killed", random.Random(0), 0, False
    while not finished:
        child = os.fork()
        if child == 0:
            try:
                torch.set_num_threads(1)
                run(out, resume=(out / "config.yaml").exists(), **changes)
            finally:
                os._exit(0 if (out / "model").exists() else 1)
        if kills < 20:
            time.sleep(rng.uniform(0.02, 0.25) * seconds)
            os.kill(child, signal.SIGKILL)
            kills += 1
        _, status = os.waitpid(child, 0)
        finished = os.WIFEXITED(status) and kills >= 20
        if (
            os.WIFEXITED(status) and kills < 20
        ):  # done before it was killed: begin again, from an older checkpoint
            (out / "model" / "model.safetensors").unlink()
            shutil.rmtree(max((out / "checkpoints").iterdir()))
    assert left(out) == left(tmp_path / "whole")


def test_records_past_the_checkpoint_are_cut_and_written_again(tmp_path):
    run(tmp_path / "whole", save_every=2)
    run(tmp_path / "again", save_every=2)
    newest = max((tmp_path / "again" / "checkpoints").iterdir())
    assert newest.name == "000006-000"
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    with (tmp_path / "again" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "rew')  # a line that a kill cut short
    run(tmp_path / "again", resume=True, save_every=2)
    assert left(tmp_path / "again") == left(tmp_path / "whole")


def test_a_damaged_checkpoint_is_passed_over_and_all_damaged_is_one_line(tmp_path):
    run(tmp_path / "whole", save_every=2)
    run(tmp_path / "hurt", save_every=2)
    newest = max((tmp_path / "hurt" / "checkpoints").iterdir())
    tensors = newest / checkpoint.TENSORS
    tensors.write_bytes(tensors.read_bytes()[:-20])
    said: list[str] = []
    fine_tune(load_config(**TINY, out=str(tmp_path / "hurt"), save_every=2), True, said.append)
    assert any("000006-000 is damaged and passed over" in line for line in said)
    assert left(tmp_path / "hurt") == left(tmp_path / "whole")
    for folder in (tmp_path / "hurt" / "checkpoints").iterdir():
        (folder / checkpoint.STATE).write_text("{")
    with pytest.raises(ValueError, match=r"no checkpoint in .* is whole"):
        run(tmp_path / "hurt", resume=True, save_every=2)


def spoil_state(folder):
    state = json.loads((folder / checkpoint.STATE).read_text())
    del state["lines"]
    (folder / checkpoint.STATE).write_text(json.dumps(state))


def put_another_program_s_file(folder, content=b"not a zip, not a pickle"):
    (folder / checkpoint.TENSORS).write_bytes(content)
    state = json.loads((folder / checkpoint.STATE).read_text())
    state["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / checkpoint.STATE).write_text(json.dumps(state))


def put_a_lone_tensor(folder):
    torch.save(torch.zeros(2), folder / "other.pt")
    put_another_program_s_file(folder, (folder / "other.pt").read_bytes())


def put_another_version(folder):
    state = json.loads((folder / checkpoint.STATE).read_text())
    (folder / checkpoint.STATE).write_text(json.dumps(state | {"format": 1}))


def put_a_list(folder):
    (folder / checkpoint.STATE).write_text("[1]")


@pytest.mark.parametrize(
    ("hurt", "why"),
    [
        (spoil_state, "its state.json lacks one of lines"),
        (put_a_list, "its state.json is not that of a run"),
        (put_another_version, "its state.json is not that of a run, or of another version"),
        (put_another_program_s_file, "its tensors.pt is not that of a run"),
        (put_a_lone_tensor, "its tensors.pt is not that of a run"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_checkpoint_of_another_kind_is_passed_over(hurt, why, tmp_path):
    run(tmp_path / "whole", save_every=2)
    run(tmp_path / "hurt", save_every=2)
    hurt(max((tmp_path / "hurt" / "checkpoints").iterdir()))
    said: list[str] = []
    fine_tune(load_config(**TINY, out=str(tmp_path / "hurt"), save_every=2), True, said.append)
    assert any(f"000006-000 is damaged and passed over: {why}" in line for line in said), said
    assert not any("\n" in line for line in said)
    assert left(tmp_path / "hurt") == left(tmp_path / "whole")


def test_a_damaged_checkpoint_is_none_of_those_that_are_kept(tmp_path):
    run(tmp_path, save_every=3)
    newest = max((tmp_path / "checkpoints").iterdir())
    assert newest.name == "000006-000"
    spoil_state(newest)

    def stop(row):
        if row["step"] == 4:
            raise Stop

    with pytest.raises(Stop):
        run(
            tmp_path, resume=True, save_every=1, keep=1, on_step=stop
        )  # from step 3; step 3 is done and saved
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "000004-000",
        "000006-000",
    ]
    run(tmp_path, resume=True, save_every=1, keep=1)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["000006-000"]
    assert run(tmp_path, resume=True, save_every=1, keep=1) == []  # whole again, nothing left to do


@pytest.mark.parametrize("text", ["a: [", "- 1", "\x00"])
def test_a_configuration_that_cannot_be_read_is_one_line(text, tmp_path):
    run(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config.yaml is not the configuration of a run") as error:
        run(tmp_path, resume=True)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_one_line_and_the_previous_checkpoint_stays(tmp_path, monkeypatch):
    real, calls = torch.save, []

    def full(*arguments, **named):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return real(*arguments, **named)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        ValueError, match=r"No space left on device.*the last good checkpoint is 000002-000"
    ) as error:
        run(tmp_path / "run", save_every=1)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "run" / "checkpoints").glob(".writing*"))
    run(tmp_path / "run", resume=True, save_every=1)
    run(tmp_path / "whole", save_every=1)
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_nothing_that_is_there_is_overwritten_and_other_settings_are_not_resumed(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match=r"holds a run: --resume continues it"):
        run(tmp_path)
    with pytest.raises(ValueError, match=r"learning_rate was 0.1"):
        run(tmp_path, resume=True, learning_rate=0.2)
    with pytest.raises(ValueError, match=r"holds no run to resume"):
        run(tmp_path / "nowhere", resume=True)
    assert len(run(tmp_path, resume=True, steps=8)) == 2  # a run may be told to go on for longer


def test_a_checkpoint_of_another_model_is_one_line(tmp_path):
    run(tmp_path / "one")
    run(tmp_path / "two", task="toy_envs/RandomTree-v0")
    for path in (tmp_path / "one" / "checkpoints").iterdir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    foreign = max((tmp_path / "two" / "checkpoints").iterdir())
    foreign.rename(tmp_path / "one" / "checkpoints" / foreign.name)
    with pytest.raises(ValueError, match=r"is of another model: logits is"):
        run(tmp_path / "one", resume=True)


def test_a_loss_that_is_not_finite_stops_with_its_answers_saved(tmp_path):
    with pytest.raises(
        ValueError, match=r"stopped at step .*overflows.*its answers are in"
    ) as error:
        run(tmp_path, objective_options={"alpha": 1e-4}, steps=30)
    assert "\n" not in str(error.value)
    saved = torch.load(next(tmp_path.glob("stopped-at-step-*.pt")), weights_only=True)
    assert set(saved) >= {"tokens", "rewards", "logps"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"learning_rate": 1e308}, "not all weights are finite"),
        (
            {"learning_rate": 1e306, "optimizer": "sgd", "max_grad_norm": 1e3},
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
            {"objective": "ppo", "value_learning_rate": 1e308, "inner_steps": 2},
            "not all weights are finite",
        ),
    ],
    ids=["adamw", "sgd", "finite and too large", "critic"],
)
def test_an_update_that_breaks_the_weights_stops_before_they_are_saved(changes, why, tmp_path):
    with pytest.raises(
        ValueError, match=rf"stopped at step .*{why}.*its answers are in.*smaller learning_rate"
    ) as error:
        run(tmp_path, save_every=1, **changes)
    assert "\n" not in str(error.value)
    saved = torch.load(next(tmp_path.glob("stopped-at-step-*.pt")), weights_only=True)
    assert set(saved) >= {"tokens", "rewards", "logps"}
    for path in (tmp_path / "checkpoints").glob("*/tensors.pt"):
        kept = torch.load(path, weights_only=True)["policy"]
        assert all(bool(x.isfinite().all()) for x in kept.values())
        assert max(float(x.abs().max()) for x in kept.values()) < 1e6


def test_nan_that_only_the_next_answers_show_stops_with_the_answers_of_the_update(
    tmp_path, monkeypatch
):
    from gnivo_edu.training.rollout import Rollouts

    draw = Rollouts.draw

    def broken(self, step, *arguments, **named):
        if step == 2:
            raise ValueError("the policy gives nan: load it in float32")
        return draw(self, step, *arguments, **named)

    monkeypatch.setattr(Rollouts, "draw", broken)
    with pytest.raises(
        ValueError,
        match=r"stopped at step 2: since the last update the policy gives nan; its answers",
    ):
        run(tmp_path)
    assert "tokens" in torch.load(tmp_path / "stopped-at-step-2.pt", weights_only=True)


def test_prompts_go_round_in_permutations():
    seen = torch.cat([torch.from_numpy(prompts_of_step(3, step, 4, 10)) for step in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objective": "grop"}, "did you mean 'grpo'"),
        ({"objective": "group_value"}, "moves no policy"),
        ({"objective": "vimpo", "kl_to_initial": 0.1}, "set reference=initial"),
        ({"objective_options": {"alpah": 1}}, "alpah"),
        ({"group_size": 1}, "K = 1|single response"),
        ({"task": "toy_envs/Bracket-v0"}, "Bracket"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line_before_anything_is_drawn(changes, says, tmp_path):
    with pytest.raises(ValueError, match=says) as error:
        run(tmp_path, **changes)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "config.yaml").exists()
