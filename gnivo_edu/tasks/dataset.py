"""Questions of one's own: rows of a file or of the hub, their columns by name, graded by name or
rewarded by functions.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnivo_edu.names import shown, visible
from gnivo_edu.tasks.data_sets import Row, first_rows, load_rows
from gnivo_edu.tasks.graders import Grader, check_gold, get_grader
from gnivo_edu.tasks.grading import TIMEOUT, Problem, marker_or_box
from gnivo_edu.tasks.row_rewards import RowRewards, rehearse, row_rewards
from gnivo_edu.tasks.text_task import TextTask
from gnivo_edu.values import option_kinds

TOLD = 3  # refused rows that are told
ROLES = ("system", "user", "assistant")


def dataset(tokenizer: Any, **options: Any) -> TextTask:
    """The rows of one's own data as a task. `options` are those of `read_questions` and of
    `TextTask`, such as `segmenter`, `horizon`, `instruction` and `base_text`. Raises ValueError as
    these do.
    """
    questions = questions_of(options)
    name = f"{options['path_or_id']}-{options.get('split', 'train')}"
    of_task = {key: value for key, value in options.items() if key not in _own()}
    return TextTask(name, questions.problems, tokenizer, grader=questions.grader, **of_task)


def questions_of(options: Mapping[str, Any]) -> Questions:
    """What `read_questions` makes of its part of a task's options."""
    return read_questions(**{key: options[key] for key in _own() if key in options})


def _own() -> tuple[str, ...]:
    return tuple(option_kinds(read_questions))


@dataclass(frozen=True, eq=False)
class Questions:
    """Problems and what grades their answers, before a tokenizer is known."""

    problems: Sequence[Problem]
    grader: Grader | RowRewards
    left_out: Mapping[int, str]


def read_questions(
    path_or_id: str = "",
    split: str = "train",
    *,
    config: str | None = None,
    prompt: str = "prompt",
    system: str | None = None,
    answer: str | None = None,
    grade: str | None = None,
    reward: Sequence[str | Callable[..., Any]] | str | Callable[..., Any] = (),
    reward_weights: Sequence[float] | None = None,
    held_out: float = 0.0,
    shuffle: int | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    grader_timeout: float = TIMEOUT,
) -> Questions:
    """The rows of a JSONL, JSON, CSV or parquet file, a folder with `split` as such a file, or a
    hub id (`config` names its configuration), as problems with their grader.

    `prompt` is the column of the question, a text or a list of chat messages that ends with the
    user's; or a text with `{column}`s to be filled in. `system` goes before it. `answer` is the
    column of the gold answer, by default "answer" where the data have one; of a solution it is what
    stands behind its `####` or in its last box. Answers are graded by
    `grade` (see `graders.get_grader`; "math" unless told), or rewarded by `reward`: one or several
    of `module:function` with `reward_weights` (see `row_rewards.RowReward` for what they are
    passed); each is tried on the first rows. `shuffle` is the seed of the order. `held_out` is the
    share of the rows, in that order, that split "test" has and "train" has not: for a file without
    splits. `limit` keeps the first rows. `skip_bad` leaves out rows that cannot be used.

    Raises ValueError, in one line, on what does not fit, with the numbers of the rows, from 1 on,
    that cannot be used and why.
    """
    if not path_or_id:
        raise ValueError("the task 'dataset' needs path_or_id: a file, a folder or a hub id")
    rewards = [reward] if isinstance(reward, str) or callable(reward) else list(reward)
    if rewards and grade:
        raise ValueError("pass grade or reward, not both: a grader is a reward by name")
    rows = load_rows(path_or_id, split, config=config)
    if not rows:
        raise ValueError(f"{path_or_id!r} holds no rows")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if answer is None and "answer" in columns:
        answer = "answer"
    _check_columns(columns, prompt=prompt, answer=answer, graded=not rewards)
    grade = None if rewards else grade or "math"
    grader: Grader | RowRewards = (
        row_rewards(rewards, columns, weights=reward_weights)
        if grade is None
        else get_grader(grade, timeout=grader_timeout)
    )
    problems, left_out = [], {}
    for number in _chosen(len(rows), split, held_out=held_out, shuffle=shuffle):
        try:
            problem = _problem(rows[number], number, prompt=prompt, system=system, answer=answer)
            check_gold(grade, problem.gold)
        except ValueError as error:
            left_out[number + 1] = str(error)
            continue
        problems.append(problem)
    if left_out and not skip_bad:
        raise ValueError(f"{path_or_id!r}: {_told(left_out, len(rows))}")
    kept = first_rows(problems, limit)
    if not kept:
        why = f": {_listed(left_out)}" if left_out else ""
        raise ValueError(f"{path_or_id!r} has no rows for split {split!r} that can be used{why}")
    if isinstance(grader, RowRewards):
        rehearse(grader, kept)
    return Questions(kept, grader, left_out)


def _chosen(count: int, split: str, held_out: float, shuffle: int | None) -> list[int]:
    """The numbers of the split's rows, in their order."""
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is a share of the rows, from 0 to below 1, got {held_out:g}")
    if held_out and split not in ("train", "test"):
        raise ValueError(f"with held_out the split is 'train' or 'test', got {split!r}")
    order = list(range(count))
    if shuffle is not None:
        order = np.random.default_rng(shuffle).permutation(count).tolist()
    kept = count - max(1, round(held_out * count)) if held_out else count
    return order[kept:] if held_out and split == "test" else order[:kept]


def _problem(row: Row, number: int, prompt: str, system: str | None, answer: str | None) -> Problem:
    """The problem of a row; ValueError says why there is none."""
    question = _filled(prompt, row) if "{" in prompt else row.get(prompt)
    turns = [("system", system)] if system else []
    if isinstance(question, list | tuple):
        *earlier, (_, question) = _turns(question)
        turns += earlier
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"its {prompt} must be a text, got {shown(question)}")
    gold = "" if answer is None else _gold(row.get(answer), answer)
    return Problem(
        question=question, gold=gold, id=f"row {number + 1}", turns=tuple(turns), row=dict(row)
    )


def _gold(value: Any, answer: str) -> str:
    """A gold answer as text: of a solution, what stands behind its `####` or in its last box; 27.0
    stands for 27.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float) or not str(value).strip():
        raise ValueError(f"its {answer} must be a text or a number, got {shown(value)}")
    text = str(value).strip()
    return marker_or_box(text) or text


def _turns(messages: Sequence[Any]) -> list[tuple[str, str]]:
    """(role, text) of chat messages, the last one the user's."""
    said = []
    for message in messages:
        told = message if isinstance(message, Mapping) else {}
        role, text = told.get("role"), told.get("content")
        if role not in ROLES or not isinstance(text, str):
            raise ValueError(
                f"a message has a role ({', '.join(ROLES)}) and a content, a text; got "
                f"{shown(message)}"
            )
        said.append((role, text))
    if not said or said[-1][0] != "user":
        raise ValueError("the last message of its prompt must be the user's")
    return said


def _columns_of(template: str) -> list[str]:
    """What a template names, between braces and in the format behind a colon."""
    parts = [(name, spec) for _, name, spec, _ in string.Formatter().parse(template)]
    return [x for name, spec in parts if name is not None for x in (name, *_columns_of(spec or ""))]


def _check_columns(columns: Sequence[str], prompt: str, answer: str | None, graded: bool) -> None:
    """ValueError where a column that is named is not there, or one that is needed is not named."""
    listed = f"columns: {visible(', '.join(columns))}"
    try:
        asked = _columns_of(prompt) if "{" in prompt else [prompt]
    except ValueError as error:
        raise ValueError(f"the prompt {shown(prompt)} is no template: {error}") from error
    if missing := [name for name in asked if name not in columns]:
        raise ValueError(
            f"there is no column {missing[0]!r} for the prompt: name one with prompt=..., or write "
            f"a text with {{column}}s; {listed}"
        )
    if answer is not None and answer not in columns:
        raise ValueError(f"there is no column {answer!r} for the answer; {listed}")
    if answer is None and graded:
        raise ValueError(
            "there is no column 'answer' to grade by: name one with answer=..., or give "
            f"reward=module:function; {listed}"
        )


def _filled(template: str, row: Row) -> str:
    """The template with the columns of a row."""
    for name in _columns_of(template):
        if row.get(name) is None:
            raise ValueError(f"it has no {name}")
    return string.Formatter().vformat(template, (), row)


def _told(left_out: Mapping[int, str], count: int) -> str:
    return (
        f"{len(left_out)} of {count} rows cannot be used ({_listed(left_out)}): mend them, or "
        "leave them out with skip_bad=true"
    )


def _listed(left_out: Mapping[int, str]) -> str:
    """The first rows that cannot be used, and why."""
    first = "; ".join(f"row {number}: {why}" for number, why in list(left_out.items())[:TOLD])
    return first + (f"; and {len(left_out) - TOLD} more" if len(left_out) > TOLD else "")
