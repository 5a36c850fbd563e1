"""Every kind of output head, and the largest difference between two lists of tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gnivo_edu.policies.heads import Head

HEADS: dict[str, dict[str, Any]] = {
    "plain": {},
    "softcap": {"softcap": 1.5},
    "scale": {"scale": 0.3},
    "temperature": {"temperature": 0.7},
    "fewer actions": {"num_actions": 9},
    "ids left out": {"leave_out": (1, 4)},
    "all of it": {
        "softcap": 2.0,
        "scale": 1.7,
        "temperature": 1.3,
        "num_actions": 10,
        "leave_out": (0, 8),
    },
}


def law(name: str, weight: Tensor, bias: Tensor | None) -> Head:
    return Head(weight=weight, bias=bias, **HEADS[name])


def gap(a: Any, b: Any) -> float:
    return max(float((x - y).detach().abs().max()) for x, y in zip(a, b, strict=True))
