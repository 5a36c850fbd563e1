"""The command line, thin: every command is one Python call plus a table. They are in
`gnivo_edu.commands`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any, NoReturn

import typer
from typer.exceptions import TyperException

# Importing them registers the commands; the panels of `--help` stand in this order.
from gnivo_edu.commands import learn, verify, study, train, maintain  # isort: skip  # noqa: F401
from gnivo_edu.commands.app import app, echo
from gnivo_edu.course.tidy import BuildError
from gnivo_edu.names import visible


def main() -> None:
    """Run a command. Exit status: 0 done and passed, 1 a check did not hold, 2 the request was
    wrong, 130 interrupted; whoever reads the output or does not.
    """
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    with _patient_streams():
        _run()


def _run() -> NoReturn:
    try:
        status = app(standalone_mode=False)
    except TyperException as error:
        _fail(error.format_message() if hasattr(error, "format_message") else str(error))
    except OSError as error:
        if error.filename is None:
            _fail(error)
        _fail(f"cannot use {error.filename}: {error.strerror}; choose another path or mend it")
    except (MemoryError, OverflowError, RecursionError) as error:
        _fail(f"the request is too large for this machine ({error}): make it smaller")
    except ValueError as error:
        _fail(error)
    except BuildError as error:
        echo(visible(f"gnivo-edu: {error}", lines=True), err=True)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        echo("gnivo-edu: interrupted", err=True)
        sys.exit(130)
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _fail(message: object) -> NoReturn:
    echo("gnivo-edu: " + visible(" ".join(str(message).split())), err=True)
    sys.exit(2)


@contextmanager
def _patient_streams() -> Iterator[None]:
    """Inside, output never ends a command: what a terminal has no letter for is written out, as
    \\u20ac, and what nobody reads any more is dropped.
    """
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_Patient, streams)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = streams


class _Patient:
    """A text stream that goes on where its reader has gone; all else is the stream's own."""

    def __init__(self, stream: Any) -> None:
        # A program that is started without a terminal may have no streams at all.
        self._stream = StringIO() if stream is None else stream
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """Let the rest go nowhere, what Python writes at its own end included."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


if __name__ == "__main__":
    main()
