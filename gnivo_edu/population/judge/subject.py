"""An objective that somebody wrote, as the judge calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.names import load_function
from gnivo_edu.objectives import LossOutput

LIVE = (
    "policy_logps",
    "policy_kl",
    "entropy",
    "values",
    "prefix_values",
)  # what a gradient may flow to
Prompts = Literal["weighted", "mean", "one"]


def load_objective(name: str) -> Callable[..., Any]:
    """An objective of the registry by name, or `module:function`; modules are also looked for in
    the current folder.

    Raises ValueError, in one line, on what is not there and on a module that cannot be imported.

    >>> load_objective("gvpo") is objectives.gvpo
    True
    """
    if ":" in name:
        return load_function(name)
    try:
        return objectives.get(name)
    except ValueError as error:
        raise ValueError(f"{error}; your own: module:function") from error


@dataclass(frozen=True)
class Subject:
    """An objective as the judge calls it: f(batch, alpha=...) -> LossOutput, in units of its own
    typical push.

    `prompts`: how it averages over prompts; "weighted", by `group_weight`; "mean", a plain mean,
    whose gradient is reweighted here; "one", anything else (a mean over all tokens of a batch,
    say), called with one prompt at a time.
    `symmetric`: the order of a group does not matter. `free`: what it trains, of `Point.FIELDS`.
    `scale` divides it."""

    function: Callable[..., Any]
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    takes_alpha: bool = True
    prompts: Prompts = "weighted"
    symmetric: bool = True
    free: tuple[str, ...] = ("logits",)
    sizes: tuple[int, ...] = (2, 4)
    scale: float = 1.0

    @property
    def tree(self) -> str:
        """On which tree of the judge it is solved: a smaller one where every call costs more."""
        return "15 answers" if self.symmetric and self.prompts != "one" else "4 answers"

    def loss(self, batch: GroupBatch, alpha: float) -> Tensor:
        """The scalar that the function returns; ValueError, in one line, on anything else."""
        settings = {**({"alpha": alpha} if self.takes_alpha else {}), **self.settings}
        try:
            out = self.function(batch, **settings)
        except Exception as error:
            shape = list(batch.policy_logps.shape)
            raise ValueError(
                f"{self.name} raised {type(error).__name__} on a record [N, K, T] = {shape}: "
                f"{error}"
            ) from error
        loss = out.loss if isinstance(out, LossOutput) else out
        if not isinstance(loss, Tensor):
            what = f"a {type(loss).__name__}"
            raise ValueError(
                f"{self.name} returns {what}: return the loss as a tensor (no .item()) or a "
                "LossOutput"
            )
        if loss.numel() != 1:
            raise ValueError(
                f"{self.name} returns a tensor {list(loss.shape)}: return one number, "
                "batch.group_mean(per_group)"
            )
        return loss.reshape(()) / self.scale

    def __call__(self, batch: GroupBatch, alpha: float) -> LossOutput:
        """The expected loss over prompts with probabilities `group_weight`; for "mean" and "one"
        its gradient only.
        """
        if self.prompts == "weighted" or batch.group_weight is None:
            return LossOutput(self.loss(batch, alpha))
        if self.prompts == "mean":
            return LossOutput(self._reweighted(batch, alpha))
        some = batch.group_weight.nonzero()[:, 0].tolist()
        losses = [batch.group_weight[i] * self.loss(one_prompt(batch, i), alpha) for i in some]
        return LossOutput(torch.stack(losses).sum())

    def _reweighted(self, batch: GroupBatch, alpha: float) -> Tensor:
        """A linear function with the gradient of sum_i weight_i loss_i, from that of a plain mean
        of loss_i.
        """
        live = {name: getattr(batch, name) for name in LIVE if getattr(batch, name) is not None}
        _, slopes = self.slopes(replace(batch, group_weight=None), alpha)
        weight = batch.group_weight[:, None, None] * len(batch.rewards)  # type: ignore[index]
        return torch.stack(
            [
                (weight * slopes[name] * x.masked_fill(~batch.mask, 0.0)).sum()
                for name, x in live.items()
            ]
        ).sum()

    def slopes(self, batch: GroupBatch, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its gradient with respect to each live field of the record, [N, K, T]."""
        leaves = {
            k: getattr(batch, k).detach().clone().requires_grad_()
            for k in LIVE
            if getattr(batch, k) is not None
        }
        loss = self.loss(replace(batch, **leaves), alpha)
        if not loss.requires_grad:
            return loss.detach(), {name: torch.zeros_like(x) for name, x in leaves.items()}
        found = torch.autograd.grad(
            loss, list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        return loss.detach(), dict(zip(leaves, found, strict=True))


def one_prompt(batch: GroupBatch, i: int) -> GroupBatch:
    """The record of one prompt."""
    return each(replace(batch, group_weight=None), lambda x: x[i : i + 1])


def each(batch: GroupBatch, change: Callable[[Tensor], Tensor]) -> GroupBatch:
    """The batch with every tensor changed but `group_weight`."""
    every = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "group_weight"}
    return replace(batch, **{name: change(x) for name, x in every.items() if x is not None})
