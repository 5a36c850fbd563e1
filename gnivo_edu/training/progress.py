"""A run with a bar: reward, KL to the initial model, tokens a second, time that is left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import distributed

from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.loop import FineTuned, fine_tune


def train_with_progress(
    config: TrainConfig, resume: bool, progress: Callable[[str], None]
) -> FineTuned:
    """Run `fine_tune` with a bar on standard error, or with a line a step where that is no
    terminal.

    Under a launcher the first process speaks for all: the others end here, with the same exit
    status.
    """
    first = _is_first(progress)
    try:
        run = _with_bar(config, resume, progress=progress, shown=first)
    except ValueError as error:
        if first or not getattr(error, "told", False):
            raise
        raise SystemExit(2) from None
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    if not first:
        raise SystemExit(0)
    return run


def _with_bar(
    config: TrainConfig, resume: bool, progress: Callable[[str], None], shown: bool
) -> FineTuned:
    rows: list[dict[str, Any]] = []
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}"),
    )
    hidden = not (shown and console.is_terminal)
    console.quiet = hidden  # before rich 15 even a hidden bar ends in an empty line
    by_line = shown and hidden
    with Progress(*columns, console=console, disable=hidden) as bar:
        task = bar.add_task(f"{config.objective} on {config.task}", total=config.steps, now="")

        def on_step(row: dict[str, Any]) -> None:
            rows.append(row)
            bar.update(task, completed=row["step"] + 1, now=_now(rows))
            if by_line:
                print(f"step {row['step'] + 1}/{config.steps} {_now(rows)}", file=sys.stderr)

        try:
            return fine_tune(config, resume, progress=progress, on_step=on_step)
        except KeyboardInterrupt:
            progress(
                f"interrupted after {len(rows)} steps of this run: --resume goes on from its last "
                "checkpoint"
            )
            raise


def _is_first(progress: Callable[[str], None]) -> bool:
    """Whether this process speaks; what an earlier launch left in the surroundings is no launch."""
    rank = os.environ.get("RANK", "0")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        return rank == "0"
    if rank != "0":
        progress(f"RANK={rank} is set, but no launcher started this: running as a single process")
    return True


def _now(rows: list[dict[str, Any]]) -> str:
    """Reward, KL to the initial model when it was last measured, tokens a second.

    >>> measured = {"reward": 0.1, "kl_to_initial": 0.25, "step_tokens": 90, "step_time": 0.1}
    >>> _now([measured, {"reward": 0.2, "step_tokens": 100, "step_time": 0.1}])
    'reward 0.200 KL 0.250 1,000 tokens/s'
    """
    row = rows[-1]
    measured = [past["kl_to_initial"] for past in rows if past.get("kl_to_initial") is not None]
    kl = f" KL {measured[-1]:.3f}" if measured else ""
    return f"reward {row['reward']:.3f}{kl} {row['step_tokens'] / row['step_time']:,.0f} tokens/s"
