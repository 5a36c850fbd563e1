"""A task of three actions and policies for it; a small language model with a tokenizer of bytes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from gnivo_edu.policies import TabularLM
from tests.policies.three_actions import END, HORIZON, reward, transformer
from toy_envs import TokenMDP


@pytest.fixture
def mdp() -> TokenMDP:
    return TokenMDP(3, HORIZON, reward=reward, eos_token_id=END, prompts=[[3, 0], [3, 1]])


@pytest.fixture(params=["table", "llama", "qwen2", "wide"])
def policy(request: pytest.FixtureRequest, mdp: TokenMDP) -> nn.Module:
    if request.param == "table":
        return TabularLM.from_mdp(mdp, seed=1)
    if request.param == "wide":  # a vocabulary beyond the actions, BOS and PAD
        return transformer("llama", vocab_size=11)
    return transformer(request.param)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """One token per byte, a few longer ones, and specials; no BOS is added."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<pad>", "<eos>", *alphabet, "Ġa", "the"]
    ids = {token: number for number, token in enumerate(tokens)}
    of_bytes = Tokenizer(models.BPE(ids, [("Ġ", "a")], unk_token=None))
    of_bytes.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    of_bytes.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=of_bytes, pad_token="<pad>", eos_token="<eos>")


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    """float64 throughout (layer norms too), with more outputs than the tokenizer has tokens."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer) + 5,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=32,
        initializer_range=0.7,
    )
    return GPT2LMHeadModel(config).double().eval()
