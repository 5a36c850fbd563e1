"""What every benchmark reports: a ratio within one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def ratio_row(case: str, ours: list[float], peer: list[float], unit: str) -> dict[str, Any]:
    """One row of a benchmark: medians, and the ratio repeat by repeat, written so that larger is
    better for us.

    `unit` "tokens/s" is better when larger; seconds and bytes when smaller.
    """
    faster = np.array(ours) / np.array(peer)
    ratios = faster if unit == "tokens/s" else 1 / faster
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


def seconds_of(call: Callable[[], object]) -> float:
    """Wall time of one call, in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
