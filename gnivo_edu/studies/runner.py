"""The runs of a study, one thread each, some at a time: every run that ends is kept at once, and a
study that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gnivo_edu.bench.surroundings import versions
from gnivo_edu.studies.results import (
    REPLACED,
    RUNS,
    Results,
    Run,
    rounded,
    write_completions,
    write_runs,
)
from gnivo_edu.studies.study import Cell, Study

Progress = Callable[[str], None]
# Of a run's line: what differs from one time to the next.
TIMINGS = ("seconds", "cpu_seconds", "training_seconds", "memory_mib", "versions")


def run_study(
    study: Study, cells: Sequence[Cell], folder: Path, scratch: Path, jobs: int, progress: Progress
) -> Results:
    """Make the runs that `folder` does not hold yet, `jobs` at a time (0: in this process), and
    return all of them in the order of the cells.

    A line of runs.jsonl is written when its run ends. A run counts as done where its settings are
    those of the cell; runs of other settings go to replaced.jsonl, so that none is lost. `scratch`
    gets what the runs leave beside their numbers, such as models. Raises ValueError, in one line,
    where a run fails, and where the folder is in use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        done = {(run["row"], run["seed"]): run for run in Results.read(folder).runs}
        kept = {key: run for key, run in done.items() if _is_of(run, cells)}
        replaced = [run for key, run in done.items() if key not in kept]
        if replaced:
            _append(folder / REPLACED, replaced)
            progress(f"{len(replaced)} runs of other settings are moved to {REPLACED}")
        write_runs(folder, list(kept.values()))  # without a line that was cut off, too
        waiting = [cell for cell in cells if (cell.row, cell.seed) not in kept]
        if kept and waiting:
            progress(f"{len(kept)} of {len(cells)} runs are there; going on")
        begun = time.perf_counter()
        for count, (cell, run) in enumerate(_results(study, waiting, scratch, jobs), 1):
            completions = run.pop("completions", None)
            if completions:
                _freeze(folder, cell, completions)
            kept[cell.row, cell.seed] = run
            _append(folder / RUNS, [run])
            left = (time.perf_counter() - begun) / count * (len(waiting) - count) / 60
            ended = len(cells) - len(waiting) + count
            progress(
                f"{ended} of {len(cells)} runs: {cell.row}, seed {cell.seed}; {left:.0f} min left"
            )
        ordered = [kept[cell.row, cell.seed] for cell in cells]
        # Runs of further seeds, made before, stay.
        more = [run for key, run in kept.items() if run not in ordered]
        write_runs(folder, [*ordered, *more])
        return Results(folder, [*ordered, *more])


def _append(path: Path, runs: Sequence[Run]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(run) + "\n" for run in runs)
        file.flush()
        os.fsync(file.fileno())


def _is_of(run: Run, cells: Sequence[Cell]) -> bool:
    """Whether a run on file is one that the cells ask for, or one of another seed of theirs."""
    settings = [rounded(dict(cell.settings), 12) for cell in cells if cell.row == run["row"]]
    return rounded(run["settings"], 12) in json.loads(json.dumps(settings))


def _results(
    study: Study, cells: Sequence[Cell], scratch: Path, jobs: int
) -> Iterator[tuple[Cell, Run]]:
    """Each cell with its run, as they end."""
    tasks = [(study.name, cell, scratch / cell.key) for cell in cells]
    if jobs == 0:
        yield from map(_work, tasks)
        return
    # A process a run: its memory is its own, and what it leaves behind goes with it.
    os.environ["OMP_NUM_THREADS"] = "1"
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(kind)
    if kind == "forkserver":
        context.set_forkserver_preload(["gnivo_edu.studies.preloaded"])
    with context.Pool(min(jobs, len(tasks)) or 1, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(_work, tasks, chunksize=1)


def _work(task: tuple[str, Cell, Path]) -> tuple[Cell, Run]:
    """One run, in a process of its own."""
    import torch

    name, cell, folder = task
    _end_with_parent()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    begun, worked = time.perf_counter(), time.process_time()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        measured = _study(name).run(cell, folder)
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{name}: {cell.row}, seed {cell.seed}: {said}") from error
    finally:
        torch.set_num_threads(threads)
    completions = measured.pop("completions", None)
    run = {
        "row": cell.row,
        "seed": cell.seed,
        **rounded(measured),
        "settings": dict(cell.settings),
        "threads": 1,
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(time.process_time() - worked, 1),
        "memory_mib": _peak(),
        "versions": versions(),
    }
    return cell, run | ({"completions": completions} if completions else {})


def _study(name: str) -> Study:
    from gnivo_edu.studies.registry import study_of

    return study_of(name)


def _end_with_parent() -> None:
    """Let this process end when the one that asked for its runs is gone, however that went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _peak() -> int | None:
    """The largest memory that this process had, MiB; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def _freeze(folder: Path, cell: Cell, completions: Sequence[dict[str, Any]]) -> None:
    from gnivo_edu.training.record import has_parquet

    if has_parquet():
        named = [{"row": cell.row, "seed": cell.seed} | row for row in completions]
        write_completions(folder, cell.key, named)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Inside, no other study writes to the folder."""
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise ValueError(
            f"a study is at work in {folder}: wait for it, or choose another --out"
        ) from error
