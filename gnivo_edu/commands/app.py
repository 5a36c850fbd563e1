"""The app that the commands register on, and what they share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

# Heavy imports (torch, transformers, matplotlib, jupyter) happen inside the commands: `--help`
# stays fast.

app = typer.Typer(
    name="gnivo-edu",
    help="See what every step of an answer was worth, and check that the number is exact.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")
]


def key_values(pairs: list[str] | None) -> dict[str, Any]:
    """The `key=value` pairs of `--set`, their values read as those of a configuration are."""
    from gnivo_edu.training.yaml_values import read_change

    return dict(read_change(pair) for pair in pairs or [])


def given_only(**options: Any) -> dict[str, Any]:
    """The options that have a value; for the others the callee's own default holds."""
    return {name: value for name, value in options.items() if value is not None}


def finish(report: dict[str, Any], as_json: bool, show: Callable[[], None]) -> None:
    """Print a report as JSON, or show it; exit with 1 where it says that a check did not hold."""
    if as_json:
        typer.echo(json.dumps(report))
    else:
        show()
    if not report.get("passed", True):
        raise typer.Exit(1)


def say(quiet: bool) -> Callable[[str], None]:
    """Lines as they come, on standard output, or where only JSON belongs there on standard
    error.
    """
    return lambda line: typer.echo(line, err=quiet)


@contextmanager
def status(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yields a progress function, which shows on standard error, in a terminal only."""
    from rich.console import Console

    with Console(stderr=True, quiet=quiet).status("starting") as shown:
        yield shown.update
