"""Rows of a causal LM that grow token by token: prompts run once, finished rows dropped."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer

from gnivo_edu.policies.decoded import Decoded
from gnivo_edu.policies.decoder import decoder_of
from gnivo_edu.policies.modes import device_of
from gnivo_edu.policies.rooms import RoomyLayer
from toy_envs import TokenMDP


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a model is run so that it gives one law: `one_law.way_of` says which way is sound.

    `cache`: steps from a cache, else whole rows at every step. `positions`: positions are given
    from a cache and behind padding. `padding`: rows of unequal length are padded on the left, else
    rows of one length are run together. `together`: many rows at once, else each by itself.
    `direct`: of a decoder that `decoder_of` knows, the layers are run one by one."""

    cache: bool = True
    positions: bool = True
    padding: bool = True
    together: bool = True
    direct: bool = True

    def parts(self, lengths: Int[Tensor, " B"]) -> list[Int[Tensor, " b"]]:
        """Numbers of the rows that may be run together, from the lengths of their prompts, on the
        CPU.

        >>> Way(padding=False).parts(torch.tensor([4, 2, 4]))
        [tensor([1]), tensor([0, 2])]
        """
        rows = torch.arange(len(lengths))
        if not self.together:
            return list(rows.split(1))
        if self.padding or not len(rows):
            return [rows]
        lengths = lengths.cpu()
        return [rows[lengths == length] for length in lengths.unique()]


class Rows:
    """Rows that grow by a token at a time and drop out: inputs so far, the model's cache of them,
    the last `logits`.

    `way` says how they are run. Where the model keeps no cache, or none whose rows can be chosen,
    each step runs the whole rows instead. With `tokens`, whole rows are run once and `logits` are
    those before each of the tokens. `actions`: how many logits count, the first of them; all where
    it is None.
    """

    def __init__(
        self,
        policy: nn.Module,
        actions: int | None,
        prompts: Int[Tensor, "B P"],
        mask: Bool[Tensor, "B P"],
        way: Way,
        tokens: Int[Tensor, "B T"] | None = None,
    ) -> None:
        self.policy, self.actions = policy, actions
        self.positions = way.positions
        model: Any = getattr(policy, "get_base_model", lambda: policy)()  # inside an adapter
        self.keeps_last = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.ids, self.mask = without_padding(prompts, mask, device_of(policy))
        self.padded = not bool(self.mask.all())
        self.past: Any = None
        self.decoded: Decoded | None = None
        self.direct = way.direct and tokens is None
        self.use_cache = way.cache and tokens is None
        if tokens is None:
            self.logits = self._run(1)[:, -1]
        else:
            self._extend(tokens[:, :-1].to(self.ids.device))
            self.logits = self._run(tokens.shape[1])

    def repeated(self, rows: Int[Tensor, " B"], room: int) -> Rows:
        """Copy that holds these rows, in this order, each as often as it is named, with room for
        that many tokens.
        """
        other = copy.copy(self)
        rows = rows.to(self.ids.device)
        if (begun := self._begun()) is not None:
            other.decoded, other.past = begun.repeated(rows, room), None
            other.logits = self.logits[rows]
            return other
        other.past = copy.deepcopy(self.past)
        other.keep(rows)
        layers = getattr(other.past, "layers", [])
        for i, layer in enumerate(layers):
            # Layers of another type keep a window or a state, and are left as they are.
            if type(layer) is DynamicLayer and layer.get_seq_length() > 0:
                layers[i] = RoomyLayer(layer, room)
        return other

    def _begun(self) -> Decoded | None:
        """These rows as those of a decoder whose layers are run one by one; None where it has no
        such.
        """
        layers = getattr(self.past, "layers", [None])
        if self.decoded is not None or not self.direct or not self.positions:
            return self.decoded
        if any(type(layer) is not DynamicLayer for layer in layers):
            return None
        decoder = decoder_of(self.policy)
        return None if decoder is None else Decoded(decoder, self.past, mask=self.mask)

    def keep(self, rows: Int[Tensor, " B"]) -> None:
        """Hold these rows only: what is left out is never computed again."""
        self.logits = self.logits[rows]
        if self.decoded is not None:
            self.decoded.keep(rows)
            return
        self.ids, self.mask = self.ids[rows], self.mask[rows]
        if self.past is not None:
            self.past.reorder_cache(rows)

    def append(self, tokens: Int[Tensor, " B"]) -> None:
        """One more token to each row, and the logits after it."""
        if self.decoded is not None:
            self.logits = self.decoded.append(tokens)[:, : self.actions]
            return
        self._extend(tokens[:, None])
        self.logits = self._run(1)[:, -1]

    def _extend(self, tokens: Int[Tensor, "B t"]) -> None:
        self.ids = torch.cat([self.ids, tokens], 1)
        self.mask = torch.cat([self.mask, torch.ones_like(tokens, dtype=torch.bool)], 1)

    def _run(self, steps: int) -> Float[Tensor, "B steps V"]:
        """Logits of the actions at the last `steps` positions; positions count from the first token
        of the prompt.
        """
        fresh = self.ids if self.past is None else self.ids[:, -1:]
        extra: dict[str, Any] = {"past_key_values": self.past} if self.past is not None else {}
        if self.padded:
            extra["attention_mask"] = self.mask.long()
        # Some models count the tokens of this call alone where a cache is given (Bamba).
        if self.positions and (self.padded or self.past is not None):
            extra["position_ids"] = positions_of(self.mask)[:, -fresh.shape[1] :]
        if self.keeps_last:
            extra["logits_to_keep"] = steps
        out = self.policy(input_ids=fresh, use_cache=self.use_cache, **extra)
        self.past = getattr(out, "past_key_values", None) if self.use_cache else None
        if not hasattr(self.past, "reorder_cache"):
            self.past = None
            self.use_cache = False
        logits: Tensor = out.logits[:, -steps:, : self.actions]
        return logits


def positions_of(mask: Bool[Tensor, "B L"]) -> Int[Tensor, "B L"]:
    """Position of each token, counted from the first that is no padding; 0 in the padding."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def without_padding(
    prompts: Int[Tensor, "B P"], mask: Bool[Tensor, "B P"], device: torch.device
) -> tuple[Int[Tensor, "B p"], Bool[Tensor, "B p"]]:
    """Prompts and their mask without the columns that are padding in every row."""
    first = int(mask.int().argmax(1).min()) if len(mask) else 0
    return prompts[:, first:].to(device), mask[:, first:].to(device)


def prompts_of(task: TokenMDP) -> tuple[Int[Tensor, "N P"], Bool[Tensor, "N P"]]:
    """Prompts and their mask, true at real tokens; raises ValueError where they are not padded on
    the left.
    """
    ids = torch.from_numpy(task.prompts())
    try:
        mask = torch.from_numpy(np.array(task.prompt_mask(), dtype=bool))
    except AttributeError:  # somebody's task that says nothing of padding
        mask = torch.ones_like(ids, dtype=torch.bool)
    fits = mask.shape == ids.shape
    if not fits or not bool(mask[:, -1].all()) or bool((mask[:, :-1] & ~mask[:, 1:]).any()):
        raise ValueError(
            "prompt_mask() must be [N, P] and padded on the left: false at first, then true to the "
            "end"
        )
    return ids, mask


def check_room(
    policy: nn.Module,
    task: TokenMDP,
    ids: Int[Tensor, "N P"],
    mask: Bool[Tensor, "N P"],
    index: Int[Tensor, " n"],
) -> None:
    """Raise ValueError where the prompts of `index` and the horizon do not fit the model's
    positions, angles or vocabulary.
    """
    window = window_of(policy)
    longest = int(mask[index].sum(1).max())
    if window is not None and longest + task.horizon > window:
        raise ValueError(
            f"the longest prompt has {longest} tokens; with horizon {task.horizon} that is above "
            f"the model's {window}: shorten one of them"
        )
    check_angles(policy, int(mask[index].sum(1).min()), longest + task.horizon)
    width = getattr(_text_config(policy), "vocab_size", None)
    needed = max(task.vocab_size, task.pad_token_id + 1, int(ids.max()) + 1)
    if width is not None and width < needed:
        raise ValueError(
            f"the policy's vocabulary has {width} tokens; {task.vocab_size} actions, the prompts "
            f"and PAD need {needed}"
        )


def window_of(policy: nn.Module) -> int | None:
    """How many positions a model has, None where it does not say; some say -1 for no limit."""
    window = getattr(_text_config(policy), "max_position_embeddings", None)
    return window if isinstance(window, int) and window > 0 else None


def check_angles(policy: nn.Module, shortest: int, longest: int) -> None:
    """Raise ValueError where rows that grow from `shortest` to `longest` tokens pass the length
    beyond which all angles of a row are others (`longrope`, as in Phi-3).
    """
    config = _text_config(policy)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return
    limit = rope.get("original_max_position_embeddings")
    # The last token is drawn and never read.
    if limit is not None and shortest <= limit < longest - 1:
        raise ValueError(
            f"{type(policy).__name__} has other angles beyond {limit} positions: an answer that "
            f"grows to {longest} would be drawn by one law and scored by another; shorten the "
            "horizon"
        )


def _text_config(policy: nn.Module) -> Any:
    config: Any = getattr(policy, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config
