"""Scores of tokens without their logits: [tokens, vocabulary] exists for one chunk of tokens at a
time.

With z the logits of one token, p = softmax(z), y the token and q the reference,

    l = log p_y,     H = - sum_a p_a log p_a,     D = sum_a p_a log(p_a / q_a),

    d(c_l l + c_H H + c_D D) / dz_a
        = c_l 1[a = y] + p_a (- c_l - c_H (log p_a + H) + c_D (log(p_a / q_a) - D)).

So the gradient of a chunk needs the logits of that chunk and the coefficients c. In backward they
are known: the chunk is made once more (`chunked_scores`). Where they are known in advance, as in
the second of two passes, it is made once in all (`chunked_weighted_sum`). The dense definition is
`dense_scores`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gnivo_edu.policies.chunk_law import ChunkLaw, push, working_dtype
from gnivo_edu.policies.dense import FIELDS, check_fields
from gnivo_edu.policies.heads import Head

Reference = tuple[Tensor, Head]  # hidden states [M, G] and head of a law that is constant
CHUNK_BYTES = 2**28  # working memory, unless `chunk` is given


def chunked_scores(
    hidden: Float[Tensor, "M H"],
    head: Head,
    targets: Int[Tensor, " M"],
    fields: Sequence[str] = FIELDS[:2],
    reference: Reference | None = None,
    chunk: int | None = None,
    kl_top_k: int | None = None,
) -> dict[str, Float[Tensor, " M"]]:
    """`policy_logps`, `entropy`, `policy_kl` (what `fields` asks for) of M tokens, nats;
    differentiable once.

    Gradients go to `hidden` and to the weight and bias of `head`; `reference` is a constant.
    float64 and float32 are kept; bfloat16 and float16 inputs are multiplied and summed in float32,
    which is what comes out. `chunk` tokens at a time, as many as fit 256 MiB unless told.
    `kl_top_k`: see `law_scores`. Raises ValueError on unknown fields, shapes that do not fit,
    targets that are no actions, a missing reference, and chunk or kl_top_k < 1.

    >>> x = torch.zeros(2, 3, dtype=torch.float64)
    >>> head = Head(weight=torch.ones(4, 3).double())
    >>> chunked_scores(x, head, torch.tensor([0, 3]))["policy_logps"].exp()
    tensor([0.2500, 0.2500], dtype=torch.float64)
    """
    job = _Job(
        head, targets, fields=tuple(fields), reference=reference, chunk=chunk, kl_top_k=kl_top_k
    )
    job.check(hidden)
    outputs = _Scores.apply(hidden, head.weight, head.bias, job)
    return dict(zip(job.fields, outputs, strict=True))


def chunked_weighted_sum(
    hidden: Float[Tensor, "M H"],
    head: Head,
    targets: Int[Tensor, " M"],
    coefficients: Mapping[str, Float[Tensor, " M"]],
    reference: Reference | None = None,
    chunk: int | None = None,
    kl_top_k: int | None = None,
) -> Float[Tensor, ""]:
    """sum over fields and tokens of coefficient * field, a scalar whose gradient is made now and
    kept, not recomputed.

    Fields whose coefficients are all zero are left out. For one call of backward; dtypes, other
    arguments and errors as for `chunked_scores`.

    >>> x = torch.zeros(2, 1, requires_grad=True)
    >>> head = Head(weight=torch.tensor([[1.0], [0.0]]))
    >>> coefficients = {"policy_logps": torch.tensor([1.0, 2.0])}
    >>> chunked_weighted_sum(x, head, torch.tensor([0, 1]), coefficients).backward()
    >>> x.grad.flatten()
    tensor([ 0.5000, -1.0000])
    """
    weights = {name: c.detach() for name, c in coefficients.items() if bool(c.any())}
    job = _Job(
        head, targets, fields=tuple(weights), reference=reference, chunk=chunk, kl_top_k=kl_top_k
    )
    job.check(hidden)
    for name, c in weights.items():
        if c.shape != targets.shape:
            raise ValueError(
                f"coefficients of {name} must be {list(targets.shape)}, got {list(c.shape)}"
            )
    total: Tensor = _WeightedSum.apply(
        hidden, head.weight, head.bias, job, weights, torch.is_grad_enabled()
    )
    return total


@dataclass(frozen=True, eq=False)
class _Job:
    """What is asked of the kernel: everything but the tensors that take gradients."""

    head: Head
    targets: Tensor
    fields: tuple[str, ...]
    reference: Reference | None
    chunk: int | None
    kl_top_k: int | None

    def check(self, hidden: Tensor) -> None:
        """One line on what does not fit."""
        check_fields(self.fields, self.kl_top_k)
        width = self.head.weight.shape[1]
        if hidden.shape[1:] != (width,) or self.targets.shape != hidden.shape[:1]:
            raise ValueError(
                f"hidden must be [M, {width}] and targets [M], got "
                f"{list(hidden.shape)} and {list(self.targets.shape)}"
            )
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk must be at least 1 token, got {self.chunk}")
        if "policy_kl" in self.fields:
            if self.reference is None:
                raise ValueError("policy_kl needs a reference: give its hidden states and its head")
            states, other = self.reference
            if states.shape != (len(hidden), other.weight.shape[1]):
                raise ValueError(
                    "the reference's hidden states must be "
                    f"[{len(hidden)}, {other.weight.shape[1]}], got {list(states.shape)}"
                )
            without = sorted(self.head.leave_out), sorted(other.leave_out)
            if other.actions != self.head.actions or not set(without[1]) <= set(without[0]):
                raise ValueError(
                    "policy and reference must be laws over the same actions, got "
                    f"{self.head.actions} and {other.actions} of them, "
                    f"without {without[0]} and {without[1]}"
                )
        out = (self.targets < 0) | (self.targets >= self.head.actions)
        for i in self.head.leave_out:
            out |= self.targets == i
        if bool(out.any()):
            raise ValueError(
                f"target {int(self.targets[out][0])} is no action: it has probability 0 under this "
                "head"
            )

    def rows(self, work: torch.dtype, gradient: bool) -> Iterator[slice]:
        """Chunks of tokens whose arrays [chunk, V] fit the working memory."""
        # As many arrays [chunk, V] as `ChunkLaw` says that it keeps alive at once.
        over_actions = not {"entropy", "policy_kl"}.isdisjoint(self.fields)
        slope = gradient and self.head.softcap is not None
        arrays = 1 + over_actions + ("policy_kl" in self.fields) + slope
        size = self.chunk or max(1, CHUNK_BYTES // (arrays * self.head.actions * work.itemsize))
        return (slice(start, start + size) for start in range(0, len(self.targets), size))


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, job: _Job
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(hidden, weight, bias)
        ctx.set_materialize_grads(False)
        ctx.job = job
        values, _ = _run(hidden, weight, bias, job)
        return tuple(values[name] for name in job.fields)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *incoming: Tensor | None) -> tuple[Tensor | None, ...]:
        known = {name: c for name, c in zip(ctx.job.fields, incoming, strict=True) if c is not None}
        job = replace(ctx.job, fields=tuple(known))
        hidden, weight, bias = ctx.saved_tensors
        _, gradients = _run(hidden, weight, bias, job, known, ctx.needs_input_grad[:3])
        return (*gradients, None)


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        job: _Job,
        coefficients: Mapping[str, Tensor],
        gradient: bool,
    ) -> Tensor:
        wanted = ctx.needs_input_grad[:3] if gradient else (False, False, False)
        values, ctx.gradients = _run(hidden, weight, bias, job, coefficients, wanted)
        total = hidden.new_zeros((), dtype=working_dtype(hidden.dtype, weight.dtype))
        for name, c in coefficients.items():
            total += (c * values[name]).sum()
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError(
                "the gradient of a weighted sum is handed over once: make the sum again"
            )
        # Scaled in place: a second copy of the head's gradient is what this function is there to
        # avoid.
        gradients = [x if x is None else x.mul_(incoming.to(x.dtype)) for x in ctx.gradients]
        ctx.gradients = None
        return (*gradients, None, None, None)


def _run(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    job: _Job,
    coefficients: Mapping[str, Tensor] | None = None,
    wanted: Sequence[bool] = (False, False, False),
) -> tuple[dict[str, Tensor], list[Tensor | None]]:
    """Fields [M] of the job and, with coefficients, the gradients of sum(coefficient * field) that
    are wanted.
    """
    work = working_dtype(hidden.dtype, weight.dtype)
    head = replace(job.head, weight=weight.detach(), bias=bias)
    values = {name: hidden.new_empty(len(hidden), dtype=work) for name in job.fields}
    inputs = (hidden, weight, bias)
    sums = [
        torch.zeros_like(x, dtype=work) if want and x is not None else None
        for x, want in zip(inputs, wanted, strict=True)
    ]
    gradient = coefficients is not None and any(wanted)
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        for rows in job.rows(work, gradient):
            reference = job.reference
            if reference is not None:
                reference = reference[0][rows], reference[1]
            law = ChunkLaw(
                hidden[rows],
                head,
                targets=job.targets[rows],
                fields=job.fields,
                reference=reference,
                work=work,
                gradient=gradient,
                kl_top_k=job.kl_top_k,
            )
            for name in job.fields:
                values[name][rows] = law.values[name]
            if coefficients is not None and gradient:
                g = law.gradient({name: c[rows, None].to(work) for name, c in coefficients.items()})
                push(g, hidden[rows], head=head, sums=sums, rows=rows)
                del g
            del law  # its arrays go before those of the next chunk come
    gradients = [
        None if total is None or x is None else total.to(x.dtype)
        for total, x in zip(sums, inputs, strict=True)
    ]
    return values, gradients
