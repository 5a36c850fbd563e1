"""Demonstrations for pretraining: whose they are, and as rows of inputs and targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from gnivo_edu import tasks
from gnivo_edu.tasks.registry import writes_answers

NO_TARGET = -100  # what torch's cross-entropy leaves out


def demonstrating(name: str, options: Mapping[str, Any] | None = None) -> Any:
    """The task or toy environment of this name, if it writes demonstrations.

    `options` go to it. Raises ValueError, in one line that lists those that do, on a name that is
    not there and on one that writes none.

    >>> demonstrating("RandomTree")
    Traceback (most recent call last):
    ValueError: 'RandomTree' writes no demonstrations; these do: arithmetic, ...
    """
    try:
        task = tasks.get(name, **(options or {}))
        if writes_answers(task):
            return task
        problem = f"{name!r} writes no demonstrations; these do"
    except ValueError as error:
        problem = f"{error}; these write demonstrations"
    raise ValueError(f"{problem}: {', '.join(tasks.with_demonstrations())}")


def demonstration_rows(
    prompts: Sequence[Any], tokens: Any, lengths: Any, pad_token_id: int
) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]:
    """Inputs, a prompt and its answer without the last token; and targets, -100 inside the prompt
    and after the end.

    Both are padded on the right, which a causal model does not see.

    >>> import numpy as np
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
