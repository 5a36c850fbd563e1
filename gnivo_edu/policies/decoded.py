"""One more token to each of many rows, by the layers of a plain decoder themselves.

A small model on a CPU spends most of a cached step outside its matrix products: in masks that hide
nothing, in angles that were known before, in attention kernels made for long queries. Where a model
is a plain Llama, Mistral, Qwen2 or Qwen3, its modules are called here one after the other instead,
over keys and values that lie in one memory; the weights of a small one are put together before.
`one_law.way_of` compares what comes of it with the model's own forward, on each model.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gnivo_edu.policies.fused import Fused, may_be_fused
from gnivo_edu.policies.shared_keys import SharedKeys


class Decoded:
    """Rows of a decoder that grow by a token at a time. Rows that continue one prompt share its
    keys and values.

    Begins with the cache `past` of prompts that are padded on the left where `mask` [N, P] is
    false, one row each. The weights are those of now: where they change, rows are begun anew.
    """

    @torch.no_grad()
    def __init__(self, model: Any, past: Any, mask: Bool[Tensor, "N P"]) -> None:
        self.model = model
        self._fused = Fused(model) if may_be_fused(model) else None
        order = None if self._fused is None else self._fused.order
        queries = model.model.layers[0].self_attn.num_key_value_groups
        self.keys = SharedKeys(past, mask, queries=queries, order=order)
        self._angles = self._angles_up_to(0)

    def repeated(self, rows: Int[Tensor, " B"], room: int) -> Decoded:
        """Copy that holds these rows, each as often as it is named, with room for that many
        tokens.
        """
        other = copy.copy(self)
        other.keys = self.keys.repeated(rows, room)
        other._angles = self._angles_up_to(other.keys.capacity)
        return other

    def _angles_up_to(self, length: int) -> list[Tensor]:
        """How far each position is turned: complex numbers, or cosines and sines [length, size],
        the sines with the sign of their half.
        """
        weight = self.model.model.norm.weight
        positions = torch.arange(length)[None]
        cos, sin = (x[0] for x in self.model.model.rotary_emb(weight, positions))
        if self._fused is not None:
            return [self._fused.turns(cos, sin)]
        half = sin.shape[-1] // 2
        return [cos, torch.cat([-sin[:, :half], sin[:, half:]], 1)]

    def keep(self, rows: Int[Tensor, " B"]) -> None:
        """Hold these rows only, in this order."""
        self.keys.keep(rows)

    @torch.no_grad()
    def append(self, tokens: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """One more token to each row, and the logits after it."""
        at = self.keys.position()
        hidden: Tensor = self.model.model.embed_tokens(tokens)
        if self._fused is not None:
            hidden = self._fused.run(hidden, self.keys, self._angles[0][at])
        else:
            hidden = self._run(hidden, [x[at] for x in self._angles])
        logits: Tensor = self.model.lm_head(hidden)
        return logits

    def _run(self, hidden: Float[Tensor, "B H"], angles: list[Tensor]) -> Float[Tensor, "B H"]:
        """The hidden state behind the last norm, module by module."""
        if angles[0].ndim == 2:  # a position for each row
            angles = [x[:, None] for x in angles]
        query, slots = self.keys.advance()
        layers = zip(self.model.model.layers, slots, strict=True)
        for number, (layer, slot) in enumerate(layers):
            normed = _normed(layer.input_layernorm, hidden)
            self._ask(layer.self_attn, normed, angles, query=query, slot=slot)
            hidden = hidden + layer.self_attn.o_proj(self.keys.attend(number))
            hidden = hidden + layer.mlp(_normed(layer.post_attention_layernorm, hidden))
        return _normed(self.model.model.norm, hidden)

    def _ask(
        self, attention: Any, hidden: Tensor, angles: list[Tensor], *, query: Tensor, slot: Tensor
    ) -> None:
        """Write the queries of a layer, and its keys and values into their `slot`."""
        B, heads, _, size = query.shape
        asked, key, value = (
            project(hidden).view(B, -1, size)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):  # Qwen3
            asked, key = _normed(attention.q_norm, asked), _normed(attention.k_norm, key)
        turned = _rotated(torch.cat([key, asked], 1), *angles)
        slot[0] = turned[:, :heads]
        slot[1] = value
        torch.mul(turned[:, heads:].view(query.shape), attention.scaling, out=query)


def _rotated(
    x: Float[Tensor, "B heads size"], cos: Tensor, sin: Tensor
) -> Float[Tensor, "B heads size"]:
    """Turned by the angles of a position; `sin` has the sign of each half."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def _normed(norm: Any, x: Float[Tensor, "*B H"]) -> Float[Tensor, "*B H"]:
    """A root-mean-square norm; by torch's own function where it computes the same."""
    eps = getattr(norm, "variance_epsilon", None)
    if eps is None or x.dtype != torch.float32 or norm._forward_hooks or norm._forward_pre_hooks:
        normed: Tensor = norm(x)
        return normed
    return nn.functional.rms_norm(x, norm.weight.shape, norm.weight, eps)
