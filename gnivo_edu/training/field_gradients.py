"""The gradient of a loss in what is scored: c^f = dL/df for each field f of a batch, which needs
all groups of the batch at once and no network. The first half of the two-pass gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gnivo_edu.batch import CONSTANTS, PER_TOKEN, GroupBatch
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.training.config import name_of

Objective = Callable[..., LossOutput]
Rows = Int[Tensor, " B"]
Fields = Mapping[str, Tensor]

# What a network may be asked for; all other fields of a GroupBatch are constants.
LIVE = tuple(name for name in (*PER_TOKEN, "log_z") if name not in CONSTANTS)


class NotFiniteError(ValueError):
    """A coefficient that is inf or nan, at `place`: [prompt, response, token]."""

    def __init__(self, message: str, place: list[int]) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True, eq=False)
class Coefficients:
    """d loss / d field of a batch, by name of the field, and where they were taken.

    `output`: the loss and the metrics, detached. `by_field` [N, K, T], 0 outside the mask (`log_z`
    [N]), loss per unit of the field. `scored`: the fields themselves; `mask` [N, K, T]. Row r is
    response r % K of prompt r // K."""

    output: LossOutput
    by_field: dict[str, Tensor]
    scored: dict[str, Tensor]
    mask: Bool[Tensor, "N K T"]

    def of_rows(self, rows: Rows) -> dict[str, Tensor]:
        """Coefficients of some rows, [B, T]; that of a prompt's `log_z`, [B], is shared out among
        its K responses.
        """
        K = self.mask.shape[1]
        return {
            name: self.take(c / K if name == "log_z" else c, rows)
            for name, c in self.by_field.items()
        }

    def for_fields(self, fields: Fields) -> Coefficients:
        """The same for a network that scored these `fields`: in their precision, on their device.

        A coefficient that is smaller than the rounding of the loss is rounding itself, and 0: raw
        weights of e^50 leave 1e5 where they should cancel. Raises ValueError on one that is too
        large for that precision.
        """
        rounding = 4 * torch.finfo(self.output.loss.dtype).eps * self.output.loss.abs()
        by_field = {
            name: c.masked_fill(c.abs() <= rounding, 0.0).to(fields[name])
            for name, c in self.by_field.items()
        }
        for name, c in by_field.items():
            if not bool(c.isfinite().all()):
                raise NotFiniteError(
                    f"a coefficient of {name} is {float(self.by_field[name].abs().max()):.3g}, too "
                    f"large for {c.dtype}",
                    (~c.isfinite()).nonzero()[0].tolist(),
                )
        return replace(self, by_field=by_field, scored=dict(fields))

    def take(self, x: Tensor, rows: Rows) -> Tensor:
        """Rows of a field [N, K, T], or of one per prompt [N]."""
        return x[rows // self.mask.shape[1]] if x.dim() == 1 else x.flatten(0, 1)[rows]


def coefficients(
    objective: Objective, batch: GroupBatch, live: Iterable[str] = LIVE, **settings: Any
) -> Coefficients:
    """Run the objective once and differentiate it with respect to the `live` fields of the batch,
    whole groups at once.

    No graph behind the batch is needed or used. What the objective detaches stays detached, and
    what it does not use has coefficients zero. `settings` go to the objective. Raises ValueError,
    with the names of the objective and of the field, on a coefficient that is not finite, and on a
    field that is a constant.

    >>> from gnivo_edu.objectives import gvpo
    >>> half = torch.full((1, 2, 1), 0.5).log()
    >>> rewards, mask = torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, 1)
    >>> batch = GroupBatch(policy_logps=half, behaviour_logps=half, rewards=rewards, mask=mask)
    >>> coefficients(gvpo, batch, alpha=1.0).by_field["policy_logps"].flatten()
    tensor([-0.5000,  0.5000])
    """
    names = set(live)
    if names - set(LIVE):
        raise ValueError(
            f"{min(names - set(LIVE))} is a constant, or no field; a network can score "
            f"{', '.join(LIVE)}"
        )
    fields = {name: getattr(batch, name) for name in LIVE if name in names}
    scored = {name: x.detach() for name, x in fields.items() if x is not None}
    with torch.enable_grad():
        # Each field is a leaf: the objective is differentiated by what was scored, and no further.
        leaves = {name: x.detach().requires_grad_() for name, x in scored.items()}
        out = objective(replace(batch, **leaves), **settings)
        gradients: Sequence[Tensor] = [torch.zeros_like(x) for x in scored.values()]
        if leaves and out.loss.requires_grad:
            gradients = torch.autograd.grad(out.loss, list(leaves.values()), materialize_grads=True)
    by_field = {}
    for name, gradient in zip(scored, gradients, strict=True):
        c = gradient if name == "log_z" else gradient.masked_fill(~batch.mask, 0.0)
        if not bool(c.isfinite().all()):
            place = (~c.isfinite()).nonzero()[0].tolist()
            raise NotFiniteError(
                f"{name_of(objective)} gives a coefficient of {name} that is not finite, at "
                f"{place}, with loss {float(out.loss.detach()):g}: look there for a log-ratio too "
                f"large for {c.dtype}, or a reward too large for alpha",
                place,
            )
        by_field[name] = c
    metrics = {name: x.detach() for name, x in out.metrics.items()}
    output = LossOutput(out.loss.detach(), metrics)
    return Coefficients(output, by_field, scored=scored, mask=batch.mask)
