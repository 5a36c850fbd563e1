"""Rows that move within their memory, and a layer of a cache that grows without a copy."""

from __future__ import annotations

import pytest
import torch
from transformers.cache_utils import DynamicLayer

from gnivo_edu.policies.rooms import RoomyLayer, move_rows


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [0, 3], [3, 1, 0], [2, 2, 0], [1], [3, 2, 1, 0]])
def test_rows_are_moved_in_place_as_if_chosen(rows: list[int]) -> None:
    rooms = torch.randn(2, 4, 3, 5, 2)
    before, chosen = rooms.clone(), torch.tensor(rows)
    moved = move_rows(rooms, chosen, filled=4)
    assert torch.equal(moved[..., :4, :], before[:, chosen, :, :4])
    assert moved.data_ptr() == rooms.data_ptr()
    assert torch.equal(rooms[..., 4:, :], before[..., 4:, :])  # nothing was written there yet


def test_a_layer_with_room_is_a_dynamic_layer() -> None:
    plain = DynamicLayer()
    plain.update(torch.randn(3, 2, 4, 5), torch.randn(3, 2, 4, 5))
    roomy = RoomyLayer(plain, room=3)
    for rows in ([2, 0, 1], [1, 2], [0, 0, 1, 1, 0]):
        states = [torch.randn(len(plain.keys), 2, 1, 5) for _ in range(2)]
        for mine, its in zip(roomy.update(*states), plain.update(*states), strict=True):
            assert torch.equal(mine, its)
        for layer in (roomy, plain):
            layer.reorder_cache(torch.tensor(rows))
        assert torch.equal(roomy.keys, plain.keys)
        assert torch.equal(roomy.values, plain.values)
