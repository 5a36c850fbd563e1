"""Small transformers on a token MDP: a Qwen2 or a Llama made from a config, exact in float64
too.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from gnivo_edu.policies.loading import precise_norms
from toy_envs import TokenMDP

Architecture = Literal["qwen2", "llama"]
ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}
# Width, width of the feed-forward part, layers, attention heads, key-value heads.
SIZES = {
    "tiny": (16, 24, 2, 4, 2),
    "small": (96, 256, 3, 4, 4),
    "medium": (192, 512, 4, 6, 6),
    "large": (512, 1536, 9, 8, 8),
}
# Positions at least, so that one model also reads the longer chains of the same environment.
WINDOW = 64


def small_transformer(
    env: Any,
    size: str = "small",
    architecture: Architecture = "qwen2",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    initializer_range: float = 0.02,
) -> PreTrainedModel:
    """A random transformer over the V actions of a token MDP, BOS and PAD: vocabulary V + 2,
    embeddings not tied.

    `env`: a TokenMDP, or what `gymnasium.make` gives. `size`: "tiny" (a few thousand parameters),
    "small" (a third of a million), "medium" (1.8 million) or "large" (30 million, for a GPU). In
    float64 it computes in float64 throughout, norms included. The weights are those of `seed` in
    float32, whatever `dtype` is. `initializer_range`: standard deviation of the weights; 0.02 gives
    a policy close to uniform, 0.4 one far from it. `save_pretrained` writes a plain Qwen2 or Llama.
    Raises ValueError on an unknown size or architecture.

    >>> model = small_transformer(TokenMDP(3, 4), size="tiny", dtype=torch.float64)
    >>> model(input_ids=torch.tensor([[3, 0, 2]])).logits.shape, model.dtype
    (torch.Size([1, 3, 5]), torch.float64)
    """
    mdp: TokenMDP = env.unwrapped
    if size not in SIZES or architecture not in ARCHITECTURES:
        raise ValueError(
            f"size must be one of {', '.join(SIZES)} and architecture one of "
            f"{', '.join(ARCHITECTURES)}, got {size!r} and {architecture!r}"
        )
    width, inner, layers, heads, shared = SIZES[size]
    config_class, model_class = ARCHITECTURES[architecture]
    config = config_class(
        vocab_size=mdp.vocab_size + 2,
        bos_token_id=mdp.bos_token_id,
        pad_token_id=mdp.pad_token_id,
        eos_token_id=mdp.eos_token_id,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        max_position_embeddings=max(WINDOW, mdp.prompts().shape[1] + mdp.horizon),
        tie_word_embeddings=False,
        initializer_range=initializer_range,
        # Eager attention casts to float32, and gives nan where a row is all padding.
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
    return precise_norms(model.to(dtype)).eval()
