"""Norms that keep float64 inside a model of float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class PreciseRMSNorm(nn.Module):
    """x / sqrt(mean x^2 + eps) times `offset` + weight, in the precision of x, at least float32.

    The library's own norm computes in float32 whatever x is: inside a float64 model it leaves
    errors of 1e-7, which no gradient check to 1e-12 and no exact fit survives. The weight keeps its
    name, so that saving and loading do not see the difference. `offset` 1: weights that are stored
    less 1 (Gemma). Source: Zhang and Sennrich (2019), arXiv:1910.07467, Eq. 4.
    """

    def __init__(self, weight: Tensor, eps: float, offset: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.eps = eps
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = (wide.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        if self.offset:
            return ((self.offset + self.weight.to(wide.dtype)) * (wide * scale)).to(x.dtype)
        return self.weight * (wide * scale).to(x.dtype)


def precise_norms(model: PreTrainedModel) -> PreTrainedModel:
    """Replace every RMSNorm of a transformer, in place, by one that keeps float64; returns the
    model.

    A norm that computes something else (without a weight, with a gate) is left as it is. In float64
    mixtures of experts take one expert after the other, since the fused kernel knows no float64.
    """
    for name, module in list(model.named_modules()):
        is_norm = type(module).__name__.endswith("RMSNorm")
        if not is_norm or isinstance(module, PreciseRMSNorm):
            continue
        if (twin := _precise_twin(module)) is not None:
            model.set_submodule(name, twin)
    if model.dtype == torch.float64 and hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    return model


@torch.no_grad()
def _precise_twin(norm: Any) -> PreciseRMSNorm | None:
    """The norm that keeps float64 and agrees with one of the library on a vector, None if there is
    none.
    """
    names = ("variance_epsilon", "eps", "epsilon")
    eps = next((getattr(norm, name) for name in names if hasattr(norm, name)), None)
    weight = getattr(norm, "weight", None)
    # A buffer is no weight: what holds one may normalise vectors of any length (Falcon Mamba).
    if eps is None or not isinstance(weight, nn.Parameter) or weight.ndim != 1:
        return None
    x = torch.linspace(-1, 2, len(weight), dtype=weight.dtype, device=weight.device)[None]
    try:
        expected = norm(x)
    except TypeError:  # it takes a gate as well
        return None
    half = weight.dtype not in (torch.float32, torch.float64)
    tolerance = 2e-2 if half else 1e-5
    for offset in (0.0, 1.0):
        twin = PreciseRMSNorm(weight, eps, offset)
        if torch.allclose(twin(x), expected, rtol=tolerance, atol=tolerance):
            return twin
    return None
