"""Where a policy is, and how to run it without dropout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(policy: nn.Module) -> Iterator[None]:
    """Dropout off inside; the mode is put back afterwards."""
    training = policy.training
    policy.eval()
    try:
        yield
    finally:
        policy.train(training)


def device_of(policy: nn.Module) -> torch.device:
    """Device of the first parameter."""
    return next(policy.parameters()).device
