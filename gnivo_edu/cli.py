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

from gnivo_edu import tables
from gnivo_edu.course.tidy import BuildError

# Heavy imports (torch, transformers, matplotlib, jupyter) happen inside the commands: `--help` stays fast.

app = typer.Typer(
    name="gnivo-edu",
    help="See what every step of an answer was worth, and check that the number is exact.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
LEARN, VERIFY, TRAIN, MAINTAIN = "Learn", "Verify", "Train", "Maintain"
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


@app.command(rich_help_panel=LEARN)
def check(
    path: Annotated[Path, typer.Argument(help="A notebook, or a folder of NAME.ipynb or NAME/*.ipynb.")],
    csv: Annotated[Path | None, typer.Option(help="Write a table, one row per student, to this file.")] = None,
    exercise: Annotated[list[str] | None, typer.Option(help="An exercise; repeatable. Default: all asked for.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the random cases.")] = 0,
    seed_per_student: Annotated[bool, typer.Option(help="Every student has cases of their own.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for an exercise.")] = 20.0,
    as_json: Json = False,
) -> None:
    """Grade a notebook, or a folder of submissions; it is no sandbox."""
    from gnivo_edu.course import grade as grading

    grades = grading.grade(path, exercise, seed, seed_per_student, timeout, _say(quiet=True))
    if csv is not None:
        grading.write_csv(grades, csv)
    report = grading.report(grades)
    _finish(report, as_json, lambda: tables.print_rows(str(path), grading.table(grades)))


@app.command(rich_help_panel=LEARN)
def explore(
    model: Annotated[str, typer.Option(help="The policy: a causal LM, path or hub id, or shipped.")],
    reference: Annotated[str | None, typer.Option(help="The model it started from. Default: the same model.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Text to continue. Default: Once upon a time.")] = None,
    reward: Annotated[
        str | None, typer.Option(help="Of the texts: a named one, or module:function. Default: sentiment.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="A task or toy environment instead of a prompt.")] = None,
    prompt_index: Annotated[int | None, typer.Option(min=0, help="Which question of the task. Default: 0.")] = None,
    alpha: Annotated[float, typer.Option(help="Reward per nat.")] = 0.5,
    group_size: Annotated[int, typer.Option(help="Answers to draw.")] = 4,
    continuations: Annotated[int, typer.Option(help="Fresh continuations after every step.")] = 16,
    horizon: Annotated[int | None, typer.Option(help="Most tokens of an answer. Default: the task's.")] = None,
    top_k: Annotated[int, typer.Option(help="Tokens kept in the pruned tree.")] = 4,
    tree_horizon: Annotated[int, typer.Option(help="Depth of the pruned tree, tokens.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Draws the answers.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the page and its numbers.")] = Path("runs/explore"),
    as_json: Json = False,
) -> None:
    """What every step of a model's answers was worth: values, credits, one page."""
    from gnivo_edu.evaluation.explore import answer_rows
    from gnivo_edu.evaluation.explore import explore as look

    with _status(as_json) as progress:
        report = look(
            model, reference, prompt, task, reward, alpha, group_size, continuations, horizon, top_k, tree_horizon,
            prompt_index, seed, out, progress,
        )  # fmt: skip

    def show() -> None:
        tables.print_rows(report["prompt"], answer_rows(report))
        for note in report["notes"]:
            typer.echo(note)
        typer.echo(f"Open {report['page']}")

    _finish(report, as_json, show)


@app.command(rich_help_panel=VERIFY)
def verify(
    env: Annotated[list[str] | None, typer.Option(help="A toy environment; repeatable. Default: all.")] = None,
    policy: Annotated[str | None, typer.Option(help="small-transformer: a transformer as the reference.")] = None,
    alpha: Annotated[list[float] | None, typer.Option(help="Reward per nat. Default: 0.1, 0.5, 1.")] = None,
    group_size: Annotated[list[int] | None, typer.Option(help="Answers in a group. Default: 2, 3, 4.")] = None,
    prompt_index: Annotated[int, typer.Option(help="Which prompt of the environment.")] = 0,
    model: Annotated[str | None, typer.Option(help="A pretrained causal LM, path or hub id, instead.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Text the model continues. Default: Once upon a time.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Tokens kept at each prefix of the model. Default: 4.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Tokens the model writes. Default: 6.")] = None,
    reward: Annotated[
        str | None, typer.Option(help="Of the model's texts: a named one, or module:function. Default: sentiment.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Both theorems, to machine precision, and two controls that must fail."""
    from gnivo_edu import verify as checks

    alphas, sizes = alpha or checks.ALPHAS, group_size or checks.GROUP_SIZES
    asked = {"prompt": prompt, "top_k": top_k, "horizon": horizon, "reward": reward}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if given and model is None:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{options} can only be given with --model: environments have their own")
    if policy not in (None, "small-transformer"):
        raise ValueError(f"--policy must be small-transformer, got {policy!r}")
    if policy and model is not None:
        raise ValueError("--policy and --model exclude each other: verify them in two calls")
    with _status(as_json) as progress:
        if model is not None:
            if env:
                raise ValueError("--model and --env exclude each other: verify them in two calls")
            report = checks.verify_model(model, **given, alphas=alphas, group_sizes=sizes, progress=progress)
        elif policy:
            from gnivo_edu.verify_transformer import verify_transformer

            report = verify_transformer(env, alphas, sizes, prompt_index, progress=progress)
        else:
            report = checks.verify_environments(env, alphas, sizes, prompt_index, progress)
    _finish(report, as_json, lambda: tables.print_verification(report))


@app.command(rich_help_panel=VERIFY)
def atlas(
    only: Annotated[str | None, typer.Option(help="One objective. Default: all of the registry.")] = None,
    as_json: Json = False,
) -> None:
    """Which objective has the optimal policy as its fixed point, and how far the others are."""
    from gnivo_edu.population.atlas import atlas as draw

    with _status(as_json) as progress:
        report = draw(only, progress)
    _finish(report, as_json, lambda: tables.print_atlas(report))


@app.command(rich_help_panel=VERIFY)
def judge(
    objective: Annotated[str, typer.Argument(help="Your own, module:function, or a name of the registry.")],
    alpha: Annotated[float, typer.Option(help="Reward per nat, 0.1 to 10.")] = 0.5,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting, key=value; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """The report card of an objective, with the smallest counterexample."""
    from gnivo_edu.population import judge as judging

    with _status(as_json):
        card = judging.judge(objective, alpha, **_key_values(set_))
    _finish(card.to_json(), as_json, lambda: typer.echo(card.text()))


@app.command(rich_help_panel=VERIFY)
def claims(
    only: Annotated[str | None, typer.Option(help="The name of one claim. Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """What papers and teaching say, each with the number that decides it."""
    from gnivo_edu.population.claims import claims as judge_all

    with _status(as_json) as progress:
        report = judge_all(only, progress)
    _finish(report, as_json, lambda: tables.print_claims(report))


@app.command(rich_help_panel=TRAIN)
def pretrain(
    out: Annotated[Path, typer.Option(help="Where the model and its recipe go.")] = Path("runs/base"),
    tier: Annotated[
        list[int] | None, typer.Option(help="Operations in a question; repeatable. Default: 2, 3, 4.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps. Default: those of the shipped checkpoint.")] = None,
    wrong_rate: Annotated[float | None, typer.Option(help="Chance that a carry goes wrong. Default: 0.55.")] = None,
    size: Annotated[str | None, typer.Option(help="tiny, small, medium or large. Default: small.")] = None,
    architecture: Annotated[str | None, typer.Option(help="qwen2 or llama. Default: qwen2.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the weights and the demonstrations. Default: 0.")] = None,
    as_json: Json = False,
) -> None:
    """A base model for arithmetic, from demonstrations with a bad habit."""
    from gnivo_edu.training.pretrain import pretrain_arithmetic

    asked = {"tiers": tier, "steps": steps, "wrong_rate": wrong_rate, "size": size}
    asked |= {"architecture": architecture, "seed": seed}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    with _status(as_json) as progress:
        recipe = pretrain_arithmetic(out, progress=progress, **given).recipe
    rows = [{"tier": tier, **rates} for tier, rates in recipe["right_answers"].items()]
    title = f"right answers of {out}, after {recipe['seconds']:.0f} s"
    _finish(recipe, as_json, lambda: tables.print_rows(title, rows))


@app.command(rich_help_panel=TRAIN)
def train(
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings; see recipes/.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting, key=value; repeatable.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint, bit for bit.")] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a model with any objective: sample groups, reward them, learn."""
    from gnivo_edu.training.config import load_config
    from gnivo_edu.training.progress import train_with_progress

    report = train_with_progress(load_config(config, set_ or []), resume, _say(quiet=as_json))
    _finish(report, as_json, lambda: tables.print_training(report))


@app.command(rich_help_panel=TRAIN)
def evaluate(
    model: Annotated[str | None, typer.Option(help="A causal LM: folder, hub id, or shipped.")] = None,
    task: Annotated[str | None, typer.Option(help="A task, or toy_envs/Name-v0.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Completions to each problem.")] = 8,
    k: Annotated[list[int] | None, typer.Option(help="k of Pass@k; repeatable. Default: 1 and 3.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the samples.")] = 0,
    temperature: Annotated[float, typer.Option(help="Of the sampling.")] = 1.0,
    problems: Annotated[int | None, typer.Option(min=1, help="Only the first ones.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A task option, key=value; repeatable.")] = None,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Completions drawn at a time. Default: 256.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for completions.jsonl and report.json; resumes there.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two such folders: second minus first, paired.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Pass@k with intervals on a task or a benchmark; --compare A B pairs two results."""
    from gnivo_edu import evaluation

    if compare is not None:
        if model or task:
            raise ValueError("--compare A B reads two results: leave out --model and --task")
        first, second = map(evaluation.load_report, compare)
        found = evaluation.compare(first, second, ks=k)
        _finish(found, as_json, lambda: tables.print_comparison(found))
        return
    if not model or not task:
        raise ValueError("give --model and --task, or --compare A B")
    from gnivo_edu.policies import pick_device
    from gnivo_edu.training.config import TrainConfig
    from gnivo_edu.training.setup import make_policy_and_task

    options = _key_values(set_)
    config = TrainConfig(model=model, task=task, task_options=options)
    policy, made = make_policy_and_task(config, pick_device())
    with _status(as_json) as progress:
        report = evaluation.evaluate(
            policy,
            made,
            samples,
            k or (1, 3),
            seed,
            temperature,
            range(problems) if problems else None,
            max_rows,
            out,
            progress,
            model=model,
            task_name=None if hasattr(made, "name") else task,
        ).to_json()
    _finish(report, as_json, lambda: tables.print_evaluation(report))


@app.command(rich_help_panel=MAINTAIN)
def bench(
    name: Annotated[str, typer.Argument(help="Which benchmark: exact, import, sample, score.")] = "exact",
    as_json: Json = False,
) -> None:
    """Measure speed as ratios within one run."""
    from gnivo_edu.bench import run_benchmark

    with _status(as_json) as progress:
        report = run_benchmark(name, progress)
    _finish(report, as_json, lambda: tables.print_rows(report["benchmark"], report["results"]))


@app.command("build-course", rich_help_panel=MAINTAIN)
def build_course(
    only: Annotated[list[str] | None, typer.Option(help="Name of a notebook; repeat for several.")] = None,
    check: Annotated[bool, typer.Option(help="Write nothing; say which notebooks differ from their source.")] = False,
    release: Annotated[
        Path | None, typer.Option(help="Write student, solution and nbgrader notebooks into this folder instead.")
    ] = None,
) -> None:
    """Build the notebooks, with their outputs, from notebooks/src."""
    from gnivo_edu.course.build import build_course as build
    from gnivo_edu.course.objectives_page import write_objectives_page
    from gnivo_edu.course.pictures import draw_pictures

    if release is not None:
        from gnivo_edu.course.release import release_course

        if check:
            raise ValueError("--check and --release exclude each other: give one of them")
        release_course(release, only=only)
        return
    if check:
        differences = build(only=only, check=True)
        for line in differences:
            typer.echo(line)
        raise typer.Exit(1 if differences else 0)
    build(only=only)
    draw_pictures(NOTEBOOKS / "images")
    write_objectives_page(NOTEBOOKS / "objectives.md")


@app.command(rich_help_panel=MAINTAIN)
def doctor(as_json: Json = False) -> None:
    """Say what this machine has, and what is missing."""
    from gnivo_edu.doctor import examine

    report = examine()
    _finish(report, as_json, lambda: tables.print_rows("doctor", report["findings"]))


def _key_values(pairs: list[str] | None) -> dict[str, Any]:
    """`key=value` pairs; values are read as JSON where they are JSON."""
    found: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--set takes key=value, got {pair!r}")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


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


if __name__ == "__main__":
    main()
