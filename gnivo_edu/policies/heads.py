"""The head of a causal language model: what turns its last hidden states into the logits of the
next token.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnivo_edu.policies.modes import evaluating

# Settings that may change the logits, by their names in configurations; `find_head` tries what they
# may mean. A factor of 1: most models multiply by it, of -1: most divide.
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_FACTORS = {"logit_scale": 1, "logits_scaling": -1, "lm_head_multiplier": 1}
# Which of its candidates a model's head was seen to be.
_verified: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False, kw_only=True)
class Head:
    """logits = c tanh(scale (W h + b) / c) / temperature over the actions; without `softcap` c, the
    identity for tanh.

    `weight` W [V, H] and `bias` b [V] may be those of the model itself (tied or not): gradients go
    to them. The actions are the first `num_actions` ids (all V unless told), less `leave_out`;
    other ids get no probability. Raises ValueError on a temperature or softcap that is not
    positive, and on ids or sizes that do not fit W."""

    weight: Float[Tensor, "V H"]
    bias: Float[Tensor, " V"] | None = None
    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0
    num_actions: int | None = None
    leave_out: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        V = self.weight.shape[0]
        if not self.temperature > 0 or not (self.softcap is None or self.softcap > 0):
            raise ValueError(
                f"temperature and softcap must be positive, got {self.temperature} and "
                f"{self.softcap}"
            )
        if not 1 <= self.actions <= V:
            raise ValueError(
                f"num_actions must be in 1..{V}, the rows of the head, got {self.num_actions}"
            )
        ids = range(self.actions)
        if len(set(self.leave_out)) >= len(ids) or any(i not in ids for i in self.leave_out):
            raise ValueError(
                f"leave_out must hold ids in 0..{self.actions - 1}, and not all of them"
            )
        if self.bias is not None and self.bias.shape != (V,):
            raise ValueError(
                f"bias must be [{V}], one per row of the head, got {list(self.bias.shape)}"
            )

    @property
    def actions(self) -> int:
        """Number of rows that are used."""
        return self.weight.shape[0] if self.num_actions is None else self.num_actions

    def logits(self, hidden: Float[Tensor, "*B H"]) -> Float[Tensor, "*B A"]:
        """All logits at once, with gradient, in the dtype of `hidden`: the definition, dense.

        >>> head = Head(weight=torch.eye(2), temperature=0.5, leave_out=(1,))
        >>> head.logits(torch.tensor([3.0, 4.0]))
        tensor([6., -inf])
        """
        A = self.actions
        bias = None if self.bias is None else self.bias[:A]
        z = nn.functional.linear(hidden, self.weight[:A], bias) * self.scale
        if self.softcap is not None:
            z = self.softcap * (z / self.softcap).tanh()
        z = z / self.temperature
        if self.leave_out:
            z = z.index_fill(-1, torch.tensor(self.leave_out, device=z.device), -torch.inf)
        return z


def has_hidden_states(model: nn.Module) -> bool:
    """Whether a policy has a head over hidden states: a table of logits has none, nor a toy of
    logits only.
    """
    kind = getattr(getattr(model, "config", None), "model_type", "")
    return kind != "tabular-lm" and hasattr(model, "get_output_embeddings")


@torch.no_grad()
def find_head(model: nn.Module) -> tuple[nn.Module, Head]:
    """(backbone, head) of a Hugging Face causal LM: `model(ids).logits` is `head.logits` of the
    last hidden states.

    Knows tied heads, biases, soft-capping of the final logits (Gemma 2) and scaled logits (Cohere,
    Granite). The first time it sees a model it runs both ways on two tokens and compares. Raises
    ValueError, in one line that names it, on a head that it does not know: an encoder-decoder, an
    adapter or a quantised layer as the head, another formula.

    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=5, n_embd=8, n_layer=1, n_head=2))
    >>> backbone, head = find_head(model)
    >>> type(backbone).__name__, list(head.weight.shape), head.bias
    ('GPT2Model', [5, 8], None)
    """
    # An adapter's wrapper (peft) puts its layers inside the model that it wraps, whose logits then
    # are the wrapper's.
    inner: Any = getattr(model, "get_base_model", lambda: model)()
    name = type(inner).__name__
    config = inner.config.get_text_config() if hasattr(inner, "config") else None
    layer: Any = inner.get_output_embeddings() if hasattr(inner, "get_output_embeddings") else None
    backbone: Any = getattr(inner, "base_model", inner)
    if backbone is inner:  # a class that names another attribute than it has (Llama 4)
        backbone = getattr(inner, "model", inner)
    if config is None or layer is None or backbone is inner:
        raise ValueError(f"{name} has no head over hidden states that can be found: {_DENSE}")
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"{name} is an encoder-decoder, not a causal language model")
    if type(layer) is not nn.Linear:
        kind = f"{type(layer).__module__}.{type(layer).__name__}"
        raise ValueError(
            f"the head of {name} is a {kind}, not a plain torch.nn.Linear (adapter, quantised?): "
            f"{_DENSE}"
        )
    heads = list(_candidates(config, Head(weight=layer.weight, bias=layer.bias)))
    if model in _verified:
        return backbone, heads[_verified[model]]
    ids = torch.tensor([[0, 1]], device=layer.weight.device) % layer.weight.shape[0]
    with evaluating(model):
        expected = model(input_ids=ids, use_cache=False).logits.double()
        hidden = backbone(input_ids=ids, use_cache=False).last_hidden_state.to(layer.weight.dtype)
    # Half precision rounds each logit by up to 2^-8 of itself, at several places.
    tolerance = 1e-5 if layer.weight.dtype in (torch.float32, torch.float64) else 0.05
    fits = hidden.shape[-1] == layer.weight.shape[1]
    error = float("inf")
    for number, head in enumerate(heads if fits else ()):
        logits = head.logits(hidden).double()
        same = logits.shape == expected.shape
        error = float((logits - expected).abs().max()) if same else float("inf")
        if error <= tolerance * float(expected.abs().max()):
            _verified[model] = number
            return backbone, head
    settings = {key: getattr(config, key, None) for key in (*_SOFTCAPS, *_FACTORS)}
    set_here = ", ".join(f"{key}={value}" for key, value in settings.items() if value)
    raise ValueError(
        f"the logits of {name} are not its head applied to its last hidden states"
        f"{' with ' + set_here if set_here else ''} (off by {error:.2g}): {_DENSE}"
    )


_DENSE = "use policies.score_tokens, which takes any model's logits"


def _candidates(config: Any, head: Head) -> Iterator[Head]:
    """What the configuration may mean: some models divide by the factor that others multiply by."""
    cap = next((float(c) for key in _SOFTCAPS if (c := getattr(config, key, None))), None)
    scales = [1.0]
    for key, usual in _FACTORS.items():
        factor = getattr(config, key, None)
        if isinstance(factor, Real) and factor not in (0, 1):
            scales = [float(factor) ** usual, float(factor) ** -usual, 1.0]
    for scale in scales:
        yield replace(head, softcap=cap, scale=scale)
