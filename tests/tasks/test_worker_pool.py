"""Worker processes: what takes too long is killed, what dies is replaced, and nothing else is
disturbed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gnivo_edu.tasks.worker_pool import WorkerPool

SCRIPT = """
import json, os, sys
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request == "endless":
        sum(range(10**15))  # one call into C: no alarm of Python's own interrupts it
    if request == "die":
        os._exit(1)
    print(json.dumps([os.getpid(), request]), flush=True)
"""


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WorkerPool]:
    (tmp_path / "worker.py").write_text(SCRIPT)
    pool = WorkerPool(tmp_path / "worker.py", workers=2, timeout=1.0)
    yield pool
    pool.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_request_that_takes_too_long_is_killed_and_the_others_are_answered(
    tmp_path: Path,
) -> None:
    (tmp_path / "worker.py").write_text(SCRIPT)
    pool = WorkerPool(tmp_path / "worker.py", workers=1, timeout=1.0)
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


def test_a_worker_that_was_killed_from_outside_costs_nothing(pool: WorkerPool) -> None:
    pids = {pid for pid, _ in pool.map(list(range(8)))}
    for pid in pids:
        os.kill(pid, 9)
    assert [request for _, request in pool.map(list(range(8)))] == list(range(8))


def test_a_request_that_kills_its_worker_gets_no_reply(pool: WorkerPool) -> None:
    replies = pool.map(["die", 1, "die", 2])
    assert [reply and reply[1] for reply in replies] == [None, 1, None, 2]


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


def test_workers_end_with_the_process_that_holds_them(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "worker.py").write_text(SCRIPT)
    code = (
        "import os, sys; from gnivo_edu.tasks.worker_pool import WorkerPool\n"
        "print(WorkerPool(sys.argv[1], 1, 5.0).map([0])[0][0], flush=True); os._exit(1)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "worker.py")], capture_output=True, check=False
    )
    pid = int(out.stdout)
    for _ in range(100):
        if not alive(pid):
            return
        time.sleep(0.1)
    pytest.fail("the worker outlives its parent")


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "lacks.py").write_text("import json; print(json.dumps('needs flour'), flush=True)")
    with pytest.raises(ValueError, match="needs flour"):
        WorkerPool(tmp_path / "lacks.py", 1, 1.0).map([1])
    (tmp_path / "broken.py").write_text("1 +")
    with pytest.raises(ValueError, match="did not start"):
        WorkerPool(tmp_path / "broken.py", 1, 1.0).map([1])
    with pytest.raises(ValueError, match="at least 1"):
        WorkerPool("worker.py", 0, 1.0)
