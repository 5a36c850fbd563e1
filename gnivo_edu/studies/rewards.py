"""Arithmetic, and three placebos of it: the same questions, paid for nothing that helps.

A method that gains as much from a placebo as from the reward has not learned from the reward.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnivo_edu.tasks.arithmetic import Arithmetic

Reward = Literal["task", "random", "form", "shuffled"]


def paid(reward: Reward, seed: int, **options: Any) -> Arithmetic:
    """The task with its own reward or a placebo; `seed` of the coins and of the shuffles.

    "random": a fair coin for every answer. "form": 1 for an answer with as many totals as the
    question has operations and an end, whatever they say. "shuffled": the rewards of the answers to
    a question, dealt out among them anew, so that a group earns what it should and no answer does.
    """
    if reward == "task":
        return Arithmetic(**options)
    task: _Placebo = {"random": _Random, "form": _Form, "shuffled": _Shuffled}[reward](**options)
    task.rng = np.random.default_rng([seed, 0x504C])  # a stream that nothing else reads
    task.name = f"{task.name}-{reward}"
    return task


class _Placebo(Arithmetic):
    """A reward that may have coins in it."""

    rng: np.random.Generator


class _Random(_Placebo):
    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        return self.rng.integers(2, size=len(tokens)).astype(np.float64)


class _Form(_Placebo):
    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        rewards = np.zeros(len(tokens))
        rows = zip(tokens, lengths, prompt_index.tolist(), strict=True)
        for place, (row, length, number) in enumerate(rows):
            text = self.decode(row[:length].tolist())
            written = text.removesuffix(".").split(";")
            shaped = text.endswith(".") and all(part.isdecimal() for part in written)
            rewards[place] = shaped and len(written) == self.tier[number]
        return rewards


class _Shuffled(_Placebo):
    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        rewards = np.array(super()._score(tokens, lengths, prompt_index), dtype=np.float64)
        for number in np.unique(prompt_index):
            group = np.flatnonzero(prompt_index == number)
            rewards[group] = self.rng.permutation(rewards[group])
        return rewards
