"""The command line, thin: every command is one Python call plus a table."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

# Heavy imports (torch, transformers, matplotlib, jupyter) happen inside the commands: `--help` stays fast.

app = typer.Typer(
    name="gnivo-edu",
    help="See what every step of an answer was worth, and check that the number is exact.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
LEARN, VERIFY, MAINTAIN = "Learn", "Verify", "Maintain"
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]


def main() -> None:
    """Run a command. Exit status: 0 done and passed, 1 a check did not hold, 2 the request was wrong."""
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
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("gnivo-edu: interrupted", err=True)
        sys.exit(130)
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _fail(message: object) -> NoReturn:
    typer.echo("gnivo-edu: " + " ".join(str(message).split()), err=True)
    sys.exit(2)


@app.command(rich_help_panel=LEARN)
def demo(
    model: Annotated[str | None, typer.Option(help="A pretrained causal LM, path or hub id, to include.")] = None,
    out: Annotated[Path, typer.Option(help="Where the page goes.")] = Path("runs/demo"),
    as_json: Json = False,
) -> None:
    """The first five minutes: count, verify, break, learn; one page."""
    from gnivo_edu.demo import run_demo

    report = run_demo(out, model, say=_say(quiet=as_json))
    _finish(report, as_json, lambda: None)


@app.command(rich_help_panel=LEARN)
def lab(
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
    dry_run: Annotated[bool, typer.Option(help="Only print the command.")] = False,
) -> None:
    """Open the notebooks in JupyterLab."""
    if not NOTEBOOKS.is_dir():
        raise ValueError(
            "the notebooks are not installed with the package: run `gnivo-edu lab` in a clone of the project"
        )
    command = [sys.executable, "-m", "jupyter", "lab", str(NOTEBOOKS), *([] if browser else ["--no-browser"])]
    if dry_run:
        typer.echo(" ".join(command))
        return
    os.execv(sys.executable, command)


@app.command(rich_help_panel=VERIFY)
def verify(
    env: Annotated[list[str] | None, typer.Option(help="A toy environment; repeatable. Default: all.")] = None,
    alpha: Annotated[list[float] | None, typer.Option(help="Reward per nat. Default: 0.1, 0.5, 1.")] = None,
    group_size: Annotated[list[int] | None, typer.Option(help="Answers in a group. Default: 2, 3, 4.")] = None,
    prompt_index: Annotated[int, typer.Option(help="Which prompt of the environment.")] = 0,
    model: Annotated[str | None, typer.Option(help="A pretrained causal LM, path or hub id, instead.")] = None,
    prompt: Annotated[str, typer.Option(help="Text the model continues.")] = "Once upon a time",
    top_k: Annotated[int, typer.Option(help="Tokens kept at each prefix.")] = 4,
    horizon: Annotated[int, typer.Option(help="Tokens written.")] = 6,
    reward: Annotated[str, typer.Option(help="A named reward, or module:function of a list of texts.")] = "sentiment",
    as_json: Json = False,
) -> None:
    """Both theorems, to machine precision, and two controls that must fail."""
    from gnivo_edu import verify as checks

    alphas, sizes = alpha or checks.ALPHAS, group_size or checks.GROUP_SIZES
    with _status(as_json) as progress:
        if model is not None:
            if env:
                raise ValueError("--model and --env exclude each other: verify them in two calls")
            report = checks.verify_model(model, prompt, top_k, horizon, reward, alphas, sizes, progress)
        else:
            report = checks.verify_environments(env, alphas, sizes, prompt_index, progress)
    _finish(report, as_json, lambda: _print_verification(report))


@app.command(rich_help_panel=MAINTAIN)
def bench(
    name: Annotated[str, typer.Argument(help="Which benchmark: exact, import.")] = "exact",
    as_json: Json = False,
) -> None:
    """Measure speed as ratios within one run."""
    from gnivo_edu.bench import run_benchmark

    with _status(as_json) as progress:
        report = run_benchmark(name, progress)
    _finish(report, as_json, lambda: _print_rows(report["benchmark"], report["results"]))


@app.command("build-course", rich_help_panel=MAINTAIN)
def build_course(
    only: Annotated[list[str] | None, typer.Option(help="Name of a notebook; repeat for several.")] = None,
    check: Annotated[bool, typer.Option(help="Write nothing; say which notebooks differ from their source.")] = False,
) -> None:
    """Build the notebooks, with their outputs, from notebooks/src."""
    from gnivo_edu.course.build import build_course as build
    from gnivo_edu.course.pictures import draw_pictures

    if check:
        differences = build(only=only, check=True)
        for line in differences:
            typer.echo(line)
        raise typer.Exit(1 if differences else 0)
    build(only=only)
    draw_pictures(NOTEBOOKS / "images")


@app.command(rich_help_panel=MAINTAIN)
def doctor(as_json: Json = False) -> None:
    """Say what this machine has, and what is missing."""
    from gnivo_edu.doctor import examine

    report = examine()
    _finish(report, as_json, lambda: _print_rows("doctor", report["findings"]))


def _finish(report: dict[str, Any], as_json: bool, show: Callable[[], None]) -> None:
    if as_json:
        typer.echo(json.dumps(report))
    else:
        show()
    if not report.get("passed", True):
        raise typer.Exit(1)


def _say(quiet: bool) -> Callable[[str], None]:
    return lambda line: typer.echo(line, err=quiet)


def _status(quiet: bool) -> Any:
    """A context manager that yields a progress function; it shows on standard error, in a terminal only."""
    from contextlib import contextmanager

    from rich.console import Console

    @contextmanager
    def running() -> Any:
        with Console(stderr=True, quiet=quiet).status("starting") as status:
            yield lambda line: status.update(line)

    return running()


def _print_verification(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Both theorems and two controls, in nats", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("target", "alpha", "K", "answers", "thm 1", "thm 2", "softmax", "off-policy", "holds"):
        table.add_column(heading, justify="left" if heading == "target" else "right", no_wrap=True)
    previous = None
    for r in report["results"]:
        name = Path(r["target"]).name.removesuffix("-v0")[:17]
        if previous not in (None, name):
            table.add_section()
        table.add_row(
            "" if name == previous else name,
            f"{r['alpha']:g}",
            str(r["constant_shift"]["group_size"]),
            f"{r['sequences']:,}",
            f"{r['soft_value_theorem']['max_abs_error']:.0e}",
            f"{r['constant_shift']['spread']:.0e}",
            *(_violation(r, control) for control in ("softmax_weights", "off_policy_samples")),
            "yes" if r["passed"] else "NO",
        )
        previous = name
    Console().print(table)
    typer.echo("thm 1, thm 2: largest errors. softmax, off-policy: two broken recipes at t < T, supposed to miss.")
    reasons = {f"{r['target']}, {name}: {why}" for r in report["results"] for name, why in r["not_applicable"].items()}
    for reason in sorted(reasons):
        typer.echo(f"cannot bite: {reason}")
    typer.echo("All hold." if report["passed"] else "Not everything holds: see the rows with NO.")


def _violation(result: dict[str, Any], control: str) -> str:
    return f"{result['controls'][control]['violation']:.2g}" if control in result["controls"] else "cannot"


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD)
    for heading in rows[0]:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else escape(str(v)) for v in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
