"""What the rows of the implicit-value objectives say beside one another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnivo_edu.population.atlas import find, rows_of
from gnivo_edu.population.claims.claim import entry as solved


@pytest.mark.slow
def test_softmax_weights_err_less_in_larger_groups():
    row = next(
        row for row in rows_of("gnivo") if row.variant.startswith("softmax weights, all depths")
    )
    pairs, fours = (solved("gnivo", f"softmax weights, all depths, K={K}") for K in (2, 4))
    threes = find(replace(row, group_size=3))
    assert pairs.tv_from_optimum > threes.tv_from_optimum > fours.tv_from_optimum
