"""The questions of a task: which of them can be graded, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int

from gnivo_edu.training.processes import Processes


def questions_of(task: Any) -> Int[np.ndarray, " N"]:
    """Numbers of the prompts whose answers can be graded: all but those that `task.unreadable()`
    lists, if it does.

    Raises ValueError where none is left.

    >>> from toy_envs import ArithmeticChain
    >>> questions_of(ArithmeticChain(num_prompts=3))
    array([0, 1, 2])
    """
    every = np.arange(len(task.prompts()))
    unreadable = getattr(task, "unreadable", None)
    left = (
        every
        if unreadable is None
        else np.setdiff1d(every, np.asarray(unreadable(), dtype=np.int64))
    )
    if not len(left):
        raise ValueError(
            f"none of the {len(every):,} gold answers can be read: nothing can be rewarded, check "
            "the data"
        )
    return left


def agree_on_questions(
    task: Any, processes: Processes, say: Callable[[str], None]
) -> Int[np.ndarray, " N"]:
    """`questions_of` the task, the same on every process; says how many are left out, if any."""
    count = len(task.prompts())
    # One of them asks: a comparison that runs into its time limit here might end in time on
    # another.
    found: Any = processes.gather(lambda: questions_of(task) if processes.first else None)[0]
    if len(found) < count:
        say(
            f"{count - len(found):,} of {count:,} questions are left out: their gold answers "
            "cannot be read"
        )
    return np.asarray(found)


def question_text(task: Any, prompt_index: int) -> str:
    """The question in words: of a text task without the tokens around it."""
    from gnivo_edu.evaluation.step_values import prompt_text

    problems = getattr(task, "problems", None)
    return str(
        prompt_text(task, prompt_index) if problems is None else problems[prompt_index].question
    )


def statuses(task: Any, tokens: Any, lengths: Any, prompt_index: Any) -> list[str | None]:
    """What became of answers, "right", "wrong" and so on; None where the task has no right answer.

    A reward without one is not asked a second time: it may be slow, and says no more than its
    number."""
    problems = getattr(task, "problems", None)
    if not hasattr(task, "grade") or not (
        problems is None or any(problem.gold for problem in problems)
    ):
        return [None] * len(lengths)
    return [grade.status for grade in task.grade(tokens, lengths, prompt_index)]
