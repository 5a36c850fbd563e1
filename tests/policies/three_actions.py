"""Answers of up to four of three actions, of which the last ends one, and small transformers."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

HORIZON, END = 4, 2
SIZES = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    initializer_range=0.5,
)


def reward(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return lengths / HORIZON + 0.1 * (tokens[:, 0] == 1)


def transformer(kind: str, vocab_size: int = 5) -> nn.Module:
    torch.manual_seed(0)
    if kind == "llama":
        model: nn.Module = LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **SIZES))
    else:
        config = Qwen2Config(vocab_size=vocab_size, attention_dropout=0.5, **SIZES)
        model = Qwen2ForCausalLM(config)
    return model.double()


def answers() -> list[tuple[int, ...]]:
    """Every complete answer, by hand."""
    lengths = range(1, HORIZON + 1)
    rows = itertools.chain.from_iterable(itertools.product(range(3), repeat=t) for t in lengths)
    return [y for y in rows if END not in y[:-1] and (y[-1] == END or len(y) == HORIZON)]


def padded(rows: list[tuple[int, ...]], junk: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.tensor([[*y, *[junk] * (HORIZON - len(y))] for y in rows])
    return tokens, torch.tensor([len(y) for y in rows])
