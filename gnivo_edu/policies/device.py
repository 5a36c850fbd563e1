"""One place that picks the device."""

from __future__ import annotations

import torch


def pick_device(exact: bool = False) -> torch.device:
    """CUDA where there is one, else the CPU. An Apple GPU (MPS) is taken only where `exact` work is
    not asked for.

    Exact work is float64, which MPS does not have.

    >>> pick_device(exact=True).type in ("cuda", "cpu")
    True
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if not exact and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
