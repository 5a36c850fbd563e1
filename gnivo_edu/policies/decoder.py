"""Which models are plain decoders, whose layers `Decoded` may run one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

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
    return model if _is_plain(model) and all(map(as_made, _passed_by(policy, model))) else None


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


def as_made(module: Any) -> bool:
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
