"""The heads of real architectures, small and random, are found and give the model's logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    HyperCLOVAXConfig,
    HyperCLOVAXForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from gnivo_edu.policies.heads import find_head
from tests.policies.head_laws import gap

SIZES = dict(
    vocab_size=13,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    head_dim=8,
    initializer_range=0.9,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=2,
)
MODELS = {
    "soft cap": (Gemma2ForCausalLM, Gemma2Config, {"final_logit_softcapping": 3.0}),
    "multiplied": (CohereForCausalLM, CohereConfig, {"logit_scale": 0.4}),
    "divided": (GraniteForCausalLM, GraniteConfig, {"logits_scaling": 4.0}),
    "multiplied by scaling": (HyperCLOVAXForCausalLM, HyperCLOVAXConfig, {"logits_scaling": 4.0}),
    "bias": (PhiForCausalLM, PhiConfig, {}),
    "tied": (GPT2LMHeadModel, GPT2Config, {}),
}


def made(name: str) -> Any:
    model_class, config_class, own = MODELS[name]
    torch.manual_seed(0)
    model = model_class(config_class(**SIZES, **own))
    if model.get_output_embeddings().bias is not None:
        nn.init.normal_(model.get_output_embeddings().bias)
    return model.double().eval()


@pytest.mark.parametrize("name", MODELS)
def test_the_head_of_a_model_gives_its_logits(name: str) -> None:
    model = made(name)
    backbone, head = find_head(model)
    ids = torch.tensor([[3, 4, 5, 6]])
    expected = model(ids).logits
    for _ in range(2):  # the second time from memory
        backbone, head = find_head(model)
        assert gap([head.logits(backbone(ids).last_hidden_state)], [expected]) < 1e-12 * (
            1 + float(expected.detach().abs().max())
        )
    assert (head.bias is not None) == (name == "bias")
    assert (head.weight is model.get_input_embeddings().weight) == bool(
        model.config.tie_word_embeddings
    )


def test_heads_that_are_not_known_are_refused_by_name() -> None:
    class Doubled(GPT2LMHeadModel):
        def forward(self, *args: Any, **settings: Any) -> Any:
            out = super().forward(*args, **settings)
            out.logits = 2 * out.logits
            return out

    config = GPT2Config(vocab_size=13, n_embd=16, n_layer=1, n_head=2, initializer_range=0.5)
    with pytest.raises(ValueError, match="logits of Doubled are not its head applied"):
        find_head(Doubled(config))
    adapted = GPT2LMHeadModel(config)
    adapted.lm_head = nn.Sequential(nn.Linear(16, 13))
    with pytest.raises(
        ValueError, match=r"head of GPT2LMHeadModel is a torch.nn.modules.container.Sequential"
    ):
        find_head(adapted)
    bart = BartConfig(
        vocab_size=13, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2
    )
    with pytest.raises(ValueError, match="BartForConditionalGeneration is an encoder-decoder"):
        find_head(BartForConditionalGeneration(bart))
    with pytest.raises(ValueError, match="Linear has no head over hidden states"):
        find_head(nn.Linear(2, 2))
