"""Small transformers that are float64 throughout, so that a gradient can be held to 1e-12."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from toy_envs import TokenMDP

KINDS = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}


class RMSNorm(nn.Module):
    """x / sqrt(mean x^2 + eps) times a weight, in the precision of x: the library's own casts to
    float32.
    """

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(weight.detach().clone()), eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt()


def small_transformer(
    mdp: TokenMDP, kind: str = "qwen2", seed: int = 0, dropout: float = 0.0
) -> PreTrainedModel:
    """A random Qwen2 or Llama over the actions, BOS and PAD of a token MDP, far from uniform."""
    config_class, model_class = KINDS[kind]
    config = config_class(
        vocab_size=mdp.vocab_size + 2,
        bos_token_id=mdp.bos_token_id,
        pad_token_id=mdp.pad_token_id,
        eos_token_id=mdp.eos_token_id,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        initializer_range=0.4,
        attention_dropout=dropout,
        attn_implementation="sdpa",  # eager attention gives nan where a float64 row is all padding
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config).double()
    for name, module in list(model.named_modules()):
        if type(module).__name__.endswith("RMSNorm"):
            model.set_submodule(name, RMSNorm(module.weight.double(), module.variance_epsilon))
    return model
