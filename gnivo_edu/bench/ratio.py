"""How every benchmark measures, and what it reports: a ratio within one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Progress = Callable[[str], None] | None


@dataclass
class Runs:
    """Seconds that a call took, repeat by repeat, and what it returned."""

    seconds: list[float] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)


def race(
    calls: Mapping[str, Callable[[int], Any]],
    repeats: int,
    progress: Progress = None,
    label: str = "",
    threads: int | None = None,
) -> dict[str, Runs]:
    """Time each call `repeats` times, in turn, so that what slows the machine meets all of them.

    A call gets the number of its repeat. torch's timer measures it on `threads` threads (all that
    torch has, by default): it waits for an accelerator, lets every measured run follow an
    unmeasured one, and repeats short calls until the clock can tell them from nothing.

    >>> race({"add": lambda repeat: repeat + 1}, repeats=3)["add"].results
    [1, 2, 3]
    """
    import torch
    from torch.utils.benchmark import Timer

    runs = {name: Runs() for name in calls}
    for repeat in range(repeats):
        for name, call in calls.items():
            if progress:
                progress(f"{label}{name}: run {repeat + 1} of {repeats}")
            scope: dict[str, Any] = {"call": call, "repeat": repeat, "result": [None]}
            timer = Timer(
                "result[0] = call(repeat)",
                globals=scope,
                num_threads=threads or torch.get_num_threads(),
            )
            # The shortest time to ask for: one block of runs is measured, after the first one.
            runs[name].seconds.append(timer.blocked_autorange(min_run_time=1e-9).median)
            runs[name].results.append(scope["result"][0])
    return runs


def ratio_row(case: str, ours: Sequence[float], peer: Sequence[float], unit: str) -> dict[str, Any]:
    """One row of a benchmark: medians, and the ratio repeat by repeat, written so that larger is
    better for us.

    `unit` "tokens/s" and "share" are better when larger; seconds and bytes when smaller.

    >>> row = ratio_row("half the time", ours=[1.0, 2.0], peer=[2.0, 4.0], unit="s")
    >>> row["ratio"], row["ratio_min"], row["peer"]
    (2.0, 2.0, 3.0)
    """
    quotients = np.array(ours) / np.array(peer)
    ratios = quotients if unit in ("tokens/s", "share") else 1 / quotients
    return {
        "case": case,
        "ours": float(np.median(ours)),
        "peer": float(np.median(peer)),
        "ratio": float(np.median(ratios)),
        "ratio_min": float(ratios.min()),
        "ratio_max": float(ratios.max()),
        "unit": unit,
        "better": "larger",
    }
