"""Answers that lie ready, by prompt: those of earlier steps, and those of a file."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

Rows = dict[str, Tensor]
STREAM = (2,)  # what keeps these random numbers apart from all others that are made from a seed
# Of an answer: `logps`, its tokens' under its writer, nats, or nan where the writer is not known;
# `written`, the step of the run that it was written in, or -1.
FIELDS = ("tokens", "lengths", "logps", "truncated", "rewards", "prompt_index", "written")


class Stock:
    """Answers sorted by prompt: `rows`, tensors [M] or [M, T] by the names of `FIELDS`.

    >>> stock = Stock({"prompt_index": torch.tensor([4, 1, 4]), "lengths": torch.tensor([1, 2, 3])})
    >>> stock.rows["lengths"], len(stock.of(4)), len(stock.of(2))
    (tensor([2, 1, 3]), 2, 0)
    """

    def __init__(self, rows: Rows) -> None:
        order = rows["prompt_index"].argsort(stable=True)
        self.rows = {name: x[order] for name, x in rows.items()}

    def of(self, prompt: int) -> range:
        """Which rows are answers to a prompt."""
        numbers = self.rows["prompt_index"].numpy()
        return range(*(int(np.searchsorted(numbers, prompt, side)) for side in ("left", "right")))

    def pick(
        self, prompts: Iterable[int], count: int, seed: int, step: int
    ) -> list[Int[Tensor, " rows"]]:
        """For each prompt of a step the numbers of at most `count` of its answers, each once.

        Drawn evenly, from a stream made from (seed, step, place of the prompt) and nothing else.
        """
        picked = []
        for place, prompt in enumerate(prompts):
            stream = np.random.SeedSequence([seed, step, place], spawn_key=STREAM)
            rows = np.random.default_rng(stream).permutation(np.asarray(self.of(int(prompt))))
            picked.append(torch.as_tensor(rows[:count], dtype=torch.int64))
        return picked


class Replay(Stock):
    """What the policy has written in the last `age` steps, with the log-probabilities that it gave
    to its own answers then.
    """

    def __init__(self, rows: Rows, age: int) -> None:
        super().__init__(rows)
        self.age = age

    def after(self, step: int, new: Rows) -> Replay:
        """The buffer after a step, at whose end the policy's answers of it, `new`, are added."""
        rows = {name: torch.cat([self.rows[name], new[name]]) for name in FIELDS}
        # The next step is step + 1; what is older than `age` then is forgotten.
        fresh = step + 1 - rows["written"] <= self.age
        return Replay({name: x[fresh] for name, x in rows.items()}, self.age)
