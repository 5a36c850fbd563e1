"""The command line, thin: every command is one Python call plus a table. They are in
`gnivo_edu.commands`.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

# Importing them registers the commands; the panels of `--help` stand in this order.
from gnivo_edu.commands import learn, verify, train, maintain  # isort: skip  # noqa: F401
from gnivo_edu.commands.app import app
from gnivo_edu.course.tidy import BuildError


def main() -> None:
    """Run a command. Exit status: 0 done and passed, 1 a check did not hold, 2 the request was
    wrong.
    """
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        status = app(standalone_mode=False)
    except TyperException as error:
        _fail(error.format_message() if hasattr(error, "format_message") else str(error))
    except OSError as error:
        _fail(
            f"cannot use {error.filename}: {error.strerror}; choose another path or mend it"
            if error.filename
            else error
        )
    except ValueError as error:
        _fail(error)
    except BuildError as error:
        typer.echo(f"gnivo-edu: {error}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("gnivo-edu: interrupted", err=True)
        sys.exit(130)
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _fail(message: object) -> NoReturn:
    typer.echo("gnivo-edu: " + " ".join(str(message).split()), err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
