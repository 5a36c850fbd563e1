"""A few worker processes that answer requests, each within a time limit or not at all."""

from __future__ import annotations

import atexit
import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

START_LIMIT = (
    120.0  # seconds until a worker must be ready: it imports sympy, perhaps on a busy machine
)


class WorkerPool:
    """Runs `script` in up to `workers` processes; a request that takes longer than `timeout`
    seconds is stopped.

    A worker prints "ready" as JSON, or what it lacks, then one line of JSON for each line that it
    reads. Processes start when they are needed; one that is stopped is killed, waited for, and
    replaced. Requests may come from any thread. Workers end when `close` is called, or when the
    process that holds the pool does.
    """

    def __init__(self, script: str | Path, workers: int, timeout: float) -> None:
        if workers < 1 or timeout <= 0:
            raise ValueError(
                f"workers must be at least 1 and timeout above 0 seconds, got {workers} and "
                f"{timeout}"
            )
        self.script, self.timeout = str(script), timeout
        self._idle: queue.Queue[subprocess.Popen[str] | None] = queue.Queue()
        for _ in range(workers):
            self._idle.put(None)  # a place for a worker that is not started yet
        self._workers = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="worker-pool")
        atexit.register(self.close)

    def map(self, requests: Sequence[Any]) -> list[Any]:
        """The reply to each request, in their order; None where a worker was stopped or died."""
        return list(self._threads.map(self._ask, requests))

    def close(self) -> None:
        """End the workers that are idle; the pool can be used again."""
        for _ in range(self._workers):
            process = self._idle.get()
            if process is not None:
                _kill(process)
            self._idle.put(None)

    def _ask(self, request: Any) -> Any:
        process = self._idle.get()
        try:
            for _ in range(2):  # a worker that died before this request is no fault of the request
                process = process or self._start()
                start = time.monotonic()
                reply = _exchange(process, json.dumps(request), self.timeout)
                if reply is not None:
                    return reply
                _kill(process)
                process = None
                if time.monotonic() - start >= self.timeout:
                    break
            return None
        finally:
            self._idle.put(process)

    def _start(self) -> subprocess.Popen[str]:
        # -P: the folder of the script does not come first on the path, where its files could hide
        # libraries.
        process = subprocess.Popen(
            [sys.executable, "-P", self.script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        reply = _exchange(process, None, START_LIMIT)
        if reply != "ready":
            _kill(process)
            raise ValueError(reply or f"the worker {self.script} did not start")
        return process


def _exchange(process: subprocess.Popen[str], line: str | None, timeout: float) -> Any:
    """Send a line, if any, and wait for the reply; None where the process is killed or dead before
    it replied.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    alarm = threading.Timer(timeout, process.kill)
    alarm.daemon = True
    alarm.start()
    try:
        if line is not None:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        reply = process.stdout.readline()
    except OSError:
        return None
    finally:
        alarm.cancel()
    return json.loads(reply) if reply.endswith("\n") else None


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was left to write has no reader any more
                pipe.close()
