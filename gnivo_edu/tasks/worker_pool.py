"""A few worker processes that answer requests, each within a time limit or not at all."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any


class WorkerPool:
    """Runs `function` in up to `workers` processes; a request that takes longer than `timeout`
    seconds is stopped.

    A new interpreter imports the module of `function` and nothing of the caller's, then calls
    `initializer`, which the time limit does not count. A process that is stopped, or that dies, is
    replaced. Requests may come from any thread. Processes end when `close` is called, or when the
    process that holds the pool does.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        workers: int,
        timeout: float,
        initializer: Callable[[], None] | None = None,
    ) -> None:
        if workers < 1 or not 0 < timeout < math.inf:
            raise ValueError(
                f"workers must be at least 1 and timeout above 0 seconds, got {workers} and "
                f"{timeout}"
            )
        self.function = function
        self.workers = workers
        self.timeout = timeout
        self.initializer = initializer
        self._lock = threading.Lock()
        self._pool: Any = None

    def map(self, requests: Sequence[Any]) -> list[Any]:
        """The reply to each request, in their order; None where a worker was stopped or died.

        Raises what `function` raises, and ValueError where processes end before they can answer.
        """
        if not requests:
            return []
        for _ in range(2):
            pool = self._running()
            futures: list[Future[Any]] = []
            try:
                for request in requests:
                    futures.append(
                        pool.schedule(self.function, args=(request,), timeout=self.timeout)
                    )
                return [_reply(pool, future) for future in futures]
            except RuntimeError:
                # A worker that is killed while it waits takes pebble's whole pool with it. That is
                # no fault of these requests: a new pool answers them.
                if pool.active:
                    raise
            finally:
                for future in futures:  # those that nobody waits for any more, after an interrupt
                    future.cancel()
        raise ValueError(f"the workers of {self.function.__name__} end before they can answer")

    def close(self) -> None:
        """End the workers; the pool can be used again."""
        with self._lock:
            if self._pool is not None:
                self._pool.stop()
                self._pool.join()
                self._pool = None

    def _running(self) -> Any:
        from pebble import ProcessPool

        with self._lock:
            if self._pool is None or not self._pool.active:
                self._pool = ProcessPool(
                    self.workers, initializer=self.initializer, context=_Context()
                )
            return self._pool


def _reply(pool: Any, future: Future[Any]) -> Any:
    from pebble import ProcessExpired

    # A pool that breaks while it takes a request forgets it: so ask for both now and then.
    while not wait([future], timeout=1.0).done:
        if not pool.active:
            raise RuntimeError("the pool is broken")
    try:
        return future.result()
    except (TimeoutError, ProcessExpired):
        return None


class _Process(SpawnProcess):
    """A new interpreter that does not import the caller's script: one without a guard around its
    main part would run again in every worker.
    """

    _one_at_a_time = threading.Lock()

    def start(self) -> None:
        """Start while a bare module stands in for the main one."""
        with self._one_at_a_time:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


class _Context(SpawnContext):
    Process = _Process
