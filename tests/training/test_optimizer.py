"""What moves the weights: one kernel where there is one, and the same steps without."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.setup import make_optimizer


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_one_kernel_steps_as_many_do(kind: str) -> None:
    moved = []
    for fused in (True, False):
        config = TrainConfig(optimizer=kind, fused_optimizer=fused, weight_decay=0.1)
        model = tiny_model("llama")
        optimizer = make_optimizer(config, model)
        assert optimizer.param_groups[0]["fused"] == fused
        for step in range(3):
            for i, p in enumerate(model.parameters()):
                p.grad = (torch.arange(p.numel()).view_as(p) + i + step).sin()
            optimizer.step()
        moved.append([p.detach() for p in model.parameters()])
    start = list(tiny_model("llama").parameters())
    for one, many, before in zip(*moved, start, strict=True):
        assert float((one - many).abs().max()) < 1e-6
        assert float((one - before).detach().abs().max()) > 1e-5


def test_a_checkpoint_without_the_kernel_goes_on_without_it() -> None:
    first, second = (
        make_optimizer(TrainConfig(fused_optimizer=fused), tiny_model("llama"))
        for fused in (False, True)
    )
    for p in first.param_groups[0]["params"]:
        p.grad = torch.ones_like(p)
    first.step()
    second.load_state_dict(first.state_dict())
    assert not second.param_groups[0]["fused"]


def test_where_no_kernel_is_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = torch.optim.AdamW

    def without(groups: Any, fused: bool | None = None, **more: Any) -> Any:
        if fused:
            raise RuntimeError("`fused=True` requires all the params to be floating point ...")
        return kind(groups, **more)

    monkeypatch.setattr(torch.optim, "AdamW", without)
    assert not make_optimizer(TrainConfig(), tiny_model("llama")).param_groups[0]["fused"]
