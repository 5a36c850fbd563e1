"""The layers of a small decoder with their weights put together: fewer calls for one arithmetic.

Of a model of a million parameters a call on the CPU takes longer than its numbers. Here the weight
of each norm is multiplied into the projection behind it, queries, keys and values come out of one
product, gate and up out of another, and the residual is added by the product that ends a part.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnivo_edu.policies.decoder import as_made
from gnivo_edu.policies.loading import PreciseRMSNorm
from gnivo_edu.policies.shared_keys import SharedKeys

# Weights are copied up to this size: in a larger model their products take the time, not the calls.
FUSED_BYTES = 2**24
# Room behind a hidden state for one more number; so many that rows stay aligned.
MARGIN = 16


def may_be_fused(model: Any) -> bool:
    """Whether the layers of a decoder are plain and small enough to be put together.

    >>> from gnivo_edu.bench.tiny import tiny_model
    >>> may_be_fused(tiny_model("llama")), may_be_fused(tiny_model("qwen3"))
    (True, False)
    """
    norms, projections, ends = [model.model.norm], [], []
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        activation = type(mlp.act_fn).__name__
        if hasattr(attention, "q_norm") or activation not in ("SiLU", "SiLUActivation"):
            return False
        if not as_made(mlp):
            return False
        norms += [layer.input_layernorm, layer.post_attention_layernorm]
        projections += [attention.q_proj, attention.k_proj, attention.v_proj]
        ends += [attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    parameters = [p for module in (*norms, *projections, *ends) for p in module.parameters()]
    dtype = parameters[0].dtype
    return (
        all(_is_rms(norm, dtype) for norm in norms)
        and all(map(_is_linear, (*projections, *ends)))
        and all(end.bias is None for end in ends)
        and all(p.dtype == dtype for p in parameters)
        and len({_eps(norm) for norm in norms}) == 1
        and sum(p.nbytes for p in parameters) <= FUSED_BYTES
    )


def _untouched(module: Any) -> bool:
    return not any((module._forward_hooks, module._forward_pre_hooks, "forward" in vars(module)))


def _is_linear(module: Any) -> bool:
    return type(module) is nn.Linear and _untouched(module)


def _is_rms(norm: Any, dtype: torch.dtype) -> bool:
    """Whether a norm is the root-mean-square norm in its own precision."""
    if isinstance(norm, PreciseRMSNorm):
        return norm.offset == 0 and _untouched(norm)
    return as_made(norm) and hasattr(norm, "variance_epsilon") and dtype == torch.float32


def _eps(norm: Any) -> float:
    eps: float = norm.eps if isinstance(norm, PreciseRMSNorm) else norm.variance_epsilon
    return eps


class Fused:
    """Layers of a decoder that `may_be_fused`, for one token of each row at a time.

    Numbers i and i + size/2 of each query and key, which are turned together, stand side by side:
    as one complex number, which one product turns. `order` says where each number came from.
    """

    def __init__(self, model: Any) -> None:
        self._model = model.model
        attention = model.model.layers[0].self_attn
        self._size = attention.head_dim
        self.order = torch.arange(self._size).view(2, -1).T.flatten()
        self._eps = _eps(model.model.norm)
        self._layers = [self._of_layer(layer) for layer in model.model.layers]
        self._last = self._scale(model.model.norm)

    def _of_layer(self, layer: Any) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
        """Into attention (weight and bias) and out of it, into the feed-forward part and out."""
        attention, mlp = layer.self_attn, layer.mlp
        parts = [
            self._ordered(attention.q_proj, attention.scaling),
            self._ordered(attention.k_proj, 1.0),
            (attention.v_proj.weight, attention.v_proj.bias),
        ]
        weights, biases = zip(*parts, strict=True)
        # Either all three have a bias or none has: so they are made in transformers.
        bias = None if biases[0] is None else torch.cat(biases)
        inner = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        return (
            (torch.cat(weights) * self._scale(layer.input_layernorm)).T,
            bias,
            attention.o_proj.weight.T,
            (inner * self._scale(layer.post_attention_layernorm)).T,
            mlp.down_proj.weight.T,
        )

    def _scale(self, norm: Any) -> Float[Tensor, " H"]:
        """What a hidden state is multiplied by once it has been divided by its length."""
        return norm.weight * len(norm.weight) ** 0.5

    def _ordered(self, projection: Any, factor: float) -> tuple[Tensor, Tensor | None]:
        """Weight and bias with the numbers of each head in `order`, times a factor."""

        def of(x: Tensor) -> Tensor:
            return x.unflatten(0, (-1, self._size))[:, self.order].flatten(0, 1) * factor

        return of(projection.weight), None if projection.bias is None else of(projection.bias)

    def turns(self, cos: Float[Tensor, "L size"], sin: Float[Tensor, "L size"]) -> Tensor:
        """[L, 2, size/2] complex: what keys and values of each position are multiplied by; a
        value is not turned.
        """
        half = self._size // 2
        turn = torch.complex(cos[:, :half].contiguous(), sin[:, :half].contiguous())
        return torch.stack([turn, torch.ones_like(turn)], 1)

    def run(self, hidden: Float[Tensor, "B H"], keys: SharedKeys, turns: Tensor) -> Tensor:
        """The hidden state [B, H] behind the last norm, from the embedding of one token a row.
        `turns` are those of its position, [2, size/2], or of each row's, [B, 2, size/2].
        """
        B, H = hidden.shape
        # One number more makes the length of a row the root of H (mean square + eps).
        longer = hidden.new_zeros(B, H + MARGIN)
        longer[:, H] = (H * self._eps) ** 0.5
        residual = longer[:, :H]
        residual.copy_(hidden)
        query, slots = (_as_complex(x) for x in keys.advance())
        heads = query.shape[1]
        turns = turns.expand(B, 2, -1)
        turn, both = turns[:, :1, None], turns.transpose(0, 1).unsqueeze(2)
        joint = hidden.new_empty(B, self._layers[0][0].shape[1])
        split = query[0].numel() * 2
        asked = _as_complex(joint[:, :split].view(B, heads, -1, self._size))
        known = _as_complex(joint[:, split:].view(B, 2, heads, self._size)).transpose(0, 1)
        inner = hidden.new_empty(B, self._layers[0][3].shape[1])
        gate, up = inner.chunk(2, 1)
        length, normed = hidden.new_empty(B, 1), torch.empty_like(hidden)
        layers = zip(self._layers, slots.unbind(0), strict=True)
        for number, ((into, bias, out, widen, narrow), slot) in enumerate(layers):
            self._norm(longer, residual, length, normed)
            if bias is None:
                torch.mm(normed, into, out=joint)
            else:
                torch.addmm(bias, normed, into, out=joint)
            torch.mul(asked, turn, out=query)
            torch.mul(known, both, out=slot)
            residual.addmm_(keys.attend(number), out)
            self._norm(longer, residual, length, normed)
            torch.mm(normed, widen, out=inner)
            nn.functional.silu(gate, inplace=True).mul_(up)
            residual.addmm_(gate, narrow)
        self._norm(longer, residual, length, normed)
        return normed.mul_(self._last)

    def _norm(self, longer: Tensor, residual: Tensor, length: Tensor, normed: Tensor) -> None:
        torch.linalg.vector_norm(longer, dim=1, keepdim=True, out=length)
        torch.div(residual, length, out=normed)


def _as_complex(x: Float[Tensor, "*B size"]) -> Tensor:
    """Pairs of numbers that stand side by side as one complex number each; a view."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))
