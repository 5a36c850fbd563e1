"""The registry of objectives: every name, and what is said to one that is not there."""

from __future__ import annotations

import pytest

from gnivo_edu import objectives


def test_registry() -> None:
    assert {"gnivo", "group_value", "value_mse"} <= set(objectives.names())
    for name in objectives.names():
        assert objectives.get(name).__name__ == name
        assert objectives.get(name).__doc__
    with pytest.raises(ValueError, match="did you mean 'group_value'"):
        objectives.get("groupvalue")
    with pytest.raises(ValueError, match="known: "):
        objectives.get("zzz")


def test_less_than_half_a_name_finds_the_objective() -> None:
    with pytest.raises(ValueError, match="did you mean 'sft_winning'"):
        objectives.get("sft")
