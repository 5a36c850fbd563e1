"""Verify: theorems, atlas, judge and claims, each against enumeration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnivo_edu.commands import tables
from gnivo_edu.commands.app import Json, app, echo, finish, given_only, key_values, path, status
from gnivo_edu.names import visible

PANEL = "Verify"


@app.command(rich_help_panel=PANEL)
def verify(
    env: Annotated[
        list[str] | None,
        typer.Option(help="A toy environment, or module:Id-v0; repeatable. Default: all."),
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="small-transformer: a transformer as the reference.")
    ] = None,
    alpha: Annotated[
        list[float] | None, typer.Option(help="Reward per nat. Default: 0.1, 0.5, 1.")
    ] = None,
    group_size: Annotated[
        list[int] | None,
        typer.Option(max=1_000_000, help="Answers in a group. Default: 2, 3, 4."),
    ] = None,
    prompt_index: Annotated[
        int | None, typer.Option(min=0, help="Which prompt of the environment. Default: 0.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A pretrained causal LM, path or hub id, instead.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Text the model continues. Default: Once upon a time.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Tokens kept at each prefix of the model. Default: 4.")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(help="Tokens the model writes. Default: 6.")
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            help="Of the model's texts: a named one, or module:function. Default: sentiment."
        ),
    ] = None,
    tree: Annotated[
        Path | None,
        typer.Option(parser=path, help="Write the model's tree, its numbers and texts, to a JSON."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Both theorems, to machine precision, and two controls that must fail."""
    from gnivo_edu import verify as checks

    alphas = alpha or checks.ALPHAS
    sizes = group_size or checks.GROUP_SIZES
    of_model = given_only(prompt=prompt, top_k=top_k, horizon=horizon, reward=reward, tree=tree)
    if of_model and model is None:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in of_model)
        raise ValueError(f"{options} can only be given with --model: environments have their own")
    if policy not in (None, "small-transformer"):
        raise ValueError(f"--policy must be small-transformer, got {policy!r}")
    if policy and model is not None:
        raise ValueError("--policy and --model exclude each other: verify them in two calls")
    if env and model is not None:
        raise ValueError("--model and --env exclude each other: verify them in two calls")
    if prompt_index is not None and model is not None:
        raise ValueError("--prompt-index is of environments: give --model its --prompt instead")
    with status(as_json) as progress:
        if model is not None:
            report = checks.verify_model(
                model, **of_model, alphas=alphas, group_sizes=sizes, progress=progress
            )
        else:
            on_environments = checks.verify_transformer if policy else checks.verify_environments
            report = on_environments(
                env, alphas, group_sizes=sizes, prompt_index=prompt_index or 0, progress=progress
            )
    finish(report, as_json, show=lambda: tables.print_verification(report))


@app.command(rich_help_panel=PANEL)
def atlas(
    only: Annotated[
        str | None, typer.Option(help="One objective. Default: all of the registry.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Which objective has the optimal policy as its fixed point, and how far the others are."""
    from gnivo_edu.population.atlas import atlas as draw

    with status(as_json) as progress:
        report = draw(only, progress)
    finish(report, as_json, show=lambda: tables.print_atlas(report))


@app.command(rich_help_panel=PANEL)
def judge(
    objective: Annotated[
        str, typer.Argument(help="Your own, module:function, or a name of the registry.")
    ],
    alpha: Annotated[float, typer.Option(help="Reward per nat, 0.1 to 10.")] = 0.5,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, key=value; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The report card of an objective, with the smallest counterexample."""
    from gnivo_edu.population import judge as judging
    from gnivo_edu.values import convert_options

    given = key_values(set_)
    if "alpha" in given:
        raise ValueError("alpha has an option of its own: give --alpha instead of --set alpha=...")
    settings = convert_options(
        f"the objective {objective!r}",
        given,
        makers=[judging.load_objective(objective)],
    )
    with status(as_json):
        card = judging.judge(objective, alpha, **settings)
    finish(card.to_json(), as_json, show=lambda: echo(visible(card.text(), lines=True)))


@app.command(rich_help_panel=PANEL)
def claims(
    only: Annotated[str | None, typer.Option(help="The name of one claim. Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """What papers and teaching say, each with the number that decides it."""
    from gnivo_edu.population.claims import claims as judge_all

    with status(as_json) as progress:
        report = judge_all(only, progress)
    finish(report, as_json, show=lambda: tables.print_claims(report))
