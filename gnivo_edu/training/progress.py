"""A run with a bar: reward, KL, tokens a second, the time that is left; and a summary at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.fine_tune import fine_tune

LAST = 10  # steps that the summary averages at either end


def train_with_progress(config: TrainConfig, resume: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run `fine_tune` with a bar on standard error (in a terminal); returns what `train --json` prints."""
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    columns = ("{task.description}", BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn())
    shown = [TextColumn(c) if isinstance(c, str) else c for c in columns]
    console = Console(stderr=True)
    with Progress(*shown, TextColumn("{task.fields[now]}"), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{config.objective} on {config.task}", total=config.steps, now="")

        def on_step(row: dict[str, Any]) -> None:
            rows.append(row)
            kl = f" KL {row['kl']:.3f}" if "kl" in row else f" log-ratio {row['logratio']:+.3f}"
            rate = row["num_tokens"] / row["step_time"]
            bar.update(task, completed=row["step"] + 1, now=f"reward {row['reward']:.3f}{kl} {rate:,.0f} tokens/s")

        fine_tune(config, resume, say, on_step)
    first, last = (sum(row["reward"] for row in part) / max(len(part), 1) for part in (rows[:LAST], rows[-LAST:]))
    summary = {
        "objective": config.objective,
        "steps": config.steps,
        f"reward, first {LAST} steps": first,
        f"reward, last {LAST} steps": last,
        "seconds": time.perf_counter() - start,
        "folder": config.out,
    }
    return {"passed": True, "summary": summary, "config": config.to_dict()}
