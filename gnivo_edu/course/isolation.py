"""How a submission's process is kept apart, started and ended; the grader's side of
`gnivo_edu.course.supervisor`.

*Strong*, on Linux where unshare(1) may make user, PID, mount, network and IPC namespaces, which is
tried once: the submission sees no process, no file and no network but its own, and nothing of it
is alive after its end. *Weak* elsewhere, or where `GNIVO_ISOLATION=weak`: a process of its own, in
an empty folder and without your environment variables. At its end whatever it started is killed:
on Linux everything below it in the tree of processes, elsewhere its process group. But it runs with
your rights: it can read your files, use the network, and kill your processes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import gnivo_edu
from gnivo_edu.course import wire
from gnivo_edu.course.supervisor import kill_below

Form = Literal["strong", "weak"]
SAID = {
    "strong": "Each function ran in namespaces of its own: it saw no other file, no process, no "
    "network, and ended with all that it had started.",
    "weak": "Each function ran in a process of its own with your rights (weak form: no namespaces "
    "here); what it started was killed at its end.",
}
AS_ROOT = (
    "You are root: a submission could have ended every process here, and read and changed every "
    "file. Grade as another user, or where namespaces are allowed."
)
PASSED_ON = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
SPACES = ("--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts")
UNSHARE = ("unshare", *SPACES, "--fork", "--kill-child", "--")
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/nix/store")
PACKAGE = Path(gnivo_edu.__file__).resolve().parent
# The submission's process needs none of these, and they hold the answers.
ANSWERS = tuple(str(PACKAGE / "course" / name) for name in ("exercises", "check.py", "release.py"))


@dataclass(frozen=True)
class Place:
    """Where a notebook lies: the student's `folder`, whose files it may read, the notebook's own
    folder inside it, and the folder of the class, which is hidden.
    """

    folder: Path | None = None
    inside: Path = Path()
    hidden: tuple[Path, ...] = ()


@dataclass(eq=False)
class Started:
    """A submission's process, the pipes to it, and what ends with it."""

    process: subprocess.Popen[bytes]
    life: int
    scratch: tempfile.TemporaryDirectory[str]
    form: Form
    mark: str
    staged: bool = False

    @property
    def to(self) -> BinaryIO:
        """What the submission reads."""
        return cast(BinaryIO, self.process.stdin)

    @property
    def back(self) -> BinaryIO:
        """What it answers."""
        return cast(BinaryIO, self.process.stdout)

    def receive(self) -> dict[str, Any] | None:
        """Its next message, None at the end; OSError if it ends before its stage is set, when it
        has not seen a line of a submission.
        """
        message = wire.receive(self.back)
        if self.form == "strong" and not self.staged:
            if message != {"stage": "set"}:
                raise OSError("its process could not be kept apart")
            self.staged = True
            return wire.receive(self.back)
        return message

    def sets_its_stage(self) -> bool:
        """Wait until its stage is set, at most 20 s."""
        late = threading.Timer(20, self.process.kill)
        late.start()
        try:
            self.staged = wire.receive(self.back) == {"stage": "set"}
        except ValueError:
            pass
        finally:
            late.cancel()
        return self.staged

    def status(self) -> int:
        """Its exit status once it has ended, negative for a signal."""
        code = self.process.wait()
        return 128 - code if 128 < code < 193 else code

    def stop(self) -> None:
        """End it with all that it has started."""
        if self.form == "weak":
            kill_below(self.process.pid)
        os.close(self.life)  # its supervisor ends what is below it, and then itself
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except AttributeError:  # Windows
            self.process.kill()
        except (ProcessLookupError, PermissionError):
            pass
        self.process.wait()
        if self.form == "weak":
            _kill_marked(self.mark)
        self.scratch.cleanup()


_strong: list[bool] = []  # whether the strong form works here, once it has been tried
_trying = threading.Lock()


def form() -> Form:
    """The form in which submissions run here: strong, unless it was tried and did not work."""
    if os.environ.get("GNIVO_ISOLATION", "").strip().lower() == "weak" or sys.platform != "linux":
        return "weak"
    return "strong" if all(_strong) else "weak"


def said(form: Form) -> str:
    """What the form of isolation means, in whole sentences; as root, what the weak one does not
    keep off.
    """
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return f"{SAID[form]} {AS_ROOT}" if form == "weak" and root else SAID[form]


def start(place: Place, seconds: int) -> Started:
    """Start a submission's process, which waits for a notebook; it may use `seconds` of processor
    time. The first in the strong form shows whether that works here.
    """
    with _trying if not _strong else contextlib.nullcontext():
        if form() == "strong" and not _strong:
            with contextlib.suppress(OSError):  # no unshare(1)
                first = _start("strong", place, seconds)
                _strong[:] = [first.sets_its_stage()]
                if form() == "strong":
                    return first
                first.stop()
            _strong[:] = [False]
        return _start(form(), place, seconds)


def _start(form: Form, place: Place, seconds: int) -> Started:
    scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    mark = secrets.token_hex(16)
    environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ} | {
        "HOME": scratch.name,
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *_packages()]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "GNIVO_STATIC": "1",
        "GNIVO_SUBMISSION": mark,
    }
    reads, life = os.pipe()
    told = {
        "life": reads,
        "scratch": scratch.name,
        "root": _shown() if form == "strong" else None,
        "hide": [*ANSWERS, *(str(path) for path in place.hidden)],
        "student": None if place.folder is None else os.fspath(place.folder),
        "place": os.fspath(place.inside),
        "seconds": seconds,
        "prefix": sys.prefix,
    }
    # Without site (-S), which takes longer than the rest of Python: the supervisor does its part.
    # Nor does it look for garbage while it imports.
    run = "import gc; gc.disable(); from gnivo_edu.course.supervisor import main; main()"
    command = [sys.executable, "-S", "-c", run, json.dumps(told)]
    windows = sys.platform == "win32"  # has no fork
    if windows:
        command = [sys.executable, "-m", "gnivo_edu.course.submission", str(seconds)]
    try:
        process = subprocess.Popen(
            [*UNSHARE, *command] if form == "strong" else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=scratch.name,
            env=environment,
            start_new_session=True,
            pass_fds=() if windows else (reads,),
        )
    except OSError:
        os.close(life)
        scratch.cleanup()
        raise
    finally:
        os.close(reads)
    return Started(process, life, scratch, form, mark)


@functools.cache
def _packages() -> list[str]:
    """The folders of installed packages, but for those in somebody's home."""
    shared = {Path(path) for path in sys.path if Path(path).name.endswith("-packages")}
    return sorted(str(path) for path in shared - {Path(site.getusersitepackages())})


@functools.cache
def _shown() -> list[str]:
    """What a submission sees of the file system: the system's programs and libraries, Python, its
    packages, and the library.
    """
    binary = Path(sys.executable).resolve().parents[1]
    prefixes = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.exec_prefix), binary}
    paths = {Path(path) for path in SYSTEM}
    for prefix in prefixes:
        paths |= {prefix / name for name in ("bin", "lib", "lib64", "pyvenv.cfg")}
    paths |= {PACKAGE, PACKAGE.parent / "toy_envs"}
    return sorted(str(path) for path in paths if path.exists())


def _kill_marked(mark: str) -> None:
    """Kill what still carries a submission's mark in its environment: it has killed its supervisor
    and left its tree. Returns when it is gone, or after two seconds.
    """
    until = time.monotonic() + 2
    while _kill_each(mark) and time.monotonic() < until:
        time.sleep(0.02)


def _kill_each(mark: str) -> int:
    """How many processes carried the mark, and are killed: a signal takes its time."""
    killed = 0
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)
                killed += 1
        except OSError:
            continue
    return killed
