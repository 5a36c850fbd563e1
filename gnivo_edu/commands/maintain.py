"""Maintain: speed, the notebooks, the machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gnivo_edu.commands import tables
from gnivo_edu.commands.app import Json, app, echo, finish, folder, given_only, path, status
from gnivo_edu.names import visible

PANEL = "Maintain"
NAMED = 10  # files in one line


@app.command(rich_help_panel=PANEL)
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Which benchmarks, or all; by default exact."),
    ] = None,
    as_json: Json = False,
    device: Annotated[
        str | None, typer.Option(help="Of train-step: cuda, or cpu; its phases apart.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Of train-step with a device: 0.5B, or tiny to try it.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(parser=folder, help="Keep the results in this folder, as a page.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(parser=path, help="Compare with the results of this folder; 1 if any fell."),
    ] = None,
    note: Annotated[str, typer.Option(help="What to say above the results that are kept.")] = "",
) -> None:
    """Measure speed and memory as ratios within one run, or how often the grader is right."""
    from gnivo_edu.bench import results, run_benchmark, runs_of

    options = given_only(device=device, size=size)
    with status(as_json) as progress:
        report = results.measure(
            runs_of(names or ["exact"], options),
            partial(run_benchmark, progress=progress),
            into=into,
            against=against,
            note=note,
        )

    def show() -> None:
        for record in report.get("benchmarks", [report]):
            tables.print_rows(record["benchmark"], results.shown(record["results"]))
            for row in record["results"]:
                if row["note"]:
                    echo(visible(f"{row['case']}: {row['note']}"))
        for line in (*report.get("not_compared", ()), *report.get("fell", ())):
            echo(visible(line))
        if "fell" in report:
            echo(f"{len(report['fell'])} fell.")

    finish(report, as_json, show=show)


@app.command("build-course", rich_help_panel=PANEL)
def build_course(
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a notebook; repeat for several.")
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Write nothing; say which notebooks differ from their source.")
    ] = False,
    release: Annotated[
        Path | None,
        typer.Option(
            parser=folder,
            help="Run nothing: write student, solution and nbgrader notebooks into this folder.",
        ),
    ] = None,
) -> None:
    """Build the notebooks, with their outputs, from notebooks/src: of the current folder where it
    has one, else of the course.
    """
    from gnivo_edu.course.build import build_course as build
    from gnivo_edu.course.layout import course_root, has_course
    from gnivo_edu.course.objectives_page import write_objectives_page
    from gnivo_edu.course.pictures import draw_pictures

    own = any(Path("notebooks/src").glob("*.py"))
    root = Path.cwd() if own else course_root(to_write=not check and release is None)
    if release is not None:
        from gnivo_edu.course.release import release_course

        if check:
            raise ValueError("--check and --release exclude each other: give one of them")
        release_course(release, root, only=only)
        return
    if check:
        differences = build(root, only=only, check=True)
        for line in differences:
            echo(visible(str(line)))
        raise typer.Exit(1 if differences else 0)
    from gnivo_edu.population.moving.pictures import draw_moving_pictures

    build(root, only=only)
    if not has_course(root):  # a course of one's own has pictures of its own
        return
    draw_pictures(root / "notebooks" / "images")
    draw_moving_pictures(root / "notebooks" / "images")
    write_objectives_page(root / "notebooks" / "objectives.md")


@app.command(rich_help_panel=PANEL)
def start(
    where: Annotated[
        Path, typer.Argument(parser=folder, metavar="FOLDER", help="Made if it is not there.")
    ],
    as_json: Json = False,
) -> None:
    """Write the course, notebooks, recipes and results, into a folder; what is there is kept."""
    from gnivo_edu.course.layout import lay_out

    where, written, kept = lay_out(where)
    report = {"folder": str(where), "written": written, "kept": kept}

    def show() -> None:
        if kept:
            more = f" and {len(kept) - NAMED} more" if len(kept) > NAMED else ""
            names = ", ".join(kept[:NAMED])
            echo(visible(f"Kept as they were, with another text than ours: {names}{more}"))
        echo(visible(f"{len(written)} files written to {where}"))
        echo("Next, in that folder: gnivo-edu lab, or gnivo-edu build-course --release handout")

    finish(report, as_json, show=show)


@app.command(rich_help_panel=PANEL)
def new(
    kind: Annotated[
        str, typer.Argument(help="objective, task, environment or exercise.", metavar="KIND")
    ],
    name: Annotated[str, typer.Argument(help="A Python name, such as my_loss.")],
    model: Annotated[
        str | None, typer.Option(help="Of a task: the causal LM to train, folder or hub id.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a small file that works into the current folder, with its test."""
    from gnivo_edu.new import write_new

    written = write_new(kind, name, model=model)
    files = [str(path) for path in written.files]

    def show() -> None:
        echo(visible(f"wrote {', '.join(files)}"))
        for line in written.then:
            echo(visible(f"Next: {line}"))

    finish({"written": files, "next": list(written.then)}, as_json, show=show)


@app.command(rich_help_panel=PANEL)
def doctor(as_json: Json = False) -> None:
    """Say what this machine has, and what is missing."""
    from gnivo_edu.machine import examine

    report = examine()
    if report["passed"]:  # torch is there, without which no model is looked for
        from gnivo_edu.policies.fetch import findings

        report["findings"] += findings()
    finish(report, as_json, show=lambda: tables.print_rows("doctor", report["findings"]))
