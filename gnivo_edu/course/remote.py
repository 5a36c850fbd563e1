"""Grade one exercise: the questions and the comparison here, the submission's function in a process
of its own.
"""

from __future__ import annotations

import builtins
import contextlib
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gnivo_edu.course import wire
from gnivo_edu.course.exercises.base import CheckFailed, Exercise, NothingYet
from gnivo_edu.course.isolation import Place, Started, start
from gnivo_edu.course.supervisor import FLOODED, MOST_PROCESSES
from gnivo_edu.names import visible

Status = Literal["passed", "failed", "not attempted"]
MOST_WAYS = 5  # in which a function is looked for


@dataclass(frozen=True)
class Verdict:
    """What became of one exercise, with the reason unless it passed: one line of printable text,
    whoever wrote it.
    """

    status: Status
    reason: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", one_line(self.reason))


def one_line(text: str) -> str:
    """A text that others wrote, fit for a cell of a table: in one line, what does not print made
    visible, at most 500 characters.

    >>> one_line("red \\x1b[31m\\n text")
    'red \\\\x1b[31m text'
    """
    text = visible(" ".join(text[:2000].split()))
    return text if len(text) <= 500 else text[:497] + "..."


def grade_exercise(
    exercise: Exercise,
    cells: Sequence[str],
    seed: int = 0,
    timeout: float = 20.0,
    place: Place | None = None,
) -> Verdict:
    """Grade one function of a notebook, given its code cells, in a process of its own.

    `timeout` is in seconds, for all of it; `place` is where the notebook lies. The function is
    looked for in up to five ways, each in a new process, until one passes: by parts of the notebook
    (`gnivo_edu.course.flow.plans`), and by the whole where these may not do.
    """
    end = time.monotonic() + timeout
    verdicts: list[Verdict] = []
    ways = 1
    while len(verdicts) < ways:
        limit = end - time.monotonic()
        verdict, told = _attempt(exercise, cells, seed, limit, place or Place(), len(verdicts))
        if verdict is None:
            break
        verdicts.append(verdict)
        ways = min(told, MOST_WAYS)
        if verdict.status == "passed":
            return verdict
    failed = [verdict for verdict in verdicts if verdict.status == "failed"]
    # The later an attempt, the more of the notebook was run: its reason is the truest.
    return [Verdict("failed", f"took longer than {timeout:g} s"), *verdicts, *failed][-1]


def _attempt(
    exercise: Exercise, cells: Sequence[str], seed: int, limit: float, place: Place, number: int
) -> tuple[Verdict | None, int]:
    """One attempt: the verdict, None where it takes longer than `limit`, and how many ways there
    are.
    """
    results: list[tuple[Verdict, int]] = []
    started = start(place, math.ceil(limit) + 5)
    # A thread, so that a submission that keeps the pipe open and says nothing cannot keep us.
    talk = threading.Thread(
        target=lambda: results.append(_converse(exercise, started, cells, seed, number)),
        daemon=True,
    )
    talk.start()
    talk.join(max(limit, 0.0))
    in_time = list(results)
    started.stop()
    talk.join(1)
    if not talk.is_alive():
        for pipe in (started.to, started.back):
            with contextlib.suppress(OSError):
                pipe.close()
    return in_time[0] if in_time else (None, 0)


class _Ended(BaseException):
    """The submission's process is gone, or talks nonsense; no part of an exercise may catch
    this.
    """


class _Remote:
    """The student's function: called here, run there."""

    def __init__(self, started: Started, cells: Sequence[str], name: str, attempt: int) -> None:
        self.started = started
        self.answer = self.ask({"cells": list(cells), "name": name, "attempt": attempt})

    def __call__(self, *arguments: Any) -> Any:
        calls: list[wire.Call] = []
        reply = self.ask({"arguments": [wire.encode(argument, calls) for argument in arguments]})
        while "call" in reply:  # the function calls one that it was given
            try:
                named = {key: wire.decode(item) for key, item in reply["keywords"].items()}
                value = calls[reply["call"]](*wire.decode(reply["arguments"]), **named)
                reply = self.ask({"value": wire.encode(value, [])})
            except Exception as error:
                reply = self.ask({"error": f"{type(error).__name__}: {error}"})
        match reply:
            case {"error": [str(kind), str(text), str(line)]}:
                raise _error(kind, text + (f", in its line: {line}" if line else ""))
            case {"value": value}:
                return wire.decode(value)
        raise _Ended("its process answered with no value")

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and wait for its answer."""
        try:
            wire.send(self.started.to, message)
            reply = self.started.receive()
        except BrokenPipeError:
            reply = None
        except OSError as error:
            raise _Ended(str(error)) from None
        except (ValueError, RecursionError):
            raise _Ended(
                f"its process answered with no value, or with more than {wire.LIMIT >> 20} MB"
            ) from None
        if reply is None:
            status = self.started.status()
            if status == FLOODED:
                raise _Ended(f"it started more than {MOST_PROCESSES} processes")
            raise _Ended(f"its process ended (exit status {status})")
        return reply


def _converse(
    exercise: Exercise, started: Started, cells: Sequence[str], seed: int, attempt: int
) -> tuple[Verdict, int]:
    """The verdict on one way to look for the function, and the number of ways, 0 where it is not
    told.
    """
    try:
        remote = _Remote(started, cells, exercise.name, attempt)
        verdict = _verdict(exercise, remote, seed)
    except _Ended as error:
        return Verdict("failed", str(error)), 0
    if verdict.status != "passed":
        with contextlib.suppress(_Ended):
            match remote.ask({"ways": True}):
                case {"ways": int(number), "earlier": str(earlier)}:
                    return _with_earlier(verdict, earlier), number
    return verdict, 0


def _with_earlier(verdict: Verdict, earlier: str) -> Verdict:
    """The verdict, and the first statement that failed: often a wrong value comes from there."""
    if verdict.status != "failed" or not earlier or earlier in verdict.reason:
        return verdict
    return Verdict("failed", f"{verdict.reason[:300]} (before that, {earlier[:180]})")


def _verdict(exercise: Exercise, remote: _Remote, seed: int) -> Verdict:
    match remote.answer:
        case {"missing": str(why)}:
            return Verdict("not attempted", why)
        case {"broken": str(why)}:
            return Verdict("failed", why)
        case {"ready": True}:
            pass
        case _:
            return Verdict("failed", "its process did not say whether there is a function")
    try:
        exercise.run(remote, seed)
        return Verdict("passed")
    except NothingYet:
        why = "the function returns None, or still raises NotImplementedError"
        return Verdict("not attempted", why)
    except CheckFailed as error:
        hint = f"check.{exercise.name}.hint() helps"
        why = str(error).removeprefix(f"{exercise.name}: ").replace(hint, "")
    except Exception as error:  # a value that no check expects
        why = f"its answer cannot be read: {type(error).__name__}: {error}"
    return Verdict("failed", why)


def _error(kind: str, text: str) -> Exception:
    """The exception that was raised over there, or one of the same name."""
    known = getattr(builtins, kind, None)
    if not (isinstance(known, type) and issubclass(known, Exception)):
        known = type(kind, (RuntimeError,), {})
    try:
        return known(text)
    except TypeError:  # some want more than a text
        return RuntimeError(f"{kind}: {text}")
