"""Worker processes: what takes too long is killed, what dies is replaced, and nothing else is
disturbed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gnivo_edu.tasks.worker_pool import WorkerPool
from tests.tasks.echo_worker import echo, quick_to_stop, refuse

ROOT = Path(__file__).resolve().parents[2]


def make_pool(workers: int, timeout: float = 1.0) -> WorkerPool:
    return WorkerPool(echo, workers, timeout, initializer=quick_to_stop)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = make_pool(workers=2)
    yield pool
    pool.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ends(pid: int) -> bool:
    for _ in range(300):
        if not alive(pid):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_a_request_that_takes_too_long_is_killed_and_the_others_are_answered() -> None:
    pool = make_pool(workers=1)
    ((before, _),) = pool.map(["a"])
    start = time.monotonic()
    replies = pool.map(["b", "endless", "c"])
    assert time.monotonic() - start < 30
    assert [reply and reply[1] for reply in replies] == ["b", None, "c"]
    assert replies[0][0] == before
    assert not alive(before)
    after = replies[2][0]
    assert after != before
    assert alive(after)
    pool.close()
    assert not alive(after)
    assert pool.map(["d"])[0][1] == "d"  # a closed pool starts again
    pool.close()


@pytest.mark.slow
def test_a_worker_that_was_killed_from_outside_costs_nothing(pool: WorkerPool) -> None:
    for pause in (0.0, 0.5):  # before the pool has noticed, and after
        for pid in {pid for pid, _ in pool.map(list(range(8)))}:
            os.kill(pid, signal.SIGKILL)
        time.sleep(pause)
        assert [request for _, request in pool.map(list(range(8)))] == list(range(8))


def test_a_request_that_kills_its_worker_gets_no_reply(pool: WorkerPool) -> None:
    replies = pool.map(["die", 1, "die", 2])
    assert [reply and reply[1] for reply in replies] == [None, 1, None, 2]


def test_replies_stand_in_the_order_of_the_requests(pool: WorkerPool) -> None:
    requests = list(range(200))
    assert [request for _, request in pool.map(requests)] == requests
    assert pool.map([]) == []


def test_what_the_function_raises_reaches_the_caller_and_the_pool_lives(pool: WorkerPool) -> None:
    with pytest.raises(LookupError, match="no flour"):
        pool.map([1, "raise", 2])
    assert [request for _, request in pool.map([3, 4])] == [3, 4]


def test_requests_come_from_any_thread(pool: WorkerPool) -> None:
    found: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append([r for _, r in pool.map([n] * 5)]))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [[n] * 5 for n in range(4)]


# No guard around the main part: a worker that imported this script would run it again.
SCRIPT = """
import os, sys, threading
sys.path.insert(0, {root!r})
print("once", flush=True)
from gnivo_edu.tasks.worker_pool import WorkerPool
from tests.tasks.echo_worker import echo, quick_to_stop
pool = WorkerPool(echo, 1, 60.0, initializer=quick_to_stop)
print(pool.map([0])[0][0], flush=True)
{then}
"""


def run_script(folder: Path, then: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT.format(root=str(ROOT), then=then))
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("then", ["", "sys.exit(1)", "os._exit(1)"])
@pytest.mark.slow
def test_a_script_without_a_guard_runs_once_and_its_workers_end_with_it(
    tmp_path: Path, then: str
) -> None:
    script = run_script(tmp_path, then)
    out, _ = script.communicate(timeout=120)
    once, pid = out.split()
    assert once == "once"
    assert ends(int(pid))
    assert script.returncode == (1 if then else 0)


@pytest.mark.slow
def test_an_interrupt_ends_the_caller_and_its_workers_at_once(tmp_path: Path) -> None:
    script = run_script(tmp_path, "pool.map(['endless'] * 3)")
    assert script.stdout is not None
    _, pid = script.stdout.readline(), int(script.stdout.readline())
    time.sleep(0.5)
    start = time.monotonic()
    os.killpg(script.pid, signal.SIGINT)  # what a terminal sends, to the workers as well
    _, said = script.communicate(timeout=120)
    assert time.monotonic() - start < 20
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert ends(pid)


def test_a_worker_that_cannot_start_is_one_line() -> None:
    with pytest.raises(ValueError, match="the workers of echo end before they can answer"):
        WorkerPool(echo, 1, 1.0, initializer=refuse).map([1])
    with pytest.raises(ValueError, match="at least 1"):
        make_pool(workers=0)
