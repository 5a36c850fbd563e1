"""One more token to each of many rows, by the layers of a plain decoder themselves.

A small model on a CPU spends most of a cached step outside its matrix products: in masks that hide
nothing, in angles that were known before, in attention kernels made for long queries. Where a model
is a plain Llama, Mistral, Qwen2 or Qwen3, its modules are called here one after the other instead,
over keys and values that lie in one memory. `one_law.way_of` compares both on each model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gnivo_edu.policies.rooms import move_rows

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
# Kinds of rotary position embeddings whose angles depend on nothing but the position.
FIXED_ANGLES = ("default", "linear", "llama3", "yarn")


def decoder_of(policy: nn.Module) -> Any:
    """The causal LM of a policy, adapters inside it or not, whose layers `Decoded` may run; else
    None.

    It must be on the CPU, in float32 or float64 outside of any autocast, and nobody may have put
    hooks on, compiled or replaced what is passed by.

    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> decoder_of(GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2))) is None
    True
    """
    model: Any = getattr(policy, "get_base_model", lambda: policy)()
    family = type(model).__name__.removesuffix("ForCausalLM")
    if family not in FAMILIES or torch.is_autocast_enabled("cpu"):
        return None
    weight = model.get_input_embeddings().weight
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.float64):
        return None
    return model if _is_plain(model) and all(map(_as_made, _passed_by(policy, model))) else None


def _is_plain(model: Any) -> bool:
    """Whether a model's configuration asks for nothing but causal attention to all that came."""
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        kinds == {"full_attention"}
        and getattr(config, "sliding_window", None) is None
        and rope.get("rope_type") in FIXED_ANGLES
        and config._attn_implementation in ("sdpa", "eager")
    )


def _passed_by(policy: Any, model: Any) -> Iterator[Any]:
    """The modules whose `forward` is not called here."""
    if policy is not model:
        yield policy
        yield policy.base_model
    yield model
    yield model.model
    for layer in model.model.layers:
        yield layer
        yield layer.self_attn


def _as_made(module: Any) -> bool:
    """Whether a module is one of the known classes, with nothing around its `forward`."""
    kind = type(module)
    source = kind.__module__.split(".")[:2]
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    plain = not any(hooks) and "forward" not in vars(module)
    if source[0] == "peft":
        # Prompts that were learned stand before the tokens, which only the wrapper knows.
        config = getattr(module, "active_peft_config", None)
        learned = getattr(config, "is_prompt_learning", False)
        return plain and not learned
    family = kind.__name__.startswith(FAMILIES)
    return plain and family and source == ["transformers", "models"] and not _compiled(module)


def _compiled(module: Any) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None


class Decoded:
    """Rows of a decoder that grow by a token at a time. Rows that continue one prompt share its
    keys and values, which are never repeated; those of their answers lie in one memory.

    Begins with the cache `past` of prompts that are padded on the left where `mask` [N, P] is
    false, one row each.
    """

    def __init__(self, model: Any, past: Any, mask: Bool[Tensor, "N P"]) -> None:
        self.model = model
        first = past.layers[0].keys
        # Of each layer keys and values [N, heads, P, size].
        self._prompts = [(x.keys.contiguous(), x.values.contiguous()) for x in past.layers]
        self._hidden: Tensor | None = None
        self._padding = (~mask).sum(1)
        if not bool(mask.all()):
            nothing = torch.zeros_like(mask, dtype=first.dtype)
            self._hidden = nothing.masked_fill(~mask, -torch.inf)[:, None, None]
        self._owners = _Owners(torch.arange(len(mask)), prompts=len(mask))
        # Of the answers: layer, key or value, row, head, token, size.
        N, heads, self._length, size = first.shape
        self._rooms = first.new_empty(len(past.layers), 2, N, heads, 0, size)
        self._filled = 0
        self._angles = self._angles_up_to(self._length)

    def repeated(self, rows: Int[Tensor, " B"], room: int) -> Decoded:
        """Copy that holds these rows, each as often as it is named, with room for that many
        tokens.
        """
        other = copy.copy(self)
        layers, two, _, heads, _, size = self._rooms.shape
        capacity = self._filled + room
        other._rooms = self._rooms.new_empty(layers, two, len(rows), heads, capacity, size)
        for old, new in zip(self._rooms, other._rooms, strict=True):
            new[..., : self._filled, :] = old[:, rows, :, : self._filled]
        other._owners = _Owners(self._owners.owner[rows], prompts=len(self._padding))
        other._angles = self._angles_up_to(self._length + capacity)
        return other

    def _angles_up_to(self, length: int) -> list[Tensor]:
        """Cosines and sines [length, size] of each position; the sines with the sign of their
        half.
        """
        positions = torch.arange(length)[None]
        cos, sin = (x[0] for x in self.model.model.rotary_emb(self._rooms, positions))
        half = sin.shape[-1] // 2
        return [cos, torch.cat([-sin[:, :half], sin[:, half:]], 1)]

    @property
    def bytes(self) -> int:
        """Size of the keys and values that are held."""
        return self._rooms.nbytes + sum(x.nbytes for pair in self._prompts for x in pair)

    def keep(self, rows: Int[Tensor, " B"]) -> None:
        """Hold these rows only, in this order."""
        self._rooms = move_rows(self._rooms, rows, filled=self._filled)
        owner = self._owners.owner[rows]
        alive, among = owner.unique(return_inverse=True)
        if 2 * len(alive) <= len(self._padding):  # else nothing is copied for a few prompts
            self._prompts = [(keys[alive], values[alive]) for keys, values in self._prompts]
            self._padding = self._padding[alive]
            if self._hidden is not None:
                self._hidden = self._hidden[alive]
            owner = among
        self._owners = _Owners(owner, prompts=len(self._padding))

    def append(self, tokens: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """One more token to each row, and the logits after it."""
        at: Any = self._length + self._filled
        if self._hidden is not None:  # positions count from the first token of a prompt
            at = (at - self._padding[self._owners.owner])[:, None]
        angles = [x[at] for x in self._angles]
        self._filled += 1
        hidden: Tensor = self.model.model.embed_tokens(tokens)
        layers = self.model.model.layers
        for layer, prompts, room in zip(layers, self._prompts, self._rooms, strict=True):
            normed = _normed(layer.input_layernorm, hidden)
            gathered = self._gathered(layer.self_attn, normed, prompts, room, angles)
            hidden = hidden + layer.self_attn.o_proj(gathered)
            hidden = hidden + layer.mlp(_normed(layer.post_attention_layernorm, hidden))
        logits: Tensor = self.model.lm_head(_normed(self.model.model.norm, hidden))
        return logits

    def _gathered(
        self, attention: Any, hidden: Tensor, prompts: Any, room: Tensor, angles: list[Tensor]
    ) -> Float[Tensor, "B H"]:
        """What one query a row gathers from its prompt and from its answer so far."""
        keys, values = room[..., : self._filled, :]
        B, heads, _, size = keys.shape
        query, key, value = (
            project(hidden).view(B, -1, size)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):  # Qwen3
            query = _normed(attention.q_norm, query)
            key = _normed(attention.k_norm, key)
        turned = _rotated(torch.cat([key, query], 1), *angles)
        keys[:, :, -1] = turned[:, :heads]
        values[:, :, -1] = value
        # Several heads of queries may share one of keys and values.
        query = (turned[:, heads:] * attention.scaling).unflatten(1, (heads, -1))
        prompt_keys, prompt_values = prompts
        to_prompts = self._owners.by_prompt(query) @ prompt_keys.mT
        if self._hidden is not None:
            to_prompts += self._hidden
        scores = [self._owners.by_row(to_prompts, heads_each=query.shape[2]), query @ keys.mT]
        weights = torch.cat(scores, -1).softmax(-1)
        on_prompt, on_answer = weights.split([self._length, self._filled], -1)
        from_prompts = self._owners.by_prompt(on_prompt) @ prompt_values
        gathered = self._owners.by_row(from_prompts, heads_each=query.shape[2])
        return (gathered + on_answer @ values).reshape(B, -1)


class _Owners:
    """Which prompt each row continues, `owner` [B], and the way from rows to prompts and back.

    Each prompt has as many places as the one with the most rows; an empty place holds some row once
    more, and what comes of it is not read."""

    def __init__(self, owner: Int[Tensor, " B"], prompts: int) -> None:
        self.owner, self._prompts = owner, prompts
        counts = owner.bincount(minlength=prompts)
        rows = torch.arange(len(owner))
        order = owner.argsort(stable=True)
        rank = torch.empty_like(owner)
        rank[order] = rows - (counts.cumsum(0) - counts)[owner[order]]
        most = int(counts.max())
        self._place = owner * most + rank
        self._row = torch.zeros(prompts * most, dtype=torch.int64)
        self._row[self._place] = rows
        self._straight = torch.equal(self._place, torch.arange(prompts * most))

    def by_prompt(self, x: Float[Tensor, "B heads G n"]) -> Float[Tensor, "N heads KG n"]:
        """Rows side by side with the others of their prompt."""
        if not self._straight:
            x = x[self._row]
        return x.unflatten(0, (self._prompts, -1)).transpose(1, 2).flatten(2, 3)

    def by_row(
        self, x: Float[Tensor, "N heads KG n"], heads_each: int
    ) -> Float[Tensor, "B heads G n"]:
        """The way back."""
        x = x.unflatten(2, (-1, heads_each)).transpose(1, 2).flatten(0, 1)
        return x if self._straight else x[self._place]


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
