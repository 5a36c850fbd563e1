"""Plain values in words, so that two of them can be compared by a hash: numbers, texts, arrays,
tensors, weights, and collections of these.
"""

from __future__ import annotations

import hashlib
import os
import time
from datetime import datetime
from typing import Any

import numpy as np
import torch
from torch import nn

DEEPEST = 8  # collections within collections
DAY = 86_400.0
FINE = 9  # letters of a reading of a stopwatch; a setting has fewer, as a rule
FINE_WHOLE = 10**11  # nanoseconds, a minute or two


def in_words(x: Any, depth: int = DEEPEST) -> str | None:
    """A plain value in words; None for what is none, for the name of a place, and for a moment of
    this process: these decide no number of a run.

    >>> in_words([1, 0.5]), in_words(print)
    ("list ['int 1', 'float 0.5']", None)
    """
    if depth == 0 or (isinstance(x, str) and os.path.isabs(x)) or is_moment(x):
        return None
    kind = type(x).__name__
    if x is None or isinstance(x, (bool, int, float, complex, str, bytes, np.generic)):
        return f"{kind} {x!r}"
    if isinstance(x, nn.Module):
        weights = {name: in_words(p) for name, p in x.state_dict().items()}
        return f"{kind} {digest(repr(weights).encode())}"
    if isinstance(x, torch.Tensor):
        if x.is_meta or x.requires_grad or x.layout != torch.strided:
            return None
        flat = x.detach().cpu().contiguous().reshape(-1)
        return f"{x.dtype} {list(x.shape)} {digest(flat.view(torch.uint8).numpy().data)}"
    if isinstance(x, np.ndarray):
        if x.dtype.hasobject:
            return None
        return f"{x.dtype} {x.shape} {digest(np.ascontiguousarray(x).tobytes())}"
    if isinstance(x, dict):
        pairs = ((repr(name), in_words(part, depth - 1)) for name, part in x.items())
        return f"{kind} {sorted(pair for pair in pairs if pair[1] is not None)}"
    if isinstance(x, (list, tuple, set, frozenset)):
        parts = [text for part in x if (text := in_words(part, depth - 1)) is not None]
        return f"{kind} {sorted(parts) if isinstance(x, (set, frozenset)) else parts}"
    return None


def digest(data: Any) -> str:
    """SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def is_moment(x: Any) -> bool:
    """Whether a value can only be a reading of a clock since this machine was started: of the time
    of day, as a number or in ISO form, or of a stopwatch.

    >>> is_moment(time.time()), is_moment(time.perf_counter_ns()), is_moment(0.5)
    (True, True, False)
    """
    now, up = time.time(), time.monotonic()
    if isinstance(x, str):
        try:
            # A time without its zone may be that of any zone.
            return now - up - DAY <= datetime.fromisoformat(x).timestamp() <= now + DAY
        except (ValueError, OverflowError, OSError):
            return False
    if isinstance(x, bool) or not isinstance(x, (int, float)) or not abs(x) < 1e20:
        return False
    for unit in (1, 1e3, 1e6, 1e9):
        if now - up - 1 <= x / unit <= now:
            return True
    if isinstance(x, int):
        fine, x = x > FINE_WHOLE, x / 1e9
    else:
        fine = len(repr(x)) > FINE
    # Stopwatches count from the start of the machine.
    clocks = (time.monotonic(), time.perf_counter())
    return fine and x != int(x) and any(max(1.0, clock - DAY) <= x <= clock for clock in clocks)
