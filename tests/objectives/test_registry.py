"""The registry of objectives: every name, and what is said to one that is not there."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch


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


def test_an_objective_of_one_s_own_may_return_the_loss_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "losses_of_a_reader.py").write_text(
        "from gnivo_edu.objectives import LossOutput\n"
        "def bare(batch, alpha=0.1):\n    return batch.policy_logps.sum() * alpha\n"
        "def whole(batch):\n    return LossOutput(batch.policy_logps.sum(), {'seen': 1.0})\n"
    )
    monkeypatch.chdir(tmp_path)
    half = torch.zeros(1, 2, 1)
    batch = GroupBatch(
        policy_logps=half - 1, behaviour_logps=half, rewards=half[..., 0], mask=half == 0
    )
    bare, whole = (objectives.get(f"losses_of_a_reader:{name}") for name in ("bare", "whole"))
    assert float(bare(batch, alpha=0.5).loss) == -1.0
    assert list(inspect.signature(bare).parameters) == ["batch", "alpha"]
    assert whole(batch).metrics == {"seen": 1.0}
    with pytest.raises(ValueError, match="has no function 'bar'"):
        objectives.get("losses_of_a_reader:bar")
