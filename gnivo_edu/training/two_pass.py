"""Two-pass gradient: differentiate the objective with respect to what is scored, then push the
result through the network.

    dL/dtheta = sum over rows i, tokens t, scored fields f of  c_it^f  df_it/dtheta,   c^f = dL/df

The coefficients c need all groups of the batch at once and no network; the sum needs one row at a
time. So any split into micro-batches gives the gradient of loss.backward(). GradCache (arXiv
2101.06983) does so for contrastive losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.training.field_gradients import (
    Coefficients,
    Fields,
    Objective,
    Rows,
    coefficients,
)

Split = int | Sequence[int] | Sequence[Rows]


def backward(
    score: Callable[[Rows], Fields],
    taken: Coefficients,
    micro_batch: Split | None = None,
    weighted_sum: Callable[[Rows, Fields], Tensor] | None = None,
    run_backward: Callable[[Tensor], object] = Tensor.backward,
) -> None:
    """Add the gradient of the loss to `.grad`, micro-batch by micro-batch; one graph at a time is
    in memory.

    `score(rows)` scores rows (int64 [B], on the CPU) with gradient and returns the fields that
    depend on parameters by name, [B, T] each (`log_z` [B], of the row's prompt); the gradient is
    that of sum(coefficient * field). It must give what it gave in the first pass: dropout off, and
    no step in between. `micro_batch`: rows at a time; or a list of sizes; or a list of rows, each
    once and in any order, such as answers of like length together.

    `weighted_sum(rows, coefficients)` is asked instead, if given, for that sum as a scalar: since
    the coefficients are known, a network with a large vocabulary can make the gradient of its
    logits at once and keep none of them. `run_backward` is what runs on the scalar, such as
    `accelerator.backward`.

    Raises ValueError on a split that does not hold each row once, and on fields that are missing,
    of another shape, without gradient, or not those of the first pass; `.grad` may then hold a part
    of the sum.
    """
    passes = Passes(
        score, split_rows(taken.mask.shape[:2].numel(), micro_batch), weighted_sum=weighted_sum
    )
    passes.second(taken, run_backward)


def two_pass_step(
    objective: Objective,
    batch: GroupBatch,
    score: Callable[[Rows], Fields],
    micro_batch: Split | None = None,
    *,
    weighted_sum: Callable[[Rows, Fields], Tensor] | None = None,
    run_backward: Callable[[Tensor], object] = Tensor.backward,
    **settings: Any,
) -> LossOutput:
    """The objective on a batch, its gradient added to `.grad` in micro-batches: that of
    loss.backward(), for any split.

    `batch` holds the constants: rewards, mask, the sampler's log-probabilities, which are never
    made again. Fields that `score` returns are live and take the place of those in the batch,
    whatever stands there; others are constants. A batch that fits one micro-batch is scored once;
    otherwise without gradient first, for the coefficients, and once more with gradient. Other
    arguments and errors: see `coefficients` and `backward`.

    >>> from gnivo_edu import objectives, policies
    >>> from toy_envs import RandomTree
    >>> mdp = RandomTree()
    >>> policy = policies.TabularLM.from_mdp(mdp, seed=0)
    >>> samples = policies.sample_groups(policy, mdp, 8, [0, 0], torch.Generator().manual_seed(0))
    >>> with torch.no_grad():
    ...     batch = policies.make_group_batch(policy, mdp, samples)
    >>> score, _ = policies.two_pass_scorers(policy, mdp, samples)
    >>> out = two_pass_step(objectives.gvpo, batch, score, micro_batch=3, alpha=0.1)
    >>> out.loss.requires_grad, policy.logits.grad.abs().sum() > 0
    (False, tensor(True))
    """
    passes = Passes(
        score, split_rows(batch.rewards.numel(), micro_batch), weighted_sum=weighted_sum
    )
    fields = passes.first(batch.mask.shape)
    taken = coefficients(objective, replace(batch, **fields), live=fields, **settings)
    passes.second(taken, run_backward)
    return taken.output


class Passes:
    """The two passes over the rows `parts`: all of a batch, or the share of one process, whose
    gradients are then summed over processes.

    A single micro-batch is scored once: its graph is there for the second pass. Several are scored
    without gradient, and once more with it, so that one graph at a time is in memory.
    """

    def __init__(
        self,
        score: Callable[[Rows], Fields],
        parts: Sequence[Rows],
        weighted_sum: Callable[[Rows, Fields], Tensor] | None = None,
    ) -> None:
        self.score, self.parts, self.weighted_sum = score, parts, weighted_sum
        self.graph: Fields | None = None

    def first(self, shape: Sequence[int]) -> dict[str, Tensor]:
        """What is scored, detached, by field: [N, K, T] with `shape` = N, K, T; `log_z` [N]."""
        single = len(self.parts) == 1
        with torch.set_grad_enabled(single):
            scored = [self.score(rows) for rows in self.parts]
        if single:
            self.graph = scored[0]
        N, K, T = shape
        in_order = torch.cat(list(self.parts)).argsort()
        by_name = {}
        for name in scored[0]:
            for fields, rows in zip(scored, self.parts, strict=True):
                _check_shape(name, fields, rows=rows, length=T)
            x = torch.cat([fields[name].detach() for fields in scored])[in_order]
            # A prompt's log Z is scored with each of its K rows.
            by_name[name] = x.view(N, K).mean(1) if name == "log_z" else x.view(N, K, T)
        return by_name

    def second(
        self, taken: Coefficients, run_backward: Callable[[Tensor], object] = Tensor.backward
    ) -> None:
        """Add the gradient of the loss, given its coefficients in the whole batch, to `.grad`."""
        graph, self.graph = self.graph, None
        with torch.enable_grad():
            for rows in self.parts:
                # No name for the sum or for what was scored: a name would hold this graph while
                # the next one is built.
                if graph is not None:
                    run_backward(_weighted(graph, taken, rows=rows))
                elif self.weighted_sum is None:
                    run_backward(_weighted(self.score(rows), taken, rows=rows))
                else:
                    run_backward(self.weighted_sum(rows, taken.of_rows(rows)))


def split_rows(count: int, micro_batch: Split | None = None) -> list[Rows]:
    """Rows 0..count-1 in micro-batches: None is one; a number is a size; a list holds sizes, or
    rows.

    >>> [rows.tolist() for rows in split_rows(5, 2)], [len(rows) for rows in split_rows(5, [1, 4])]
    ([[0, 1], [2, 3], [4]], [1, 4])
    """
    every = torch.arange(count)
    if micro_batch is None:
        return [every]
    if not isinstance(micro_batch, Sequence):
        if micro_batch < 1:
            raise ValueError(f"micro_batch must be at least 1 row, got {micro_batch}")
        return list(every.split(micro_batch))
    sizes = [int(size) for size in micro_batch if isinstance(size, Integral)]
    if len(sizes) == len(micro_batch):
        if sum(sizes) != count or min(sizes, default=1) < 1:
            raise ValueError(
                f"micro_batch must be sizes >= 1 that sum to the {count} rows, got {sizes}"
            )
        return list(every.split(sizes))
    parts = [torch.as_tensor(rows, dtype=torch.long, device="cpu") for rows in micro_batch]
    if not torch.equal(torch.cat(parts).sort().values, every) or min(map(len, parts)) < 1:
        raise ValueError(
            f"micro_batch must hold each of the rows 0..{count - 1} once, and no list without rows"
        )
    return parts


def _weighted(fields: Fields, taken: Coefficients, rows: Rows) -> Tensor:
    """sum(coefficient * field) over some rows, for its gradient; fields without one are
    constants.
    """
    outside = ~taken.mask.flatten(0, 1)[rows]
    terms = []
    for name, c in taken.of_rows(rows).items():
        if name not in fields and not bool(c.any()):
            continue
        _check_shape(name, fields, rows=rows, length=taken.mask.shape[2])
        x, before = fields[name], taken.take(taken.scored[name], rows)
        if x.requires_grad:
            if name != "log_z":
                x, before = x.masked_fill(outside, 0.0), before.masked_fill(outside, 0.0)
            _check_same(name, x.detach(), before=before)
            terms.append((c * x).sum())
    if not terms:
        raise ValueError(
            "score returned nothing with a gradient: are the parameters frozen, or is it under "
            "no_grad?"
        )
    return sum(terms[1:], terms[0])


def _check_shape(name: str, fields: Fields, rows: Rows, length: int) -> None:
    if name not in fields:
        raise ValueError(
            f"the loss depends on {name}, which score does not return for each micro-batch"
        )
    shape = (len(rows),) if name == "log_z" else (len(rows), length)
    if fields[name].shape != shape:
        raise ValueError(
            f"score must return {name} {list(shape)} for {len(rows)} rows, got "
            f"{list(fields[name].shape)}"
        )


def _check_same(name: str, x: Tensor, before: Tensor) -> None:
    """Two runs of one network differ by rounding (bfloat16: by a few percent of a nat); dropout
    makes more of it.
    """
    tolerance = 1e-9 if x.dtype == torch.float64 else 0.05
    change = float((x - before).abs().mean())
    if not change <= tolerance * (1 + float(before.abs().mean())):
        raise ValueError(
            f"score gives another {name} than in the first pass, by {change:.2g} on average: turn "
            "dropout off, take no step in between, and score row r as response r % K of prompt "
            "r // K"
        )
