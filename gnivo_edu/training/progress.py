"""A run with a bar: reward, KL to the initial model, tokens a second, time that is left; and a
summary at the end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import distributed

from gnivo_edu.training.before_after import before_and_after
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.fine_tune import fine_tune

LAST = 10  # steps that the summary averages at either end


def train_with_progress(
    config: TrainConfig, resume: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run `fine_tune` with a bar on standard error (in a terminal); returns what `train --json`
    prints.

    Under a launcher the first process speaks for all: the others end here, with the same exit
    status."""
    first = os.environ.get("RANK", "0") == "0"
    try:
        report = _train(config, resume, say, first)
    except ValueError as error:
        if first or not getattr(error, "told", False):
            raise
        raise SystemExit(2) from None
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    if not first:
        raise SystemExit(0)
    return report


def _train(
    config: TrainConfig, resume: bool, say: Callable[[str], None], first: bool
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    columns = (
        "{task.description}",
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    shown = [TextColumn(c) if isinstance(c, str) else c for c in columns]
    console = Console(stderr=True)
    with Progress(
        *shown,
        TextColumn("{task.fields[now]}"),
        console=console,
        disable=not (first and console.is_terminal),
    ) as bar:
        task = bar.add_task(f"{config.objective} on {config.task}", total=config.steps, now="")

        def on_step(row: dict[str, Any]) -> None:
            rows.append(row)
            bar.update(task, completed=row["step"] + 1, now=_now(rows))

        try:
            trained = fine_tune(config, resume, say, on_step)
        except KeyboardInterrupt:
            say(
                f"interrupted after {len(rows)} steps of this run: --resume goes on from its last "
                "checkpoint"
            )
            raise
    rewards = _rewards(trained.folder.path / "metrics.jsonl") if first else []
    early, late = (sum(part) / max(len(part), 1) for part in (rewards[:LAST], rewards[-LAST:]))
    summary = {
        "objective": config.objective,
        "steps": config.steps,
        f"reward, first {LAST} steps": early,
        f"reward, last {LAST} steps": late,
        "seconds": time.perf_counter() - start,
        "folder": config.out,
    }
    report = {"passed": True, "summary": summary, "config": config.to_dict()}
    if first and config.report_questions:
        say("comparing the model with what it was")
        questions, temperature = config.report_questions, config.temperature
        report["change"] = before_and_after(
            trained.initial, trained.policy, trained.task, questions, temperature=temperature
        )
    return report


def _rewards(path: Path) -> list[float]:
    """Mean reward of every step of the run, those before a resume among them."""
    return [json.loads(line)["reward"] for line in path.read_text(encoding="utf-8").splitlines()]


def _now(rows: list[dict[str, Any]]) -> str:
    """Reward, KL to the initial model when it was last measured, tokens a second.

    >>> measured = {"reward": 0.1, "kl_to_initial": 0.25, "step_tokens": 90, "step_time": 0.1}
    >>> _now([measured, {"reward": 0.2, "step_tokens": 100, "step_time": 0.1}])
    'reward 0.200 KL 0.250 1,000 tokens/s'
    """
    row = rows[-1]
    known = [x for x in (past.get("kl_to_initial") for past in reversed(rows)) if x is not None][:1]
    kl = f" KL {known[0]:.3f}" if known else ""
    return f"reward {row['reward']:.3f}{kl} {row['step_tokens'] / row['step_time']:,.0f} tokens/s"
