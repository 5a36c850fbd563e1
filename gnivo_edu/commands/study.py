"""Study: the experiments of the papers in miniature."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gnivo_edu.commands.app import Json, app, echo, finish, folder, say
from gnivo_edu.names import visible

if TYPE_CHECKING:
    from gnivo_edu.studies import Size

PANEL = "Verify"


@app.command(rich_help_panel=PANEL)
def study(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Such as table1; `list` names them all.")
    ],
    seeds: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Seeds 0, 1, ... Default: the study's.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A form of minutes.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="A form of seconds: does it run?")] = False,
    jobs: Annotated[
        int, typer.Option(min=0, max=256, help="Runs at a time, a thread each; 0: no process.")
    ] = 2,
    search: Annotated[bool, typer.Option("--search", help="Its search of settings.")] = False,
    variants: Annotated[bool, typer.Option("--variants", help="GN-IVO's variants.")] = False,
    conditions: Annotated[
        bool, typer.Option("--conditions", help="Where GN-IVO and GRPO may differ.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Run nothing: tables and figures from the files.")
    ] = False,
    predict: Annotated[
        bool, typer.Option("--predict", help="Run nothing: write down the predictions.")
    ] = False,
    out: Annotated[Path | None, typer.Option(parser=folder, help="Default: results/NAME.")] = None,
    as_json: Json = False,
) -> None:
    """Run a study of the course and write its table, figures and predictions; goes on where it was
    stopped.
    """
    from gnivo_edu import studies

    if name == "list":
        known = {one: studies.study_of(one).about for one in studies.NAMES}
        text = "\n".join(f"{one}: {about}" for one, about in known.items())
        finish(known, as_json, show=lambda: echo(text))
        return
    if quick and smoke:
        raise ValueError("--quick and --smoke exclude each other: give one of them")
    flags = {"search": search, "variants": variants, "conditions": conditions}
    parts = [part for part, asked in flags.items() if asked]
    if len(parts) > 1:
        raise ValueError(f"--{parts[0]} and --{parts[1]} exclude each other: give one of them")
    size: Size = "smoke" if smoke else "full"
    only: Literal["predictions", "report"] | None = "report" if report else None
    if predict:
        only = "predictions"
    done = studies.run(
        "/".join([name, *parts]),
        size="quick" if quick else size,
        seeds=seeds,
        jobs=jobs,
        out=out,
        only=only,
        progress=say(as_json),
    )

    def show() -> None:
        echo(visible(done.table or "No runs yet.", lines=True))
        for prediction, hit in done.outcomes.items():
            echo(f"{'hit ' if hit else 'MISS'} {prediction}")
        echo(visible(f"Written to {done.folder}"))

    finish(done.to_json(), as_json, show=show)
