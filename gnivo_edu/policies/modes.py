"""Where a policy is, and how to run it without dropout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(policy: nn.Module) -> Iterator[None]:
    """Dropout off inside; the mode of each part is put back afterwards."""
    training = [part for part in policy.modules() if part.training]
    policy.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def device_of(policy: nn.Module) -> torch.device:
    """Device of the first parameter."""
    return next(policy.parameters()).device
