"""Demonstrations for pretraining: whose they are, how often they go wrong, and as rows of inputs
and targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

NO_TARGET = -100  # what torch's cross-entropy leaves out
Demonstrations = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def demonstrating(name: str, options: Mapping[str, Any] | None = None) -> Any:
    """The task of `gnivo_edu.tasks`, or the toy environment "toy_envs/Name-v0", if it writes
    demonstrations.

    `options` go to it. Raises ValueError, in one line that lists those that do, on one that does
    not.

    >>> demonstrating("RandomTree")
    Traceback (most recent call last):
    ValueError: 'RandomTree' writes no demonstrations to learn from; these do: arithmetic, toy_envs/ArithmeticChain-v0
    """
    from gnivo_edu import tasks
    from gnivo_edu.training.config import TrainConfig
    from gnivo_edu.training.setup import make_task
    from gnivo_edu.verify import environments

    known = ["arithmetic", *(env for env in environments() if can_demonstrate(_class_of(env)))]
    if name not in known:
        is_there = (
            name in tasks.names()
            or name in environments()
            or f"toy_envs/{name}-v0" in environments()
        )
        says = "writes no demonstrations to learn from" if is_there else "is no task"
        raise ValueError(f"{name!r} {says}; these do: {', '.join(known)}")
    return make_task(TrainConfig(model="table", task=name, task_options=dict(options or {})), None)


def _class_of(env_id: str) -> Any:
    import gymnasium

    return gymnasium.make(env_id).unwrapped


def can_demonstrate(task: Any) -> bool:
    """Whether a task has the method `demonstrations`, or `demonstration` of a single prompt."""
    return hasattr(task, "demonstrations") or hasattr(task, "demonstration")


def demonstrator(task: Any) -> Callable[[int, float, int], Demonstrations]:
    """What writes (count, wrong_rate, seed) demonstrations: the task itself, or `slips` on its
    right answers.
    """
    if not can_demonstrate(task):
        raise ValueError(
            f"{type(task).__name__} writes no demonstrations: give it a method `demonstrations`"
        )
    own: Any = getattr(task, "demonstrations", None) or partial(slips, task)
    return lambda count, wrong_rate, seed: own(count, wrong_rate, seed=seed)


def slips(task: Any, count: int, wrong_rate: float, seed: int) -> Demonstrations:
    """Right answers with slips: tokens [count, T], lengths [count], prompt_index [count], int64.

    For a task with a method `demonstration(prompt_index)`, the right answer. Prompts are drawn
    evenly, with replacement. Each token but the last becomes, with chance `wrong_rate`, another one
    than it should be, drawn evenly among those that do not end the answer.

    >>> from toy_envs import ArithmeticChain
    >>> tokens, lengths, index = slips(ArithmeticChain(), 3, wrong_rate=0.0, seed=0)
    >>> bool((tokens[0, : lengths[0]] == ArithmeticChain().demonstration(index[0])).all())
    True
    """
    rng = np.random.default_rng(seed)
    index = rng.integers(len(task.prompts()), size=count)
    tokens, lengths = (
        np.full((count, task.horizon), task.pad_token_id),
        np.zeros(count, dtype=np.int64),
    )
    for row, number in enumerate(index.tolist()):
        answer = np.array(task.demonstration(number), dtype=np.int64)
        for t in np.flatnonzero(rng.random(len(answer) - 1) < wrong_rate):
            others = [v for v in range(task.vocab_size) if v not in (answer[t], task.eos_token_id)]
            answer[t] = rng.choice(others)
        lengths[row] = len(answer)
        tokens[row, : len(answer)] = answer
    return tokens, lengths, index


def demonstration_rows(
    prompts: Sequence[Any], tokens: Any, lengths: Any, pad_token_id: int
) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]:
    """Inputs, a prompt and its answer without the last token; and targets, -100 inside the prompt
    and after the end.

    Both are padded on the right, which a causal model does not see.

    >>> demonstration_rows([[9, 5], [9]], np.array([[1, 2, 8], [3, 4, 0]]), [2, 3], pad_token_id=8)
    (tensor([[9, 5, 1],
            [9, 3, 4]]), tensor([[-100,    1,    2],
            [   3,    4,    0]]))
    """
    width = max(len(prompt) + length - 1 for prompt, length in zip(prompts, lengths, strict=True))
    inputs = torch.full((len(prompts), width), pad_token_id)
    targets = torch.full((len(prompts), width), NO_TARGET)
    for row, (prompt, answer, length) in enumerate(zip(prompts, tokens, lengths, strict=True)):
        start = len(prompt) - 1
        inputs[row, : start + 1] = torch.as_tensor(prompt)
        inputs[row, start + 1 : start + length] = torch.as_tensor(answer[: length - 1])
        targets[row, start : start + length] = torch.as_tensor(answer[:length])
    return inputs, targets
