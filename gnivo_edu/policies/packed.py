"""Answers to one prompt in one row: the prompt once, behind it the answers, each of which sees the
prompt and itself alone. So the prompt is computed once for all of them, and so is its gradient.

    ids        x_1 x_2 x_3   y_1 y_2   z_1 z_2 z_3
    positions   0   1   2     3   4     3   4   5
    block       0   0   0     1   1     2   2   2

A token attends to block 0 and to its own, as far as its own position.

What all prompts begin with (a system prompt, worked examples) may be computed once for all rows:
one row of its own, whose keys and values every other row attends to as well. Gradients go back
through them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer

from gnivo_edu.policies.pieces import (
    ENTRIES_PER_WIDTH,
    PRODUCTS,
    SHARE,
    pieces_cost,
    pieces_of,
    row_cost,
    run_cost,
)

MASK_ENTRIES = 2**26  # the largest mask that is made
# Settings that may say how far back a layer looks, and settings that only sound so.
REACH = re.compile("window|chunk|local_attention|block_size|index_topk")
NO_REACH = re.compile("pattern|layers")


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Answers and their prompts, padded on the left; rows of one `owner`, 0, 1, .., have one
    prompt.
    """

    prompts: Int[np.ndarray, "B P"]
    mask: Bool[np.ndarray, "B P"]
    tokens: Int[np.ndarray, "B T"]
    lengths: Int[np.ndarray, " B"]
    owner: Int[np.ndarray, " B"]

    @property
    def written(self) -> Int[np.ndarray, " B"]:
        """How many tokens of an answer are read: the last is scored, and nothing follows it."""
        return np.maximum(self.lengths - 1, 0)

    @property
    def shared(self) -> int:
        """How many tokens all prompts begin with; the last of a prompt is never one of them, since
        its state is that before an answer.
        """
        _, rows = np.unique(self.owner, return_index=True)
        lengths = self.mask[rows].sum(1)
        columns = self.mask.shape[1] - lengths[:, None] + np.arange(lengths.min() - 1)
        ids = np.take_along_axis(self.prompts[rows], columns, axis=1)
        return int(np.logical_and.accumulate((ids == ids[0]).all(0)).sum())

    def behind(self, shared: int) -> Answers:
        """The same without the first `shared` tokens of each prompt."""
        return replace(self, mask=self.mask & (self.mask.cumsum(1) > shared))

    def rows(self, most: int | None) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " R"]]:
        """The row that each answer is put in, up to `most` answers of one owner to a row, and the
        number of an answer of each row.
        """
        order = self.owner.argsort(kind="stable")
        count = np.bincount(self.owner)
        rank = np.arange(len(order)) - np.repeat(count.cumsum() - count, count)
        # Answers in their order open a row of their own each time that `most` are in the last one.
        opens = rank % (most or len(order)) == 0
        row = np.empty_like(self.owner)
        row[order] = opens.cumsum() - 1
        return row, order[opens]


@dataclass(frozen=True, eq=False)
class Packed:
    """Rows that hold a prompt and several answers each. `block`: 0 for the prompt, 1 + the number
    of the answer, -1 for padding at the end; `places`: where in the rows, one after the other, the
    state before each token of the answers is, answer by answer. `beginning`: what all prompts begin
    with, which the rows leave out.
    """

    beginning: Int[Tensor, " C"]
    ids: Int[Tensor, "R L"]
    positions: Int[Tensor, "R L"]
    block: Int[Tensor, "R L"]
    places: Int[Tensor, " M"]

    def mask(self) -> Bool[Tensor, "R 1 L C+L"]:
        """Which token of the rows (second to last axis) attends to which of beginning and rows."""
        seen, seeing = self.block[:, None, :], self.block[:, :, None]
        before = self.positions[:, None, :] <= self.positions[:, :, None]
        within = (before & ((seen == 0) | (seen == seeing)))[:, None]
        return nn.functional.pad(within, (len(self.beginning), 0), value=True)

    def states(self, backbone: nn.Module) -> Float[Tensor, "M H"]:
        """Last hidden states before each token of the answers."""
        config: Any = getattr(backbone, "config", None)
        mask = self.mask()
        if getattr(config, "_attn_implementation", None) != "sdpa":
            # Other kernels add their mask to the scores.
            dtype = next(backbone.parameters()).dtype
            mask = torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
        cache = self._begun(backbone) if len(self.beginning) else None
        states: Tensor = backbone(
            input_ids=self.ids,
            attention_mask=mask,
            position_ids=self.positions,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return states.flatten(0, 1)[self.places]

    def _begun(self, backbone: nn.Module) -> Any:
        """The model's cache of the beginning, seen by every row; gradients go through it."""
        cache: Any = backbone(input_ids=self.beginning[None], use_cache=True).past_key_values
        for layer in cache.layers:
            if type(layer) is not DynamicLayer:
                raise TypeError(f"a {type(layer).__name__} keeps no keys that rows can share")
            keys: Any = layer.keys
            values: Any = layer.values
            layer.keys, layer.values = (x.expand(len(self.ids), -1, -1, -1) for x in (keys, values))
        return cache


@dataclass(frozen=True)
class Layout:
    """How answers stand in rows: up to `most` answers to one prompt in a row, all of them if it is
    None; of all prompts the first `shared` tokens computed once, outside of the rows.
    """

    most: int | None = None
    shared: int = 0


def packed_rows(answers: Answers, device: torch.device, layout: Layout = Layout()) -> Packed:
    """Prompts and their answers in rows, on a device.

    >>> answers = Answers(
    ...     prompts=np.array([[5, 6], [5, 6]]),
    ...     mask=np.ones((2, 2), dtype=bool),
    ...     tokens=np.array([[1, 2], [3, 4]]),
    ...     lengths=np.array([2, 2]),
    ...     owner=np.array([0, 0]),
    ... )
    >>> rows = packed_rows(answers, torch.device("cpu"))
    >>> rows.ids.tolist(), rows.positions.tolist(), rows.places.tolist()
    ([[5, 6, 1, 3]], [[0, 1, 2, 2]], [1, 2, 1, 3])
    """
    shared = layout.shared
    beginning = answers.prompts[0][answers.mask[0]][:shared]
    answers = answers.behind(shared)
    row, first = answers.rows(layout.most)
    written, prompt = answers.written, answers.mask.sum(1)[first]
    filled = np.bincount(row, weights=written).astype(np.int64)
    length = int((prompt + filled).max())
    # Answers stand in their row in their order: each begins where the one before it ends.
    order = row.argsort(kind="stable")
    start = np.empty_like(row)
    start[order] = written[order].cumsum() - written[order]
    start += (prompt - (filled.cumsum() - filled))[row]
    ids = np.zeros((len(first), length), dtype=np.int64)
    positions = np.zeros_like(ids)
    block = np.full_like(ids, -1)

    r, c = answers.mask[first].nonzero()
    column = c - (answers.mask.shape[1] - prompt)[r]
    ids[r, column] = answers.prompts[first][r, c]
    positions[r, column] = column
    block[r, column] = 0

    steps = np.arange(answers.tokens.shape[1])
    a, t = (steps < written[:, None]).nonzero()
    r, column = row[a], start[a] + t
    ids[r, column] = answers.tokens[a, t]
    positions[r, column] = prompt[r] + t
    block[r, column] = 1 + a

    a, t = (steps < answers.lengths[:, None]).nonzero()
    # The first token of an answer follows the last one of the prompt.
    before = np.where(t == 0, prompt[row[a]] - 1, start[a] + t - 1)
    places = row[a] * length + before
    arrays = (beginning, ids, positions + shared, block, places)
    return Packed(*(torch.from_numpy(x).to(device) for x in arrays))


def best_layout(answers: Answers, config: Any, shared: int = 0) -> Layout | None:
    """How answers to one prompt are best put in rows, with what all prompts share in rows or
    outside of them; None where nothing is as good as each answer in a row of its own.

    Counted are the tokens that are run and the attention entries, a token at 4 H entries. Apart:
    `pieces_of` rows of like length, half of whose entries a causal kernel leaves out. Packed: R
    rows of L tokens and all of their L^2 entries; with a beginning of C tokens, these once and
    R L (C + L) entries. So many long answers to a short prompt stand K / 2 or K / 4 to a row, or
    apart. Packing has to save a tenth of the work and about a millisecond; and no row may be longer
    than some layer looks back.
    """
    width, layers = (getattr(config, name, 0) for name in ("hidden_size", "num_hidden_layers"))
    prompt, written = answers.mask.sum(1), answers.written
    pieces = pieces_of(prompt, written, config)
    apart = pieces_cost(pieces, prompt, written, config)
    # An entry is 2 H products a layer.
    least_saved = max(SHARE * apart, PRODUCTS / max(2 * width * layers, 1))
    if apart <= least_saved:
        return None
    costs: dict[Layout, float] = {}
    reach = reach_of(config)
    for layout in _layouts(int(np.bincount(answers.owner).max()), shared):
        C = layout.shared
        row, first = answers.rows(layout.most)
        length = int((prompt[first] + np.bincount(row, weights=written)).max()) - C
        if C + length <= reach and len(first) * length * (C + length) <= MASK_ENTRIES:
            costs[layout] = len(first) * length * (ENTRIES_PER_WIDTH * width + C + length)
            if C:
                costs[layout] += row_cost(C, config) + run_cost(config)
    best = min(costs, key=costs.__getitem__, default=None)
    return None if best is None or apart - costs[best] < least_saved else best


def _layouts(most: int, shared: int) -> Iterator[Layout]:
    """All, a half, a quarter, .. of the answers to a prompt in a row; the beginning in it, or
    outside of it.
    """
    while most > 1:
        yield Layout(most)
        if shared:
            yield Layout(most, shared)
        most = (most + 1) // 2
    if shared:
        yield Layout(1, shared)


def reach_of(config: Any) -> float:
    """How many tokens every layer looks back at, at the least; infinity where all look at all.

    A mask that is given takes the place of a window or a chunk, which then nobody keeps to.
    """
    settings = config.to_dict()
    named = [name for name in settings if REACH.search(name) and not NO_REACH.search(name)]
    bounds = [settings[name] for name in named if isinstance(settings[name], int)]
    other = set(settings.get("layer_types") or ()) - {"full_attention"}
    return min((bound for bound in bounds if bound > 0), default=0 if other else float("inf"))
