"""What every objective returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class LossOutput:
    """`loss`, a scalar to minimise, and `metrics`, detached scalars by name.

    Each objective says what they are.
    """

    loss: Float[Tensor, ""]
    metrics: dict[str, Float[Tensor, ""]] = field(default_factory=dict)
