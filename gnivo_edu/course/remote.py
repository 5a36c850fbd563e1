"""Grade one exercise: the questions and the comparison here, the submission's function in a process
of its own.
"""

from __future__ import annotations

import builtins
import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import gnivo_edu
from gnivo_edu.course import wire
from gnivo_edu.course.exercises.base import CheckFailed, Exercise

Status = Literal["passed", "failed", "not attempted"]
PASSED_ON = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Verdict:
    """What became of one exercise, with the reason in one line unless it passed."""

    status: Status
    reason: str = ""


def one_line(text: str) -> str:
    """A text that others wrote, fit for a cell of a table: printable, in one line, at most 500
    characters.
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= 500 else text[:497] + "..."


def grade_exercise(
    exercise: Exercise, cells: Sequence[str], seed: int = 0, timeout: float = 20.0
) -> Verdict:
    """Grade one function of a notebook, given its code cells, in a process of its own.

    `timeout` is in seconds.
    """
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        process = _start(scratch, timeout)
        # A thread, so that a submission that keeps the pipe open and says nothing cannot keep us.
        talk = threading.Thread(
            target=lambda: verdicts.append(_converse(exercise, process, cells, seed)), daemon=True
        )
        talk.start()
        talk.join(timeout)
        in_time = list(verdicts)
        _stop(process)
        talk.join(1)
        if not talk.is_alive():
            for pipe in filter(None, (process.stdin, process.stdout)):
                with contextlib.suppress(OSError):
                    pipe.close()
    return in_time[0] if in_time else Verdict("failed", f"took longer than {timeout:g} s")


class _Ended(BaseException):
    """The submission's process is gone, or talks nonsense; no part of an exercise may catch
    this.
    """


class _Remote:
    """The student's function: called here, run there."""

    def __init__(self, process: subprocess.Popen[bytes], cells: Sequence[str], name: str) -> None:
        self.process = process
        self.to, self.back = cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout)
        self.answer = self._ask({"cells": list(cells), "name": name})

    def __call__(self, *arguments: Any) -> Any:
        calls: list[wire.Call] = []
        reply = self._ask({"arguments": [wire.encode(argument, calls) for argument in arguments]})
        while "call" in reply:  # the function calls one that it was given
            try:
                value = calls[reply["call"]](*wire.decode(reply["arguments"]))
                reply = self._ask({"value": wire.encode(value, [])})
            except Exception as error:
                reply = self._ask({"error": f"{type(error).__name__}: {error}"})
        match reply:
            case {"error": [str(kind), str(text), str(line)]}:
                raise _error(kind, text + (f", in its line: {line}" if line else ""))
            case {"value": value}:
                return wire.decode(value)
        raise _Ended("its process answered with no value")

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            wire.send(self.to, message)
            reply = wire.receive(self.back)
        except BrokenPipeError:
            reply = None
        except (ValueError, RecursionError):
            raise _Ended(
                f"its process answered with no value, or with more than {wire.LIMIT >> 20} MB"
            ) from None
        if reply is None:
            raise _Ended(f"its process ended (exit status {self.process.wait()})")
        return reply


def _converse(
    exercise: Exercise, process: subprocess.Popen[bytes], cells: Sequence[str], seed: int
) -> Verdict:
    name = exercise.name
    try:
        remote = _Remote(process, cells, name)
        match remote.answer:
            case {"ready": True}:
                exercise.run(remote, seed)
                return Verdict("passed")
            case {"missing": str(why)}:
                return Verdict("not attempted", why)
            case {"broken": str(why)}:
                return Verdict("failed", why)
        return Verdict("failed", "its process did not say whether there is a function")
    except CheckFailed as error:
        if "nothing to check yet" in str(error):
            return Verdict(
                "not attempted", "the function returns None, or still raises NotImplementedError"
            )
        return Verdict(
            "failed",
            one_line(
                str(error).removeprefix(f"{name}: ").replace(f"check.{name}.hint() helps", "")
            ),
        )
    except _Ended as error:
        return Verdict("failed", str(error))
    except Exception as error:  # a value that no check expects
        return Verdict(
            "failed", one_line(f"its answer cannot be read: {type(error).__name__}: {error}")
        )


def _error(kind: str, text: str) -> Exception:
    """The exception that was raised over there, or one of the same name."""
    known = getattr(builtins, kind, None)
    if not (isinstance(known, type) and issubclass(known, Exception)):
        known = type(kind, (RuntimeError,), {})
    try:
        return known(text)
    except TypeError:  # some want more than a text
        return RuntimeError(f"{kind}: {text}")


def _start(folder: str, timeout: float) -> subprocess.Popen[bytes]:
    environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ} | {
        "HOME": folder,
        "PYTHONPATH": str(Path(gnivo_edu.__file__).resolve().parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "GNIVO_STATIC": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "gnivo_edu.course.submission", str(math.ceil(timeout) + 5)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
    except AttributeError:  # Windows
        process.kill()
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()
