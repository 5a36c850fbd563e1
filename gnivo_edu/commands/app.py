"""The app that the commands register on, and what they share."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gnivo_edu.names import home, output_folder, visible

# Heavy imports (torch, transformers, matplotlib, jupyter) happen inside the commands: `--help`
# stays fast.

app = typer.Typer(
    name="gnivo-edu",
    help="See what every step of an answer was worth, and check that the number is exact.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")
]


def path(text: str | Path) -> Path:
    """What `typer.Option(parser=path)` makes of a path: ~ is the home folder, and an empty one is
    refused.
    """
    try:
        return home(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def folder(text: str | Path) -> Path:
    """The same of a folder for results, which the root of a file system is not."""
    try:
        return output_folder(text, what="the path")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


EVERY = 10.0  # seconds between two lines of progress where there is no terminal
# The largest seed that torch takes.
LARGEST_SEED = 2**63 - 1


def key_values(pairs: list[str] | None) -> dict[str, Any]:
    """The `key=value` pairs of `--set`, their values read as those of a configuration are."""
    from gnivo_edu.files import read_changes

    return read_changes(pairs or [])


def refuse_others(context: typer.Context, allowed: set[str], reason: str) -> None:
    """ValueError, in one line, where options are given that `allowed` does not have: they would
    change nothing. `reason` begins the line.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [
        name
        for name, source in sources.items()
        if name not in allowed and source is not None and source.name == "COMMANDLINE"
    ]
    if given:
        options = ", ".join(f"--{name.strip('_').replace('_', '-')}" for name in given)
        raise ValueError(f"{reason}: leave out {options}")


def echo(text: str, err: bool = False) -> None:
    """Print a text at once: on standard output, or on standard error."""
    print(text, file=sys.stderr if err else sys.stdout, flush=True)


def given_only(**options: Any) -> dict[str, Any]:
    """The options that have a value; for the others the callee's own default holds."""
    return {name: value for name, value in options.items() if value is not None}


def finish(report: dict[str, Any], as_json: bool, show: Callable[[], None]) -> None:
    """Print a report as JSON, or show it; exit with 1 where it says that a check did not hold."""
    if as_json:
        echo(json.dumps(report))
    else:
        show()
    if not report.get("passed", True):
        raise typer.Exit(1)


def say(quiet: bool) -> Callable[[str], None]:
    """Lines as they come, on standard output, or where only JSON belongs there on standard
    error.
    """
    return lambda line: echo(visible(line), err=quiet)


@contextmanager
def status(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yields a progress function, which shows on standard error: each line in the place of the
    last in a terminal; elsewhere now and then one, where it takes longer.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, quiet=quiet)
    last = time.monotonic()

    def tell(line: str) -> None:
        nonlocal last
        shown.update(Text(visible(line)))
        if not (quiet or console.is_terminal) and time.monotonic() > last + EVERY:
            last = time.monotonic()
            echo(visible(line), err=True)

    with console.status("starting") as shown:
        yield tell


def finish_budget(budget: Any, as_json: bool) -> None:
    """What a run will take, as a table and a sentence, or as JSON; one line on standard error where
    this machine has less memory.
    """
    from gnivo_edu.commands.tables import print_rows

    def show() -> None:
        print_rows("Before the run", budget.rows())
        echo(visible(budget.text()))

    if budget.warning:
        echo(visible(budget.warning), err=True)
    finish(budget.to_json(), as_json, show=show)
