"""How every benchmark measures, and what it reports: a ratio within one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gnivo_edu.statistics import median_interval

Progress = Callable[[str], None] | None
Row = dict[str, Any]

SHORTEST = 0.02  # seconds: what takes less is measured over several calls
LARGER = ("tokens/s", "share")  # units of which more is better; of the others less is


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
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Runs]:
    """Time each call `repeats` times, in turn, so that what slows the machine meets all of them.

    A call gets the number of its repeat. Every second round goes backward, so that none is always
    the first. Before the first round each is made once, unmeasured; short calls are made several
    times for one measurement, and an accelerator is waited for. `threads`: of torch meanwhile (all
    that it has, by default). `clock`: `time.process_time` for calls of one thread, which then other
    processes hardly disturb.

    >>> race({"add": lambda repeat: repeat + 1}, repeats=3)["add"].results
    [1, 2, 3]
    """
    runs = {name: Runs() for name in calls}
    with _threads(threads):
        times = {}
        for name, call in calls.items():
            if progress:
                progress(f"{label}{name}: once, unmeasured")
            seconds, _ = _timed(call, 0, times=1, clock=clock)
            times[name] = max(1, int(SHORTEST / max(seconds, 1e-7)))
        for repeat in range(repeats):
            order = list(calls) if repeat % 2 == 0 else list(calls)[::-1]
            for name in order:
                if progress:
                    progress(f"{label}{name}: run {repeat + 1} of {repeats}")
                seconds, result = _timed(calls[name], repeat, times=times[name], clock=clock)
                runs[name].seconds.append(seconds)
                runs[name].results.append(result)
    return runs


def _timed(
    call: Callable[[int], Any], repeat: int, times: int, clock: Callable[[], float]
) -> tuple[float, Any]:
    """Seconds of one call, and what the last one returned."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    begun = clock()
    for _ in range(times):
        result = call(repeat)
    wait()
    return (clock() - begun) / times, result


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """torch on so many threads, and then on as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ratio_row(
    case: str,
    ours: ArrayLike,
    peer: ArrayLike,
    unit: str,
    bound: float | None = None,
    note: str = "",
) -> Row:
    """One row of a benchmark: medians, and the ratio repeat by repeat, written so that larger is
    better for us.

    `unit` "tokens/s" and "share" are better when larger; seconds and bytes when smaller. `ratio`
    is the median over the pairs, `interval` one of 95% (`median_interval`). `bound`: what the ratio
    is to be at least; it `holds` where the low end of the interval is.

    >>> row = ratio_row("half the time", ours=[1.0, 2.0], peer=[2.0, 4.0], unit="s", bound=1.5)
    >>> row["ratio"], row["interval"], row["peer"], row["holds"]
    (2.0, [2.0, 2.0], 3.0, True)
    """
    quotients = np.array(ours) / np.array(peer)
    ratios = quotients if unit in LARGER else 1 / quotients
    return _row(case, ours, peer=peer, ratios=ratios, unit=unit, bound=bound, note=note)


def slope_row(
    case: str,
    x: Sequence[float],
    runs: ArrayLike,
    bound: float | None = None,
    **labels: str,
) -> Row:
    """How a cost grows with x: the slope of each run, its costs [points], in logarithms, against a
    slope of 1. `labels`: `x_label`, `y_label` and `series` of the curve.

    The ratio is the smaller of slope and 1/slope, of the median and of the ends of its interval: it
    falls below 1 on both sides.

    >>> row = slope_row("twice", [1, 2, 4], [[3, 6, 12]], x_label="x", y_label="s", series="a")
    >>> round(row["ours"], 9), round(row["ratio"], 9)
    (1.0, 1.0)
    """
    logs = np.log(np.array(runs, dtype=np.float64))
    slopes = np.polyfit(np.log(np.array(x, dtype=np.float64)), logs.T, 1)[0]
    row = _row(case, slopes, peer=np.ones(len(slopes)), ratios=slopes, unit="slope", bound=bound)
    low, high = row["interval"]
    ends = sorted(min(slope, 1 / slope) for slope in (low, high))
    row["interval"] = [ends[0], 1.0 if low <= 1 <= high else ends[1]]
    extremes = [min(slope, 1 / slope) for slope in (slopes.min(), slopes.max())]
    row["ratio"] = min(row["ratio"], 1 / row["ratio"])
    row["ratio_min"], row["ratio_max"] = float(min(extremes)), row["interval"][1]
    row["holds"] = None if bound is None else ends[0] >= bound
    series = {labels["series"]: np.median(np.exp(logs), 0).tolist()}
    return row | {"curve": curve(x, series, labels["x_label"], y_label=labels["y_label"], slope=1)}


def curve(
    x: Sequence[float], series: Mapping[str, Sequence[float]], x_label: str, **about: Any
) -> dict[str, Any]:
    """What a row shows as a figure: positive `series` over `x`; `about`: the `y_label`, and the
    `slope` that is expected of each, or of those that it names.
    """
    slope = about.pop("slope", {})
    predicted = slope if isinstance(slope, dict) else dict.fromkeys(series, slope)
    listed = {name: [float(value) for value in values] for name, values in series.items()}
    return {"x": list(x), "series": listed, "predicted": predicted, "x_label": x_label, **about}


def plain_row(case: str, ours: ArrayLike, unit: str, note: str = "") -> Row:
    """A row of what has no peer."""
    median = {
        "ours": float(np.median(np.asarray(ours, dtype=np.float64))),
        "unit": unit,
        "better": "larger",
    }
    return missing_row(case, note) | median


def missing_row(case: str, why: str) -> Row:
    """A row of something that cannot be measured here, with the reason in one line."""
    nothing = dict.fromkeys(
        ("ours", "peer", "ratio", "ratio_min", "ratio_max", "unit", "better", "interval")
    )
    return {"case": case} | nothing | {"pairs": 0, "bound": None, "holds": None, "note": why}


def _row(
    case: str,
    ours: Any,
    peer: Any,
    ratios: Any,
    unit: str,
    bound: float | None,
    note: str = "",
) -> Row:
    low, high = median_interval(ratios)
    return {
        "case": case,
        "ours": float(np.median(ours)),
        "peer": float(np.median(peer)),
        "ratio": float(np.median(ratios)),
        "ratio_min": float(np.min(ratios)),
        "ratio_max": float(np.max(ratios)),
        "unit": unit,
        "better": "larger",
        "interval": [low, high],
        "pairs": len(ratios),
        "bound": bound,
        "holds": None if bound is None else low >= bound,
        "note": note,
    }
