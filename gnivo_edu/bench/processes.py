"""Training steps in one process and in two, each with one thread."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np

from gnivo_edu.bench.ratio import Progress, Row, race, ratio_row
from gnivo_edu.bench.step import SHORT, TINY, our_step

STEPS = {"short": SHORT, "tiny": TINY}


def bench_processes(size: str = "short", repeats: int = 9, progress: Progress = None) -> list[Row]:
    """Tokens of answers per second of GRPO in two processes of one thread, as torchrun would start
    them, against one process of one thread, and against one of two threads. The processes stay, and
    take turns. The number of processes changes no result but by rounding.
    """
    step = STEPS[size]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        kinds = {"two processes": (2, 1), "one process": (1, 1), "two threads": (1, 2)}
        if progress:
            progress("starting four processes")
        calls = {
            name: partial(_one_run, stack.enter_context(_group(size, *kind)), folder)
            for name, kind in kinds.items()
        }
        runs = race(calls, repeats, progress=progress)
    speeds = {name: step.tokens / np.array(run.results) for name, run in runs.items()}
    ours = speeds["two processes"]
    rows = []
    for name, bound in (("one process", 1.2), ("two threads", None)):
        case = f"two processes / {name}"
        rows.append(ratio_row(case, ours, peer=speeds[name], unit="tokens/s", bound=bound))
    return rows


@contextmanager
def _group(size: str, count: int, threads: int) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes that know of each other, and wait to be told to run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    members = []
    for rank in range(count):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
        surroundings = {name: str(value) for name, value in place.items()} if count > 1 else {}
        surroundings |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": str(threads)}
        members.append(
            subprocess.Popen(
                [sys.executable, "-m", "gnivo_edu.bench.processes", size],
                env=os.environ | surroundings,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    try:
        yield members
    finally:
        for member in members:
            assert member.stdin is not None
            member.stdin.close()  # at the end of its input a member ends
        for member in members:
            try:
                member.wait(timeout=60)
            except subprocess.TimeoutExpired:
                member.kill()


def _one_run(members: list[subprocess.Popen[str]], folder: str, repeat: int) -> float:
    """Seconds of a step, as the first of the processes says."""
    out = f"{tempfile.mkdtemp(dir=folder)}/run"
    for member in members:
        assert member.stdin is not None
        print(repeat, out, file=member.stdin, flush=True)
    answers = [member.stdout.readline() for member in members if member.stdout is not None]
    if not all(answers):
        raise ValueError(
            "a process of the benchmark has stopped: run it with one repeat to see why"
        )
    return float(answers[0])


def _serve(size: str) -> None:
    """One of the processes: a run for each line of its input."""
    for line in sys.stdin:
        repeat, _, out = line.strip().partition(" ")
        options: dict[str, Any] = {"kl": "none", "reference": "sampler"}
        seconds = our_step(STEPS[size], "grpo", int(repeat), out=out, **options)
        print(seconds, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
