"""Arithmetic paid in other ways: by degrees, and by three placebos that pay for nothing that helps.

A method that gains as much from a placebo as from the reward has not learned from the reward.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnivo_edu.tasks.arithmetic import Arithmetic

Reward = Literal["task", "graded", "random", "form", "shuffled"]


def paid(reward: Reward, seed: int, **options: Any) -> Arithmetic:
    """The task with its own reward or another; `seed` of the coins and of the shuffles.

    "graded": the share of an answer's totals that are right. Placebos:
    "random": a fair coin for every answer. "form": 1 for an answer with as many totals as the
    question has operations and an end, whatever they say. "shuffled": the rewards of the answers to
    a question, dealt out among them anew, so that a group earns what it should and no answer does.
    """
    if reward == "task":
        return Arithmetic(**options)
    kinds = {"graded": _Graded, "random": _Random, "form": _Form, "shuffled": _Shuffled}
    task = kinds[reward](**options)
    task.rng = np.random.default_rng([seed, 0x504C])  # a stream that nothing else reads
    task.name = f"{task.name}-{reward}"
    return task


class _Paid(Arithmetic):
    """Another reward, which may have coins in it."""

    rng: np.random.Generator


class _Random(_Paid):
    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        return self.rng.integers(2, size=len(tokens)).astype(np.float64)


class _Graded(_Paid):
    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        rewards = np.zeros(len(tokens))
        rows = zip(tokens, lengths, prompt_index.tolist(), strict=True)
        for place, (row, length, number) in enumerate(rows):
            written = self.decode(row[:length].tolist()).removesuffix(".").split(";")
            right = [np.base_repr(total, self.base) for total in self.totals(number)[1:]]
            hits = sum(a == b for a, b in zip(written, right, strict=False))
            rewards[place] = hits / max(len(written), len(right))
        return rewards


class _Form(_Paid):
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


class _Shuffled(_Paid):
    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        rewards = np.array(super()._score(tokens, lengths, prompt_index), dtype=np.float64)
        for number in np.unique(prompt_index):
            group = np.flatnonzero(prompt_index == number)
            rewards[group] = self.rng.permutation(rewards[group])
        return rewards
