"""Learn: the first five minutes, the notebooks, their grades, and a real model looked into."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gnivo_edu.commands import tables
from gnivo_edu.commands.app import (
    LARGEST_SEED,
    Json,
    app,
    echo,
    finish,
    finish_budget,
    folder,
    key_values,
    path,
    say,
    status,
)
from gnivo_edu.names import visible

PANEL = "Learn"


@app.command(rich_help_panel=PANEL)
def demo(
    model: Annotated[
        str | None, typer.Option(help="A pretrained causal LM, path or hub id, to include.")
    ] = None,
    out: Annotated[Path, typer.Option(parser=folder, help="Where the page goes.")] = Path(
        "runs/demo"
    ),
    as_json: Json = False,
) -> None:
    """The first five minutes: count, verify, break, learn; one page."""
    from gnivo_edu.demo import run_demo

    if model == "":
        raise ValueError("--model is empty: give a folder or hub id, or leave it out")
    report = run_demo(out, model, say=say(quiet=as_json))
    finish(report, as_json, show=lambda: None)


@app.command(rich_help_panel=PANEL)
def lab(
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: the first free from 8888 on.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only print the command.")] = False,
) -> None:
    """Open the notebooks in JupyterLab: those of the current folder, or of the clone. An installed
    package lays them out in ./gnivo_course first.
    """
    from gnivo_edu.course.layout import has_course, lay_out, working_root

    root = working_root()
    if not (dry_run or has_course(root)):
        lay_out(root)
        echo(visible(f"Notebooks and recipes are in {root}"))
    command = [sys.executable, "-m", "jupyter", "lab", str(root / "notebooks")]
    if not browser:
        command.append("--no-browser")
    if port is not None:
        command.append(f"--port={port}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # or Jupyter refuses, as it does in most containers
    if dry_run:
        echo(visible(" ".join(command)))
        return
    os.execv(sys.executable, command)


@app.command(rich_help_panel=PANEL)
def check(
    work: Annotated[
        Path,
        typer.Argument(
            parser=path,
            metavar="PATH",
            help="A notebook, or a folder of NAME.ipynb or NAME/*.ipynb.",
        ),
    ],
    csv: Annotated[
        Path | None,
        typer.Option(parser=path, help="Write a table, one row per student, to this file."),
    ] = None,
    exercise: Annotated[
        list[str] | None, typer.Option(help="An exercise; repeatable. Default: all asked for.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Draws the random cases.")] = 0,
    seed_per_student: Annotated[
        bool, typer.Option(help="Every student has cases of their own.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for an exercise.")] = 20.0,
    as_json: Json = False,
) -> None:
    """Grade a notebook, or a folder of submissions."""
    from gnivo_edu.course import grade as grading
    from gnivo_edu.course.isolation import said

    grades = grading.grade(
        work,
        exercise,
        seed=seed,
        per_student=seed_per_student,
        timeout=timeout,
        progress=say(quiet=True),
        csv=csv,
    )
    report = grading.report(grades)

    def show() -> None:
        tables.print_rows(str(work), grading.table(grades))
        echo(said(report["isolation"]))

    finish(report, as_json, show=show)


@app.command(rich_help_panel=PANEL)
def explore(
    model: Annotated[
        str, typer.Option(help="The policy: a causal LM, path or hub id, or shipped.")
    ],
    reference: Annotated[
        str | None, typer.Option(help="The model it started from. Default: the same model.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Text to continue. Default: Once upon a time.")
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(help="Of the texts: a named one, or module:function. Default: sentiment."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="A task or environment instead of a prompt.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A task option, key=value; repeatable.")
    ] = None,
    prompt_index: Annotated[
        int | None,
        typer.Option(min=0, help="Which question of the task, or prompt of --answers. Default: 0."),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(parser=path, help="Explain these answers: JSON lines, CSV, or TRL's parquet."),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Reward per nat.")] = 0.5,
    group_size: Annotated[int, typer.Option(help="Answers to draw.")] = 4,
    continuations: Annotated[int, typer.Option(help="Fresh continuations after every step.")] = 16,
    seconds: Annotated[
        float | None,
        typer.Option(help="Go on drawing where intervals are widest, for so many seconds."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Of both models.")] = 1.0,
    chat: Annotated[
        bool | None,
        typer.Option(help="Put the prompt into the chat template. Default: where there is one."),
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(help="Most tokens of an answer. Default: the task's.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="Tokens kept in the pruned tree.")] = 4,
    tree_horizon: Annotated[int, typer.Option(help="Depth of the pruned tree, tokens.")] = 6,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Draws the answers.")] = 0,
    out: Annotated[
        Path, typer.Option(parser=folder, help="Folder of the page and its numbers.")
    ] = Path("runs/explore"),
    estimate: Annotated[
        bool, typer.Option(help="Say what memory and time it will take; nothing is loaded.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What every step of a model's answers was worth: values, credits, one page.

    The numbers go to values.json beside the page, and with --json to standard output: schema
    gnivo_edu.step_values/1. Its fields: python -m pydoc
    gnivo_edu.evaluation.step_values.record.StepValues.to_json
    """
    from gnivo_edu.evaluation.explore import answer_rows
    from gnivo_edu.evaluation.explore import explore as look

    if estimate:
        from gnivo_edu.evaluation.estimate import estimate_explore

        budget = estimate_explore(
            model,
            reference,
            prompt=prompt,
            task=task,
            reward=reward,
            group_size=group_size,
            continuations=continuations,
            horizon=horizon,
            top_k=top_k,
            tree_horizon=tree_horizon,
            prompt_index=prompt_index,
            task_options=key_values(set_),
        )
        finish_budget(budget, as_json)
        return
    with status(as_json) as progress:
        report = look(
            model,
            reference,
            prompt=prompt,
            task=task,
            reward=reward,
            alpha=alpha,
            group_size=group_size,
            continuations=continuations,
            horizon=horizon,
            top_k=top_k,
            tree_horizon=tree_horizon,
            prompt_index=prompt_index,
            seed=seed,
            out=out,
            say=progress,
            task_options=key_values(set_),
            answers=answers,
            temperature=temperature,
            chat=chat,
            seconds=seconds,
        )

    def show() -> None:
        several = "questions" in report
        tables.print_rows("" if several else report["prompt"], answer_rows(report))
        for note in [] if several else report["notes"]:
            echo(visible(note))
        undecided = any("?:" in row["value falls at"] for row in answer_rows(report))
        if undecided:
            echo("?: within its interval; more --continuations, or --seconds, would settle it.")
        echo(visible(f"Open {report['page']}"))

    finish(report, as_json, show=show)
