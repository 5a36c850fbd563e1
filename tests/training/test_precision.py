"""Forward passes in bfloat16; everything that is kept from one step to the next in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gnivo_edu.policies import load_checkpoint
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.loop import fine_tune
from gnivo_edu.training.precision import forward_precision, wide_head
from tests.training.training_runs import SUMS


def test_weights_gradients_and_moments_are_float32_while_layers_run_in_bf16(tmp_path: Path) -> None:
    model: Any = load_checkpoint()
    seen = set()

    def see(module: nn.Module, args: Any, out: Tensor) -> None:
        if torch.is_autocast_enabled("cpu"):  # else somebody looks whether the model has one law
            seen.add(out.dtype)

    model.model.layers[0].mlp.register_forward_hook(see)  # copied with the model
    config = TrainConfig(
        **SUMS | {"precision": "bf16", "steps": 1, "prompts_per_step": 2, "group_size": 2},
        report_questions=0,
        out=str(tmp_path / "run"),
    )
    run = fine_tune(config, policy=model)
    assert seen == {torch.bfloat16}
    parameters = list(run.policy.parameters())
    assert {x.dtype for p in parameters for x in (p, p.grad)} == {torch.float32}
    newest = max((run.folder.path / "checkpoints").iterdir())
    saved = torch.load(newest / "tensors.pt", weights_only=True)
    moments = [x for state in saved["optimizer"]["state"].values() for x in state.values()]
    assert {x.dtype for x in (*moments, *saved["policy"].values())} == {torch.float32}


def test_the_head_is_as_wide_as_its_weights_inside_an_autocast() -> None:
    model: Any = load_checkpoint()
    config = TrainConfig(precision="bf16")
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad(), forward_precision(config, torch.device("cpu")):
        narrow = model(input_ids=ids).logits
        with wide_head(model):
            wide = model(input_ids=ids).logits
        again = model(input_ids=ids).logits
    assert (narrow.dtype, wide.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(again, narrow)
