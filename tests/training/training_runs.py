"""Runs of fine_tune for tests: in this process, and in several that know of each other."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gnivo_edu import cli
from gnivo_edu.training.config import TrainConfig, load_config
from gnivo_edu.training.loop import fine_tune


class Stop(Exception):
    """Raised by `on_step` to end a run in the middle."""


# A run of a table, in milliseconds.
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
# What the shipped model is for: add to it how long, and how precisely.
SUMS = {"model": "shipped", "task": "arithmetic", "task_options": {"tiers": [2]}}


def run(
    out: Path,
    resume: bool = False,
    stop_at: int | None = None,
    progress: Callable[[str], None] | None = None,
    things: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """The finished run, its metrics as `rows`; `stop_at` ends it with Stop after that step;
    `things` take the place of what the settings name.
    """
    rows: list[dict[str, Any]] = []

    def on_step(row: dict[str, Any]) -> None:
        rows.append(row)
        if row["step"] == stop_at:
            raise Stop

    # A published setting where one is named; else the settings as they stand, and defaults.
    make = load_config if "setting" in settings else TrainConfig
    config = make(**settings, out=str(out))
    return fine_tune(config, resume, progress=progress, on_step=on_step, **things or {}), rows


def tiny(out: Path, resume: bool = False, **changes: Any) -> list[dict[str, Any]]:
    """The metrics of a tiny run; `changes` of its settings, or of how it is run."""
    rows: list[dict[str, Any]] = run(out, resume, **TINY | changes)[1]
    return rows


def weights(out: Path) -> dict[str, torch.Tensor]:
    """What a run has saved in model/."""
    return load_file(out / "model" / "model.safetensors")


def largest_difference(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """Over all weights."""
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def metrics(out: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl, without timings."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("step_time")
    return rows


def left(out: Path) -> tuple[bytes, list[dict[str, float]], str]:
    """All that two runs have in common if they are the same bit for bit."""
    saved = (out / "model" / "model.safetensors").read_bytes()
    return saved, metrics(out), (out / "completions.jsonl").read_text()


def command(capsys: Any, *arguments: Any) -> tuple[Any, str, str]:
    """Exit status, standard output and standard error of the command line, called in this
    process.
    """
    before, sys.argv = sys.argv, ["gnivo-edu", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    finally:
        sys.argv = before
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


def on_processes(count: int, act: Callable[[int], Any], patience: float = 60.0) -> list[str]:
    """Run `act(rank)` on that many processes of one launch; what each raised, in order, "" where
    nothing.

    They are forks of this one, so that torch is there at once. A process that waits for ever fails
    the test."""
    from accelerate.state import AcceleratorState

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children, ends = [], []
    for rank in range(count):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            message = "did not end"
            try:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
                os.environ |= {
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                    "OMP_NUM_THREADS": "1",
                }
                torch.set_num_threads(1)
                AcceleratorState._reset_state(
                    reset_partial_state=True
                )  # that of the parent: one process
                act(rank)
                message = ""
            except ValueError as error:
                message = str(error)
            except BaseException:
                message = traceback.format_exc()
            finally:
                os.write(writer, message.encode())
                os._exit(0)
        os.close(writer)
        children.append(child)
        ends.append(reader)
    late, deadline = list(children), time.monotonic() + patience
    while late and time.monotonic() < deadline:
        late = [child for child in late if os.waitpid(child, os.WNOHANG)[0] == 0]
        time.sleep(0.02)
    for child in late:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert not late, f"{len(late)} of {count} processes still waited after {patience:g} s"
    return [os.fdopen(reader).read() for reader in ends]
