"""Gradient checkpointing: layers that keep their inputs alone for the backward pass, and are run
once more in it. The same numbers, for less memory and a third more time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute_layers(policy: nn.Module) -> None:
    """Have the layers of a model run again in the backward pass of what is scored inside of
    `recomputing`. Raises ValueError, in one line, where it has no layers that can.

    >>> recompute_layers(nn.Linear(1, 1))
    Traceback (most recent call last):
    ValueError: Linear has no layers that can be run again: set gradient_checkpointing to false
    """
    layers: list[Any] = [x for x in policy.modules() if isinstance(x, GradientCheckpointingLayer)]
    if not layers:
        name = type(getattr(policy, "get_base_model", lambda: policy)()).__name__
        raise ValueError(
            f"{name} has no layers that can be run again: set gradient_checkpointing to false"
        )
    # Dropout is off, so that no state of a generator has to be kept.
    again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    for layer in layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = again


@contextmanager
def recomputing(policy: nn.Module) -> Iterator[None]:
    """Inside, the layers that are to be run again keep their inputs alone."""
    layers = [x for x in policy.modules() if getattr(x, "gradient_checkpointing", False)]
    # In a layer's own mode, which is what its class asks for; dropout, inside it, stays off.
    modes = [(layer, layer.training) for layer in layers]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode


def recomputes(policy: nn.Module) -> bool:
    """Whether layers keep their inputs alone just now: they then read and write no cache."""
    flagged: Any = (x for x in policy.modules() if getattr(x, "gradient_checkpointing", False))
    return any(x.training for x in flagged)
