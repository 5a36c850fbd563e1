"""Explore a real model: the step values of its answers to one prompt, as JSON and as a page. What
the command calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.evaluation.step_values.page import write_page
from gnivo_edu.exact import check_alpha

PROMPT = "Once upon a time"


def explore(
    model: str,
    reference: str | None = None,
    prompt: str | None = None,
    task: str | None = None,
    reward: str | None = None,
    alpha: float = 0.5,
    group_size: int = 4,
    continuations: int = 16,
    horizon: int | None = None,
    top_k: int = 4,
    tree_horizon: int = 6,
    prompt_index: int | None = None,
    seed: int = 0,
    out: str | PathLike[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
    *,
    task_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Step values of a model's answers to one prompt: the JSON of `StepValues.to_json`, and with
    `out` a page too.

    `model` and `reference` are folders or hub ids of causal LMs with one vocabulary, or "shipped",
    the small transformer for arithmetic; without a reference the model is its own, and its credits
    are 0. Either `prompt`, a text, and `reward`, a named one or `module:function` (by default "Once
    upon a time" and "sentiment"; steps are sentences), or `task`, a name of `tasks.get` or the id
    of a toy environment, and `prompt_index`, the number of its question (0); `task_options` go to
    the task. `horizon`: most tokens of an answer. With `out`, a folder: `index.html` and
    `values.json`, and the report has `page`, the path. Raises ValueError, in one line, on what
    cannot be loaded, on vocabularies that differ and on options that exclude each other.
    """
    from gnivo_edu.policies import pick_device

    check_alpha(alpha)
    if task is not None and (prompt is not None or reward is not None):
        raise ValueError(
            "a task has its own questions and rewards: give --task, or --prompt and --reward"
        )
    if task is None and task_options:
        raise ValueError(f"{', '.join(task_options)}: options of a task: give --task with them")
    if task is None and prompt_index is not None:
        raise ValueError("prompt_index is the number of a task's question: give --task with it")
    say(f"reading {model}")
    policy, tokenizer = _load(model)
    base = policy
    if reference is not None and reference != model:
        say(f"reading {reference}")
        base, other = _load(reference)
        words = [None if own is None else own.get_vocab() for own in (tokenizer, other)]
        if words[0] != words[1]:
            raise ValueError(
                f"{model!r} and {reference!r} do not share a vocabulary: their answers cannot be "
                "compared"
            )
    options = dict(task_options or {}) | ({} if horizon is None else {"horizon": horizon})
    asked = _task(policy, tokenizer, prompt, task, reward, options)
    device = pick_device()
    say("drawing answers and continuing them")
    values = step_values(
        policy.to(device), base.to(device), asked, prompt_index or 0, group_size, alpha=alpha,
        continuations=continuations, top_k=top_k, tree_horizon=tree_horizon, seed=seed,
        policy_name=str(model), reference_name=str(reference or model),
    )  # fmt: skip
    report = values.to_json()
    if out is not None:
        page = write_page(values, Path(out) / "index.html")
        (page.parent / "values.json").write_text(json.dumps(report), encoding="utf-8")
        report["page"] = str(page)
    return report


def _load(name: str) -> tuple[Any, Any]:
    """A model and its tokenizer; None for one that was trained here on a task with a vocabulary of
    its own.
    """
    from gnivo_edu.policies import load_model
    from gnivo_edu.policies.small import load_checkpoint, load_transformer

    if name == "shipped":
        return load_checkpoint("arithmetic"), None
    folder = Path(name).expanduser()
    if (
        folder.is_dir()
        and (folder / "config.json").is_file()
        and not any(folder.glob("tokenizer*"))
    ):
        return load_transformer(folder), None
    return load_model(name)


def _task(
    model: Any,
    tokenizer: Any,
    prompt: str | None,
    task: str | None,
    reward: str | None,
    options: dict[str, Any],
) -> Any:
    from gnivo_edu import tasks
    from gnivo_edu.tasks.prompting import end_tokens
    from gnivo_edu.tasks.stories import stories

    if task is not None and task.startswith("toy_envs/"):
        return _environment(task, options)
    if tokenizer is not None:
        options.setdefault(
            "eos_token_ids", end_tokens(tokenizer, getattr(model, "generation_config", None))
        )
    if task is not None:
        made = tasks.get(task, tokenizer, **options)
        if task == "arithmetic":
            from gnivo_edu.tasks.arithmetic_text import ArithmeticText

            return ArithmeticText(
                **options
            )  # its characters as a tokenizer: a pruned tree of texts gives exact values
        return made
    if tokenizer is None:
        raise ValueError(
            "this model has no tokenizer, so it reads no prompt: give --task, such as arithmetic"
        )
    text = PROMPT if prompt is None else prompt
    return stories(
        tokenizer, openings=[text], reward=reward or "sentiment", instruction="", **options
    )


def _environment(name: str, options: dict[str, Any]) -> Any:
    from gnivo_edu.verify import make_environment

    made = make_environment(name)  # it knows the nearest name
    if not options:
        return made
    from gnivo_edu.training.config import TrainConfig
    from gnivo_edu.training.setup import make_task

    return make_task(TrainConfig(task=name, task_options=options), None)


def answer_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per answer of a report, for a table: reward, sum of credits, and the step that cost
    most.
    """
    rows = []
    for k, answer in enumerate(report["answers"], start=1):
        worst = min(answer["steps"], key=lambda step: step["credit"])
        rows.append(
            {
                "answer": k,
                "reward": answer["reward"],
                "tokens": len(answer["tokens"]),
                "steps": len(answer["steps"]),
                "credit": sum(answer["credits"]),
                "lowest step": " ".join(worst["text"].split())[:40],
                "its credit": worst["credit"],
            }
        )
    return rows
