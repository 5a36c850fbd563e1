"""Explore a real model: the step values of its answers to one prompt, as JSON and as a page. What
the command calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from gnivo_edu.evaluation.logged import read_logged
from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.evaluation.step_values.page import write_pages
from gnivo_edu.exact import check_alpha, check_size
from gnivo_edu.figures.style import percent
from gnivo_edu.names import home, output_folder

PROMPT = "Once upon a time"
SCHEMA_OF_QUESTIONS = "gnivo_edu.step_values_of_questions/1"
MOST_CONTINUATIONS = 1_000_000  # of one step of all answers


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
    answers: str | PathLike[str] | None = None,
    temperature: float = 1.0,
    chat: bool | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Step values of a model's answers to one prompt: the JSON of `StepValues.to_json`, and with
    `out` a page too.

    `model` and `reference` are folders or hub ids of causal LMs with one vocabulary, or "shipped",
    the small transformer for arithmetic, or "table", a uniform one for a toy environment; without a
    reference the model is its own, its implicit credits are 0, and those of the values under it are
    what there is to see. Either `prompt`, a text, and `reward`, a named one or `module:function`
    (by default "Once upon a time" and "sentiment"; steps are sentences), or `task`, a name of
    `tasks.get` or the id of a toy environment, and `prompt_index`, the number of its question (0);
    `task_options` go to the task. `horizon`: most tokens of an answer. `answers`: a file of answers
    that are already there (`read_logged` says what is read) instead of `group_size` fresh ones;
    without a task, `prompt_index` is the number of a prompt in it; without that number each of its
    questions is explained, the seconds shared, and the report holds `questions`, one report each.
    `temperature` belongs to both models. `chat`: whether the prompt is put into the chat template;
    None where there is one. `seconds`: how long to go on drawing where intervals are widest. With
    `out`, a folder: `index.html` and `values.json`, and the report has `page`, the path. Where
    `model` is the model/ of a run that left a critic beside it, what that says is drawn too. Raises
    ValueError, in one line, on what cannot be loaded, on vocabularies that differ and on options
    that exclude each other.
    """
    from gnivo_edu import tasks
    from gnivo_edu.policies import load_policy, pick_device
    from gnivo_edu.policies.sampling_law import SamplingLaw

    check_alpha(alpha)
    if group_size * continuations > MOST_CONTINUATIONS:
        raise ValueError(
            f"{group_size:,} answers of {continuations:,} continuations a step are above the limit "
            f"of {MOST_CONTINUATIONS:,}: take fewer"
        )
    if min(top_k, tree_horizon) >= 1:
        check_size(top_k, tree_horizon)
    if task is not None and (prompt is not None or reward is not None):
        raise ValueError(
            "a task has its own questions and rewards: give --task, or --prompt and --reward"
        )
    if task is None and task_options:
        raise ValueError(f"{', '.join(task_options)}: options of a task: give --task with them")
    if task is None and prompt_index is not None and answers is None:
        raise ValueError("prompt_index is the number of a task's question: give --task with it")
    SamplingLaw(temperature=temperature)
    options = dict(task_options or {})
    if horizon is not None and "horizon" in options:
        raise ValueError("the horizon is given twice: by --horizon, and among the task's options")
    options |= {name: x for name, x in [("horizon", horizon), ("chat", chat)] if x is not None}
    logged = None if answers is None else read_logged(answers)
    prompts = [PROMPT if prompt is None else prompt]
    if logged is not None and prompt is None:
        prompts = logged.prompts or prompts
    options = tasks.check_options(task or "stories", options, texts=True)
    folder = None if out is None else output_folder(out)
    # A table is made for its task, which has a vocabulary of its own.
    toy = None
    if task is not None and "table" in (model, reference):
        toy = tasks.get(task, texts=True, **options)
    say(f"reading {model}")
    policy, tokenizer = load_policy(model, task=toy)
    base = policy
    if reference is not None and reference != model:
        say(f"reading {reference}")
        base, other = load_policy(reference, task=toy)
        if vocabulary_of(tokenizer) != vocabulary_of(other):
            raise ValueError(
                f"{model!r} and {reference!r} do not share a vocabulary: their answers cannot be "
                "compared"
            )
    asked = task_of(policy, tokenizer, prompts=prompts, task=task, reward=reward, options=options)
    numbers = [prompt_index or 0]
    given: dict[int, list[list[int]] | None] = {numbers[0]: None}
    if logged is not None:
        numbers = logged.questions(asked, prompt_index if prompt is None else 0)
        given = {number: logged.tokens(asked, number) for number in numbers}
    device = pick_device()
    policy = policy.to(device)
    critic = _critic_beside(model, policy, say=say)
    look = partial(
        step_values,
        policy,
        base.to(device),
        task=asked,
        group_size=group_size,
        alpha=alpha,
        continuations=continuations,
        top_k=top_k,
        tree_horizon=tree_horizon,
        seed=seed,
        policy_name=str(model),
        reference_name=str(reference or model),
        critic=critic,
        temperature=temperature,
        seconds=None if seconds is None else seconds / len(numbers),
        say=say,
    )
    values = []
    for place, number in enumerate(numbers, start=1):
        if len(numbers) > 1:
            say(f"question {place} of {len(numbers)}")
        values.append(look(prompt_index=number, answers=given[number]))
    report = values[0].to_json()
    if len(values) > 1:
        report = {"schema": SCHEMA_OF_QUESTIONS, "questions": [x.to_json() for x in values]}
    if folder is not None:
        page = write_pages(values, folder)
        (page.parent / "values.json").write_text(json.dumps(report), encoding="utf-8")
        report["page"] = str(page)
    return report


def _critic_beside(model: str, policy: Any, say: Callable[[str], None]) -> Any:
    """The critic that the same run trained, None if there is none; one of log Z says nothing along
    an answer.
    """
    from gnivo_edu.policies.critic import CONFIG, load_critic

    folder = home(model) if model else Path()
    if folder.name != "model" or not (folder.parent / "critic" / CONFIG).is_file():
        return None
    say(f"reading {folder.parent / 'critic'}")
    critic = load_critic(folder.parent / "critic", policy)
    return critic if critic.unit == "reward" else None


def vocabulary_of(tokenizer: Any) -> dict[str, int] | None:
    """Tokens and their ids; None without a tokenizer."""
    return None if tokenizer is None else dict(tokenizer.get_vocab())


def task_of(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    task: str | None,
    reward: str | None,
    options: dict[str, Any],
) -> Any:
    """The task of this name, with texts where it can have them: a pruned tree of texts gives exact
    values. Or prompts to continue and the reward.
    """
    from gnivo_edu import tasks

    if task is not None:
        return tasks.get(task, tokenizer, model=model, texts=True, **options)
    if tokenizer is None:
        raise ValueError(
            "this model has no tokenizer, so it reads no prompt: give --task, such as arithmetic"
        )
    options |= {"openings": list(prompts), "instruction": ""}
    return tasks.get("stories", tokenizer, model=model, reward=reward or "sentiment", **options)


def answer_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per different answer of a report, for a table: how often it was drawn, its reward,
    and where the value first falls, by how many nats and with what chance of ending right before
    and after; where no interval says so, the step with the largest fall and a question mark. Of a
    policy that is not its reference also the sum of its implicit credits and the step that has the
    lowest; of several questions, which one it is.
    """
    if "questions" in report:
        return [
            {"question": _short(question["prompt"].splitlines()[-1])} | row
            for question in report["questions"]
            for row in answer_rows(question)
        ]
    rows = []
    for k, answer in enumerate(report["answers"]):
        if answer["same_as"] is not None:
            continue
        times = 1 + sum(other["same_as"] == k for other in report["answers"])
        row = {
            "answer": f"{k + 1} (x{times})" if times > 1 else str(k + 1),
            "reward": answer["reward"],
            "steps": len(answer["steps"]),
        } | _fall(answer)
        if not report["one_model"]:
            worst = min(answer["steps"], key=lambda step: step["credit"])
            row |= {
                "implicit": sum(answer["credits"]),
                "lowest step": _short(worst["text"]),
                "its credit": worst["credit"],
            }
        rows.append(row)
    return rows


def _fall(answer: dict[str, Any]) -> dict[str, Any]:
    """Where the value of an answer falls, for a row; empty fields where it does not."""
    changes = [step["monte_carlo_credit"]["value"] for step in answer["steps"]]
    s, sure = answer["first_fall"], ""
    if s is None:
        s, sure = changes.index(min(changes)), "?"
    if sure and (sum(changes) >= 0 or changes[s] > -0.005):
        return {"value falls at": "", "by nats": "", "chance": ""}
    before, after = (answer["monte_carlo"][t]["chance"] for t in (s, s + 1))
    chances = "" if before is None else f"{percent(before)} -> {percent(after)}"
    return {
        "value falls at": f"{s + 1}{sure}: {_short(answer['steps'][s]['text'])}",
        "by nats": -changes[s],
        "chance": chances,
    }


def _short(text: str) -> str:
    return " ".join(text.split())[:40]
