"""Keys and values of many rows, written in place: memory for the whole answers is taken once."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer


def move_rows(rooms: Float[Tensor, "*L B h R d"], rows: Int[Tensor, " b"], filled: int) -> Tensor:
    """The first b rows of a memory, once row i of them is what row `rows[i]` was; in place.

    Only rows that stand elsewhere are copied, and of them the `filled` tokens: where a few of many
    rows leave, the last ones move into the gaps, and the rest is not touched.

    >>> rooms = torch.arange(4.0).reshape(4, 1, 1, 1)
    >>> move_rows(rooms, torch.tensor([0, 3, 2]), filled=1).flatten()
    tensor([0., 3., 2.])
    """
    written = rooms[..., :filled, :]
    moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
    written[..., moved, :, :, :] = written[..., rows[moved], :, :, :]
    return rooms[..., : len(rows), :, :, :]


class RoomyLayer(DynamicLayer):
    """Keys and values [B, heads, t, size] of one layer, with room: a `DynamicLayer` copies itself
    at every token.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, layer: Any, room: int) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = layer.keys, layer.values
        self._rooms = [nn.functional.pad(x, (0, 0, 0, room)) for x in (layer.keys, layer.values)]

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write what is new behind what is there."""
        start = self.keys.shape[-2]
        stop = start + key_states.shape[-2]
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., start:stop, :] = states
        self.keys, self.values = (room[..., :stop, :] for room in self._rooms)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Hold these rows only."""
        length = self.keys.shape[-2]
        more = len(beam_idx) > len(self.keys)
        for i, room in enumerate(self._rooms):
            rows = beam_idx.to(room.device)
            self._rooms[i] = room[rows] if more else move_rows(room, rows, filled=length)
        self.keys, self.values = (room[..., :length, :] for room in self._rooms)
