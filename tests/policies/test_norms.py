"""Norms that keep float64, of every kind that models have."""

from __future__ import annotations

import pytest
import torch
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.policies.norms import PreciseRMSNorm, precise_norms

IDS = torch.tensor([[5, 6, 7, 8]])


def test_below_float32_the_norm_is_the_librarys():
    weight = torch.rand(16, generator=torch.Generator().manual_seed(0)).bfloat16()
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(1)).bfloat16()
    theirs = Qwen2RMSNorm(16, eps=1e-6).bfloat16()
    theirs.weight.data.copy_(weight)
    assert torch.equal(PreciseRMSNorm(weight, 1e-6)(x), theirs(x))


@pytest.mark.parametrize(
    "family", ["qwen3", "gemma2", "gemma3_text", "cohere", "mamba2", "bamba", "falcon_mamba"]
)
def test_precise_norms_compute_what_the_librarys_do(family: str) -> None:
    model = tiny_model(family)
    for name, weight in model.named_parameters():
        if "norm" in name:  # neither zeros nor ones
            torch.nn.init.uniform_(weight, 0.5, 1.5, torch.Generator().manual_seed(0))
    expected = model(input_ids=IDS).logits
    torch.testing.assert_close(precise_norms(model)(input_ids=IDS).logits, expected)


def test_gemma_norms_are_replaced_and_gated_ones_are_not() -> None:
    kinds = {type(module).__name__ for module in precise_norms(tiny_model("gemma2")).modules()}
    assert "PreciseRMSNorm" in kinds
    assert "Gemma2RMSNorm" not in kinds
    kinds = {type(module).__name__ for module in precise_norms(tiny_model("bamba")).modules()}
    assert {"PreciseRMSNorm", "BambaRMSNormGated"} <= kinds


def test_a_mixture_of_experts_runs_in_float64() -> None:
    model = tiny_model("mixtral")
    expected = model(input_ids=IDS).logits
    double = precise_norms(model.double())(input_ids=IDS).logits
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected)
