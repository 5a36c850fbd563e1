"""Rows of like length run together, so that little padding is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

# A token costs about 12 H^2 products a layer (H: the model's width) and an attention entry 2 H, so
# a token as much as 6 H entries; fewer here, to be on the safe side.
ENTRIES_PER_WIDTH = 4
# What another way of running rows has to save: a tenth of the work, and the time of its own
# bookkeeping. A further run of the layers takes about that of so many products a layer.
SHARE, PRODUCTS = 0.1, 1e7


def row_cost(length: Any, config: Any) -> Any:
    """Attention entries that a row of so many tokens is worth, a token counted at 4 H of them; a
    causal kernel leaves half of them out.
    """
    return length * (ENTRIES_PER_WIDTH * getattr(config, "hidden_size", 0) + length / 2)


def run_cost(config: Any) -> float:
    """What a further run of the layers costs, in the same entries."""
    return PRODUCTS / max(2 * getattr(config, "hidden_size", 0), 1)


def pieces_of(
    prompt: Int[np.ndarray, " B"], written: Int[np.ndarray, " B"], config: Any
) -> list[Int[np.ndarray, " b"]]:
    """Numbers of the rows that are best run together, from the lengths of their prompts, padded on
    the left, and of what follows, padded on the right: all of them, or pieces of like length.

    >>> from transformers import LlamaConfig
    >>> wide = LlamaConfig(hidden_size=4096)
    >>> [piece.tolist() for piece in pieces_of(np.full(4, 9), np.array([500, 50, 480, 52]), wide)]
    [[1, 3], [2, 0]]
    """
    return _split((prompt + written).argsort(kind="stable"), prompt, written, config)


def pieces_cost(
    pieces: list[Int[np.ndarray, " b"]],
    prompt: Int[np.ndarray, " B"],
    written: Int[np.ndarray, " B"],
    config: Any,
) -> float:
    """That of all rows, each as long as the longest of its piece."""
    longest = [int(prompt[piece].max() + written[piece].max()) for piece in pieces]
    rows = sum(
        len(piece) * row_cost(length, config) for piece, length in zip(pieces, longest, strict=True)
    )
    return float(rows + (len(pieces) - 1) * run_cost(config))


def _split(
    rows: Int[np.ndarray, " b"], prompt: np.ndarray, written: np.ndarray, config: Any
) -> list[Int[np.ndarray, " b"]]:
    """Rows in the order of their lengths, halved where that saves most, and their halves again."""
    first, last = _upto(rows, prompt, written), _upto(rows[::-1], prompt, written)[::-1]
    count = np.arange(1, len(rows))
    whole = len(rows) * row_cost(first[-1], config)
    shorter, longer = (row_cost(x, config) for x in (first[:-1], last[1:]))
    halved = count * shorter + count[::-1] * longer
    saved = whole - halved - run_cost(config)
    if not len(saved) or saved.max() < SHARE * whole:
        return [rows]
    at = int(saved.argmax()) + 1
    halves = (rows[:at], rows[at:])
    return [piece for half in halves for piece in _split(half, prompt, written, config)]


def _upto(
    rows: Int[np.ndarray, " b"], prompt: np.ndarray, written: np.ndarray
) -> Float[np.ndarray, " b"]:
    """Columns that the first 1, 2, .. of some rows take together."""
    longest = [np.maximum.accumulate(x[rows]) for x in (prompt, written)]
    return (longest[0] + longest[1]).astype(float)
