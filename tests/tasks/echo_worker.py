"""What the tests of the worker pool let their workers do; it imports nothing large."""

from __future__ import annotations

import os
import signal
from typing import Any


def quick_to_stop() -> None:
    """End at SIGTERM even in the midst of one call into C."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def refuse() -> None:
    """A worker that cannot start."""
    os._exit(1)


def echo(request: Any) -> tuple[int, Any]:
    """The number of this process, and the request."""
    if request == "endless":
        sum(range(10**15))  # one call into C: no alarm of Python's own interrupts it
    if request == "die":
        os._exit(1)
    if request == "raise":
        raise LookupError("no flour")
    return os.getpid(), request
