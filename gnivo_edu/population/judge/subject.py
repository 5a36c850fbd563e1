"""An objective that somebody wrote, as the judge calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population.expectation import gradients_of

# What a gradient may flow to.
LIVE = ("policy_logps", "policy_kl", "entropy", "values", "prefix_values")
Prompts = Literal["weighted", "mean", "one"]


load_objective = objectives.get


@dataclass(frozen=True)
class Subject:
    """An objective as the judge calls it: f(batch, alpha=...) -> LossOutput, in units of its own
    typical push.

    `prompts`: how it averages over prompts; "weighted", by `group_weight`; "mean", a plain mean,
    whose gradient is reweighted here; "one", anything else (a mean over all tokens of a batch,
    say), called with one prompt at a time. `symmetric`: the order of a group does not matter.
    `anchored`: it looks at the reference, or at an exact KL to it. `free`: what it trains, of
    `Point.FIELDS`. `scale` divides it.
    """

    function: Callable[..., Any]
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    takes_alpha: bool = True
    prompts: Prompts = "weighted"
    symmetric: bool = True
    anchored: bool = True
    free: tuple[str, ...] = ("logits",)
    sizes: tuple[int, ...] = (2, 4)
    scale: float = 1.0

    @property
    def tree(self) -> str:
        """On which tree of the judge it is solved: a smaller one where every call costs more."""
        return "15 answers" if self.symmetric and self.prompts != "one" else "4 answers"

    def loss(self, batch: GroupBatch, alpha: float) -> Tensor:
        """The scalar that the function returns; ValueError, in one line, on anything else."""
        given = {"alpha": alpha} if self.takes_alpha else {}
        try:
            out = self.function(batch, **given | dict(self.settings))
        except Exception as error:
            shape = list(batch.policy_logps.shape)
            raise ValueError(
                f"{self.name} raised {type(error).__name__} on a record [N, K, T] = {shape}: "
                f"{error}"
            ) from error
        loss = out.loss if isinstance(out, LossOutput) else out
        if not isinstance(loss, Tensor):
            raise ValueError(
                f"{self.name} returns a {type(loss).__name__}: return the loss as a tensor (no "
                ".item()) or a LossOutput"
            )
        if loss.numel() != 1:
            raise ValueError(
                f"{self.name} returns a tensor {list(loss.shape)}: return one number, "
                "batch.group_mean(per_group)"
            )
        return loss.reshape(()) / self.scale

    def __call__(self, batch: GroupBatch, alpha: float) -> LossOutput:
        """The expected loss over prompts with probabilities `group_weight`.

        For "mean" and "one" its value is another, and its gradient is the expected one.
        """
        weight = batch.group_weight
        if self.prompts == "weighted" or weight is None:
            return LossOutput(self.loss(batch, alpha))
        if self.prompts == "mean":
            return LossOutput(self._reweighted(batch, alpha, weight=weight))
        some = weight.nonzero()[:, 0].tolist()
        losses = [weight[i] * self.loss(one_prompt(batch, i), alpha) for i in some]
        return LossOutput(torch.stack(losses).sum())

    def _reweighted(self, batch: GroupBatch, alpha: float, weight: Tensor) -> Tensor:
        """A linear function with the gradient of sum_i weight_i loss_i, from a plain mean's."""
        # The slope of the plain mean by the entries of prompt i is 1/N of that of loss_i: times
        # N weight_i it is the one wanted, and a sum of slope x entry has it as its own slope.
        _, slopes = self.slopes(replace(batch, group_weight=None), alpha)
        scale = len(batch.rewards) * weight[:, None, None]
        terms = [
            scale * slope * getattr(batch, name).masked_fill(~batch.mask, 0.0)
            for name, slope in slopes.items()
        ]
        return torch.stack([term.sum() for term in terms]).sum()

    def slopes(self, batch: GroupBatch, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its gradient with respect to each live field of the record, [N, K, T]."""
        return _slopes(lambda record: self.loss(record, alpha), batch)

    def expected_slopes(self, batch: GroupBatch, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The same of the expected loss over prompts."""
        return _slopes(lambda record: self(record, alpha).loss, batch)


def _slopes(
    function: Callable[[GroupBatch], Tensor], batch: GroupBatch
) -> tuple[Tensor, dict[str, Tensor]]:
    live = {name: getattr(batch, name) for name in LIVE if getattr(batch, name) is not None}
    leaves = {name: x.detach().clone().requires_grad_() for name, x in live.items()}
    loss = function(replace(batch, **leaves))
    gradients = gradients_of(loss, list(leaves.values()))
    return loss.detach(), dict(zip(leaves, gradients, strict=True))


def one_prompt(batch: GroupBatch, i: int) -> GroupBatch:
    """The record of one prompt."""
    return each(replace(batch, group_weight=None), lambda x: x[i : i + 1])


def each(batch: GroupBatch, change: Callable[[Tensor], Tensor]) -> GroupBatch:
    """The batch with every tensor changed but `group_weight`."""
    every = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "group_weight"}
    return replace(batch, **{name: change(x) for name, x in every.items() if x is not None})
