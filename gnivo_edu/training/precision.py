"""In what precision a network runs forward. Weights, moments and checkpoints keep their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gnivo_edu.policies.heads import has_hidden_states
from gnivo_edu.training.config import TrainConfig


def forward_precision(config: TrainConfig, device: torch.device) -> torch.autocast:
    """Forward passes in bfloat16 but for the head, if that is asked for; the weights stay as they
    are.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


@contextmanager
def wide_head(policy: nn.Module) -> Iterator[None]:
    """Inside an autocast, the head in the precision of its weights: scoring has it so, and both are
    to be one law.
    """
    head: Any = policy.get_output_embeddings() if has_hidden_states(policy) else None  # type: ignore[operator]
    if not isinstance(head, nn.Linear):
        yield
        return

    def wide(hidden: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            return nn.functional.linear(hidden.to(head.weight.dtype), head.weight, head.bias)

    # Of this one layer, whose class is left as it is.
    head.forward = wide  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        del head.forward
