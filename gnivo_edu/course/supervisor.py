"""The process above a submission: `python -m gnivo_edu.course.supervisor '{...}'`, started by the
grader. What it is told, in JSON, is in `main`; the pipe `life` ends with the grader.

It sets the stage, starts the submission in a child, and ends everything when the grader or the
submission has ended. In the *strong* form it is process 1 of a PID namespace, so that nothing in
there outlives it, and it builds the file system that the submission sees: read-only Python and what
Python needs, an empty home with the student's own files, no grader, no other student, no answer
key. In the *weak* form it takes over processes that lose their parent, and kills what is below it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import re
import signal
import site
import stat
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gnivo_edu.course import submission

# Numbers of the kernel's interface, the same on every processor.
BIND, RECURSIVE, NOSUID, NODEV, NOEXEC = 0x1000, 0x4000, 0x2, 0x4, 0x8
DETACH = 2
SUBREAPER, NO_NEW_PRIVILEGES, DROP_CAPABILITY = 36, 38, 24
MOUNT_SETATTR, PIVOT_ROOT = 442, {"x86_64": 155, "aarch64": 41}
HERE, AT_RECURSIVE = -100, 0x8000
# Processes that a submission may have at a time, the exit status where it had more, and how many,
# threads too, the kernel lets it have, so that this is seen in time.
MOST_PROCESSES, FLOODED, MOST_TASKS = 200, 113, 320
MOST, MOST_FILES = 64 * 2**20, 2000  # bytes and number of the student's files that are copied


def main() -> None:
    """Set the stage, start the submission, wait for the end of it or of the grader."""
    told = json.loads(sys.argv[1])
    sys.prefix = sys.exec_prefix = told["prefix"]  # what Python does itself unless it is told -S
    site.setquit()
    site.sethelper()
    home = Path(told["scratch"])
    if told["root"] is not None:
        home = build_root(home, told["root"], told["hide"], told["student"])
        drop_privileges()
        check_modules()
        os.write(1, b'{"stage": "set"}\n')
    else:
        become_subreaper()
        copy_files(told["student"], home)
    place = home / told["place"]
    with contextlib.suppress(OSError):  # the notebook may lie alone in its folder: `../data`
        place.mkdir(parents=True, exist_ok=True)
    os.chdir(place if place.is_dir() else home)
    os.environ["HOME"] = str(home)
    gc.freeze()  # what is shared with the child from here on is not to be touched, and so copied
    gc.enable()
    worker = os.fork()
    if worker == 0:
        os.close(told["life"])
        if told["root"] is not None:
            os.setsid()  # a session of its own: Linux shares processors out by sessions
        submission.main(told["seconds"])
        os._exit(0)
    os.close(0)
    os.close(1)
    threading.Thread(target=_end_with, args=(told["life"],), daemon=True).start()
    if told["root"] is not None:
        threading.Thread(target=_end_floods, daemon=True).start()
    status = _status_of(worker)
    _end(status)


def _status_of(worker: int) -> int:
    """The worker's exit status, 128 and more for a signal; others that end are buried."""
    while True:
        process, status = os.wait()
        if process == worker:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _end_with(life: int) -> None:
    os.read(life, 1)  # nothing is ever written: this returns when the grader closes it, or ends
    _end(0)


def _end_floods() -> None:
    """End it all once there are too many processes: a limit alone would leave a flood to fail and
    try again until its time is up.
    """
    try:
        while sum(name.isdigit() for name in os.listdir("/proc")) <= MOST_PROCESSES:
            time.sleep(0.05)
    except OSError:  # a container may forbid to mount it
        return
    _end(FLOODED)


def _end(status: int) -> None:
    if os.getpid() != 1:  # the end of process 1 is that of its namespace
        kill_below(os.getpid())
    os._exit(status)


# --- processes ------------------------------------------------------------------------------------


def become_subreaper() -> None:
    """Linux: processes below this one that lose their parent become children of this one."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0)


def below(process: int) -> list[int]:
    """The processes below one, from the tables in /proc; empty where there is none."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:  # it has just ended
            continue
        if fields[0] not in (b"Z", b"X"):
            parents[int(entry.name)] = int(fields[1])
    tree = [process]
    for one in tree:  # grows
        tree += [child for child, parent in parents.items() if parent == one]
    return tree[1:]


def kill_below(process: int, seconds: float = 5.0) -> None:
    """Kill every process below one, and those that they start meanwhile: stopped first, so that
    they start no others.
    """
    end = time.monotonic() + seconds
    while (found := below(process)) and time.monotonic() < end:
        for send in (signal.SIGSTOP, signal.SIGKILL):
            for one in found:
                with contextlib.suppress(OSError):
                    os.kill(one, send)
        time.sleep(0.005)


# --- files ----------------------------------------------------------------------------------------


def copy_files(source: str | None, target: Path) -> None:
    """Copy a student's own regular files, but for notebooks and hidden ones, as far as `MOST` and
    `MOST_FILES` go.
    """
    left = MOST
    for file, size in islice(_own_files(Path(source)), MOST_FILES) if source else ():
        if size > left:
            return
        left -= size
        place = target / file.relative_to(source or "")
        place.parent.mkdir(parents=True, exist_ok=True)
        import shutil  # takes as long as the rest of this module, and few have files

        try:
            shutil.copyfile(file, place, follow_symlinks=False)
        except OSError:  # not readable: then it is not there
            continue


def _own_files(folder: Path) -> Iterator[tuple[Path, int]]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            try:
                told = os.lstat(os.path.join(where, name))
            except OSError:  # gone meanwhile
                continue
            hidden = name.startswith(".") or name.lower().endswith(".ipynb")
            if stat.S_ISREG(told.st_mode) and not hidden:
                yield Path(where, name), told.st_size


# --- the strong form: a file system of its own ----------------------------------------------------


def build_root(scratch: Path, shown: list[str], hide: list[str], student: str | None) -> Path:
    """Make a small file system the root of this process; returns the home folder in it.

    `shown` are folders and files that are there, read-only; `hide` what is not, even inside those.
    Raises OSError where the kernel does not allow it. Only inside a mount namespace of its own.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
        texts = [None if t is None else os.fsencode(t) for t in (source, target, kind)]
        if libc.mount(*texts, ctypes.c_ulong(flags), os.fsencode(data)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)

    root = str(scratch)
    mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "size=256m,mode=755")
    for path in sorted(shown):
        inside = root + path
        if os.path.islink(path):  # /lib of many systems
            os.makedirs(os.path.dirname(inside), exist_ok=True)
            os.symlink(os.readlink(path), inside)
        elif os.path.exists(path) and not os.path.exists(inside):
            _make_place(path, inside)
            mount(path, inside, None, BIND | RECURSIVE)
            _read_only(libc, inside)
    for path in hide:
        inside = root + path
        if not any(f"{path}/".startswith(f"{whole}/") for whole in shown):
            continue  # it is not there at all, or holds what has to be
        if os.path.isdir(inside):
            mount("tmpfs", inside, "tmpfs", NOSUID | NODEV | NOEXEC, "size=4k,mode=555")
        elif os.path.exists(inside):
            mount("/dev/null", inside, None, BIND)
    for folder in ("submission", "tmp", "dev/shm", "proc", "old"):
        os.makedirs(f"{root}/{folder}", exist_ok=True)
    for device in ("null", "zero", "full", "random", "urandom"):
        _make_place(f"/dev/{device}", f"{root}/dev/{device}")
        mount(f"/dev/{device}", f"{root}/dev/{device}", None, BIND)
    copy_files(student, Path(root, "submission"))
    with contextlib.suppress(OSError):  # a container may forbid it; Python does without
        mount("proc", f"{root}/proc", "proc", NOSUID | NODEV | NOEXEC)
        settings = f"{root}/proc/sys"
        limit_tasks(Path(settings, "kernel", "pid_max"))
        mount(settings, settings, None, BIND)
        _read_only(libc, settings)
    number = PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(f"no number of pivot_root is known for {os.uname().machine}")
    os.chdir(root)
    if libc.syscall(number, b".", b"old"):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), root)
    os.chdir("/")
    if libc.umount2(b"/old", DETACH):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "/old")
    os.rmdir("/old")
    os.environ["TMPDIR"] = "/tmp"
    return Path("/submission")


def limit_tasks(setting: Path) -> None:
    """Let the processes below have no more than `MOST_TASKS` threads in all, as far as the kernel
    knows how: of root it limits none by RLIMIT_NPROC, and before Linux 6.14 the other setting is
    the whole machine's.
    """
    import resource  # Windows has none

    resource.setrlimit(resource.RLIMIT_NPROC, (MOST_TASKS, MOST_TASKS))
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if version and (int(version[1]), int(version[2])) >= (6, 14):
        setting.write_text(str(MOST_TASKS))


def _make_place(path: str, inside: str) -> None:
    """An empty folder or file to mount another on."""
    if os.path.isdir(path):
        os.makedirs(inside, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(inside), exist_ok=True)
        Path(inside).touch()


def _read_only(libc: ctypes.CDLL, path: str) -> None:
    """Make a mount and all that is mounted inside it read-only."""
    attributes = (ctypes.c_uint64 * 4)(0x1 | NOSUID, 0, 0, 0)  # set, clear, propagation, user
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    if libc.syscall(
        MOUNT_SETATTR, HERE, os.fsencode(path), AT_RECURSIVE, ctypes.byref(attributes), size
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)


def check_modules() -> None:
    """OSError unless the files of all modules so far are there: Python's, numpy's and ours."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None and not file.startswith("<"):
            os.stat(file)


def drop_privileges() -> None:
    """Give up, for this process and all below it, the rights that the set-up needed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    for capability in range(64):
        libc.prctl(DROP_CAPABILITY, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    if libc.capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "the rights of the set-up cannot be given up")


if __name__ == "__main__":
    main()
