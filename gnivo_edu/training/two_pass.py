"""Two-pass gradient: differentiate the objective with respect to what is scored, then push the
result through the network.

    dL/dtheta = sum over rows i, tokens t, scored fields f of  c_it^f  df_it/dtheta,   c^f = dL/df

The coefficients c need all groups of the batch at once and no network; the sum needs one row at a
time. So any split into micro-batches gives the gradient of loss.backward(). GradCache (arXiv
2101.06983) does so for contrastive losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
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
Split = int | Sequence[int] | Sequence[Rows]

# What a network may be asked for; all other fields of a GroupBatch are constants.
LIVE = tuple(name for name in (*PER_TOKEN, "log_z") if name not in CONSTANTS)


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
        shares = {
            name: c / self.mask.shape[1] if name == "log_z" else c
            for name, c in self.by_field.items()
        }
        return {name: _take(c, rows, self.mask) for name, c in shares.items()}

    def of_prompts(self, prompts: slice) -> Coefficients:
        """Those of some prompts: the share of one process, whose gradients are then summed over
        processes.
        """
        by_field, scored = (
            {name: x[prompts] for name, x in fields.items()}
            for fields in (self.by_field, self.scored)
        )
        return replace(self, by_field=by_field, scored=scored, mask=self.mask[prompts])


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
    live = set(live)
    if live - set(LIVE):
        raise ValueError(
            f"{min(live - set(LIVE))} is a constant, or no field; a network can score "
            f"{', '.join(LIVE)}"
        )
    fields = {name: getattr(batch, name) for name in LIVE if name in live}
    scored = {name: x.detach() for name, x in fields.items() if x is not None}
    with torch.enable_grad():
        leaves = {name: x.detach().requires_grad_() for name, x in scored.items()}
        out = objective(replace(batch, **leaves), **settings)
        gradients: Sequence[Tensor] = [torch.zeros_like(x) for x in scored.values()]
        if leaves and out.loss.requires_grad:
            gradients = torch.autograd.grad(out.loss, list(leaves.values()), materialize_grads=True)
    by_field = {}
    for name, gradient in zip(scored, gradients, strict=True):
        c = gradient if name == "log_z" else gradient.masked_fill(~batch.mask, 0.0)
        if not bool(c.isfinite().all()):
            raise ValueError(
                f"{name_of(objective)} gives a coefficient of {name} that is not finite, at "
                f"{(~c.isfinite()).nonzero()[0].tolist()}, with loss {float(out.loss.detach()):g}: "
                f"look there for a log-ratio too large for {c.dtype}, or a reward too large for "
                "alpha"
            )
        by_field[name] = c
    metrics = {name: x.detach() for name, x in out.metrics.items()}
    return Coefficients(LossOutput(out.loss.detach(), metrics), by_field, scored, batch.mask)


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
    for rows in split_rows(taken.mask.shape[:2].numel(), micro_batch):
        with torch.enable_grad():
            # No name for the sum or for what was scored: a name would hold this graph while the
            # next one is built.
            if weighted_sum is None:
                run_backward(_weighted(score(rows), taken, rows))
            else:
                run_backward(weighted_sum(rows, taken.of_rows(rows)))


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
    passes = Passes(score, split_rows(batch.rewards.numel(), micro_batch), weighted_sum)
    live = passes.first(batch.mask.shape)
    taken = coefficients(objective, replace(batch, **live), live, **settings)
    passes.second(taken, run_backward)
    return taken.output


class Passes:
    """The two passes over the rows `parts`.

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
        live = {}
        for name in scored[0]:
            for fields, rows in zip(scored, self.parts, strict=True):
                _check_shape(name, fields, rows, T)
            x = torch.cat([fields[name].detach() for fields in scored])[in_order]
            # A prompt's log Z is scored with each of its K rows.
            live[name] = x.view(N, K).mean(1) if name == "log_z" else x.view(N, K, T)
        return live

    def second(
        self, taken: Coefficients, run_backward: Callable[[Tensor], object] = Tensor.backward
    ) -> None:
        """Add the gradient of the loss, given its coefficients, to `.grad`."""
        if self.graph is None:
            backward(self.score, taken, self.parts, self.weighted_sum, run_backward)
        else:
            with torch.enable_grad():
                run_backward(_weighted(self.graph, taken, self.parts[0]))
            self.graph = None


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
        _check_shape(name, fields, rows, taken.mask.shape[2])
        x, before = fields[name], _take(taken.scored[name], rows, taken.mask)
        if x.requires_grad:
            if name != "log_z":
                x, before = x.masked_fill(outside, 0.0), before.masked_fill(outside, 0.0)
            _check_same(name, x.detach(), before)
            terms.append((c * x).sum())
    if not terms:
        raise ValueError(
            "score returned nothing with a gradient: are the parameters frozen, or is it under "
            "no_grad?"
        )
    return sum(terms[1:], terms[0])


def _take(x: Tensor, rows: Rows, mask: Tensor) -> Tensor:
    """Rows of a field [N, K, T], or of one per prompt [N]."""
    return x[rows // mask.shape[1]] if x.dim() == 1 else x.flatten(0, 1)[rows]


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
