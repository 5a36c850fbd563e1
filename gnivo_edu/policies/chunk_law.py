"""The next-token laws of one chunk of tokens, worked out in place: fields, and the gradient of the
logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gnivo_edu.policies.dense import FIELDS, top_actions
from gnivo_edu.policies.heads import Head

TILE = 8192  # rows of a half-precision head that are cast at a time


def working_dtype(*dtypes: torch.dtype) -> torch.dtype:
    """What is multiplied and summed in: float32 for half precisions, else the widest of the dtypes.

    >>> working_dtype(torch.bfloat16, torch.bfloat16), working_dtype(torch.float64, torch.float32)
    (torch.float32, torch.float64)
    """
    widest = torch.float32
    for dtype in dtypes:
        widest = torch.promote_types(widest, dtype)
    return widest


class ChunkLaw:
    """softmax(`head.logits`) of a chunk of C tokens in dtype `work`, and the scores of their
    targets.

    `values`: the `fields` asked for, [C], nats. At most 1 array [C, A] is alive for
    log-probabilities alone, 2 with the entropy, 3 with the KL, and 1 more for the slope of a
    soft-capped head where a `gradient` will be asked."""

    def __init__(
        self,
        hidden: Float[Tensor, "C H"],
        head: Head,
        targets: Int[Tensor, " C"],
        fields: Sequence[str],
        reference: tuple[Tensor, Head] | None,
        work: torch.dtype,
        gradient: bool,
        kl_top_k: int | None = None,
    ) -> None:
        self.values: dict[str, Tensor] = {}
        self._offsets: dict[str, Tensor] = {}
        self._targets = targets[:, None]
        self._head = head
        kl = "policy_kl" in fields
        # The log-probability of one action needs no array beside the exponentials; the entropy and
        # the KL are sums over all actions, which need the logits too.
        over_actions = kl or "entropy" in fields
        # The reference first: its exponentials are gone before the policy's logits come.
        d = log_sum_q = hidden.new_empty(0)
        if kl and reference is not None:
            d, log_sum_q = _reference_logits(reference, hidden.device, work=work)
        z, self.slope = _logits(hidden, head, work=work, slope=gradient)
        at_target = z.gather(1, targets[:, None])
        # Less the largest logit, so that no exponential overflows: log p = z - log_sum.
        top = z.amax(1, keepdim=True)
        z.sub_(top)
        e = z.exp() if over_actions else z.exp_()
        total = e.sum(1, keepdim=True)
        log_sum = total.log()
        if over_actions:
            _fill(z, head, value=0.0)  # where e is 0, so that 0 times it is 0
        # The fields; their offsets are what `gradient` derives.
        if "policy_logps" in fields:
            self.values["policy_logps"] = (at_target - top - log_sum)[:, 0]
            self._offsets["policy_logps"] = torch.ones_like(total)
        if "entropy" in fields:
            self.values["entropy"] = (log_sum - _dot(e, z) / total)[:, 0]
            self._offsets["entropy"] = self.values["entropy"][:, None] - log_sum
        if kl:
            torch.sub(z, d, out=d)  # log p/q = d - log_sum + log_sum_q
            if kl_top_k is None:
                self.values["policy_kl"] = (_dot(e, d) / total - log_sum + log_sum_q)[:, 0]
                self._offsets["policy_kl"] = self.values["policy_kl"][:, None] + log_sum - log_sum_q
            else:
                # With m_a = 1 for the k likeliest actions and 0 elsewhere, the sum of their terms
                # is D = sum_a m_a p_a log(p_a / q_a), and
                #   dD/dz_a = p_a (m_a (log(p_a / q_a) + 1) - D - M),   M = sum_a m_a p_a.
                # So d becomes m (log p/q + 1): its mean under p is D + M.
                kept = top_actions(e, kl_top_k)
                ratios = d.gather(1, kept) - log_sum + log_sum_q
                d.zero_().scatter_(1, kept, ratios + 1)
                mass = e.gather(1, kept).sum(1, keepdim=True) / total
                self._offsets["policy_kl"] = _dot(e, d) / total
                self.values["policy_kl"] = (self._offsets["policy_kl"] - mass)[:, 0]
        self._arrays = (z, e, total, d)

    def gradient(self, coefficients: Mapping[str, Float[Tensor, "C 1"]]) -> Float[Tensor, "C A"]:
        """d sum(coefficient * field) / d(W h + b); in place, so once."""
        # With p = softmax(z) and the reference q, the fields of a token y are
        #   l = log p_y,   H = -sum_a p_a log p_a,   D = sum_a p_a log(p_a / q_a),
        # and their derivatives by z_a
        #   dl = 1[a = y] - p_a,   dH = -p_a (log p_a + H),   dD = p_a (log(p_a / q_a) - D).
        # All three are p_a times something, but for the 1 at the target: one array is enough. From
        # log p = z - log_sum and log p/q = d - log_sum + log_sum_q, c_l dl + c_H dH + c_D dD is
        #   c_l 1[a = y] + p_a (c_D d_a - c_H z_a - offset),
        #   offset = c_l + c_H (H - log_sum) + c_D (D + log_sum - log_sum_q).
        z, e, total, d = self._arrays
        share = 1 / total  # p = e * share
        c_logp, c_entropy, c_kl = (coefficients.get(name) for name in FIELDS)
        offset = torch.zeros_like(total)
        for name, c in coefficients.items():
            offset = offset + c * self._offsets[name]
        if c_entropy is None and c_kl is None:
            g = e.mul_(-offset * share)
        else:
            by_z = torch.zeros_like(total) if c_entropy is None else -c_entropy * share
            g = z.mul_(by_z).sub_(offset * share)
            if c_kl is not None:
                g.addcmul_(d, c_kl * share)
            g.mul_(e)
        if c_logp is not None:
            g.scatter_add_(1, self._targets, c_logp.expand_as(self._targets).contiguous())
        # From z back to W h + b: z = cap(scale (W h + b)) / temperature, and `slope` is cap'.
        if self.slope is not None:
            g.mul_(self.slope)
        factor = self._head.scale / self._head.temperature
        return g if factor == 1.0 else g.mul_(factor)


def push(
    g: Float[Tensor, "C A"],
    hidden: Float[Tensor, "C H"],
    head: Head,
    sums: Sequence[Tensor | None],
    rows: slice,
) -> None:
    """Add g W, g^T h and sum g to the gradients of hidden states (`rows` of them), weight and bias
    that are wanted.
    """
    to_hidden, to_weight, to_bias = sums
    for part in _parts(head, g.dtype):
        g_part = g[:, part]
        if to_hidden is not None:
            to_hidden[rows] += _product(g_part, head.weight[part], work=g.dtype)
        if to_weight is not None:
            if hidden.dtype == g.dtype:
                to_weight[part].addmm_(g_part.T, hidden)
            else:
                to_weight[part] += _product(g_part.T, hidden, work=g.dtype)
        if to_bias is not None:
            to_bias[part] += g_part.sum(0)


def _reference_logits(
    reference: tuple[Tensor, Head], device: torch.device, work: torch.dtype
) -> tuple[Tensor, Tensor]:
    """(logits less their largest, log of the sum of their exponentials); ids left out are 0."""
    hidden, head = reference
    z = _logits(hidden.to(head.weight.device), head, work=work, slope=False)[0].to(device)
    z.sub_(z.amax(1, keepdim=True))
    total = z.exp().sum(1, keepdim=True)
    return _fill(z, head, value=0.0), total.log()


def _logits(
    hidden: Tensor, head: Head, work: torch.dtype, slope: bool
) -> tuple[Tensor, Tensor | None]:
    """`head.logits` in dtype `work`, and 1 - tanh^2 of a soft cap if it is asked for."""
    z = hidden.new_empty(len(hidden), head.actions, dtype=work)
    for part in _parts(head, work):
        if hidden.dtype == head.weight.dtype == work:
            torch.mm(hidden, head.weight[part].T, out=z[:, part])
        else:
            z[:, part] = _product(hidden, head.weight[part].T, work=work)
    if head.bias is not None:
        z.add_(head.bias[: head.actions])
    if head.scale != 1.0:
        z.mul_(head.scale)
    steep = None
    if head.softcap is not None:
        z.div_(head.softcap).tanh_()
        steep = z.square().neg_().add_(1.0) if slope else None
        z.mul_(head.softcap)
    if head.temperature != 1.0:
        z.div_(head.temperature)
    return _fill(z, head, value=-torch.inf), steep


def _fill(z: Tensor, head: Head, value: float) -> Tensor:
    """One value, in place, at the ids that are no actions."""
    if head.leave_out:
        z.index_fill_(1, torch.tensor(head.leave_out, device=z.device), value)
    return z


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """sum_a of each row, [C, 1], without an array [C, A] for the products."""
    return torch.bmm(a[:, None], b[:, :, None])[:, 0]


def _parts(head: Head, work: torch.dtype) -> Iterator[slice]:
    """Rows of the head to take at a time: all of them, unless a product must be cast first."""
    size = head.actions if head.weight.dtype == work or head.weight.is_cuda else TILE
    return (slice(a, min(a + size, head.actions)) for a in range(0, head.actions, size))


def _product(a: Tensor, b: Tensor, work: torch.dtype) -> Tensor:
    """a @ b, multiplied and summed in `work`: a half precision must not be what partial sums are
    rounded to.
    """
    half = b.dtype if b.dtype.itemsize == 2 else a.dtype
    sums_in_float32 = half.itemsize == 2 and work == torch.float32
    if a.is_cuda and sums_in_float32 and "dtype" in torch.ops.aten.mm.overloads():
        return torch.mm(a.to(half), b.to(half), out_dtype=work)
    return a.to(work) @ b.to(work)
