"""Policies by their names: models in folders, the shipped one, tables, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
)
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.policies import load_model, load_policy
from gnivo_edu.policies.loading import (
    CHECKPOINTS,
    PreciseRMSNorm,
    load_checkpoint,
    load_transformer,
    precise_norms,
)
from gnivo_edu.policies.small import small_transformer
from toy_envs import TokenMDP

MDP = TokenMDP(3, 4, eos_token_id=2)
INPUT = torch.tensor([[3, 0, 1, 1]])
IDS = torch.tensor([[5, 6, 7, 8]])


def test_it_is_saved_as_a_plain_qwen2_and_loads_with_and_without_this_library(tmp_path):
    model = small_transformer(MDP, "tiny", initializer_range=0.4)
    model.save_pretrained(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(plain).__name__ == "Qwen2ForCausalLM"
    expected = model(input_ids=INPUT).logits
    torch.testing.assert_close(plain(input_ids=INPUT).logits, expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(load_transformer(tmp_path)(input_ids=INPUT).logits, expected)

    double = load_transformer(tmp_path, torch.float64)
    assert (
        sum(isinstance(module, PreciseRMSNorm) for module in double.modules()) == 5
    )  # two a layer, one at the end
    difference = (double(input_ids=INPUT).logits - expected).abs().max()
    assert 0 < float(difference.detach()) < 1e-5


def test_the_shipped_checkpoint_is_small_and_loads_in_float64():
    folder = CHECKPOINTS / "arithmetic"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 4 * 2**20
    model = load_checkpoint(dtype=torch.float64)
    assert model.dtype == torch.float64
    assert not model.training


def test_load_model_round_trip(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, its_tokenizer = load_model(tmp_path)
    assert loaded.dtype == torch.float32
    assert not loaded.training
    assert its_tokenizer("a b")["input_ids"] == tokenizer("a b")["input_ids"]
    assert load_model(str(tmp_path), dtype=torch.float64)[0].dtype == torch.float64


def test_load_model_says_in_one_line_what_is_wrong(
    model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path | str, message: str) -> None:
        with pytest.raises(ValueError, match=message) as error:
            load_model(path)
        assert "\n" not in str(error.value)

    refused(tmp_path / "nowhere", "there is no folder")
    refused("../nowhere", "there is no folder")
    refused("", "there is no folder")
    refused(tmp_path, "holds no config.json")
    model.config.save_pretrained(tmp_path)
    refused(tmp_path, "could not be loaded as a causal language model: ")
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    refused(tmp_path, "could not be loaded as a causal language model: ")
    encoder = tmp_path / "encoder"
    sizes = dict(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        vocab_size=20,
    )
    BertModel(BertConfig(**sizes)).save_pretrained(encoder)
    tokenizer.save_pretrained(encoder)
    refused(encoder, "is no causal language model: it lacks weights, such as cls")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("gnivo-edu-tests/no-such-model", "a hub id needs a connection")


def test_a_policy_is_loaded_by_any_of_its_names(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    task = TokenMDP(3, 2, prompts=[[3, 0], [3, 1]])
    table, nothing = load_policy("table", torch.float64, task)
    assert table.logits.shape == (2, 4, 3)
    assert (table.dtype, nothing) == (torch.float64, None)
    with pytest.raises(ValueError, match="give the task too"):
        load_policy("table")
    shipped, nothing = load_policy("shipped")
    assert torch.equal(shipped.lm_head.weight, load_checkpoint().lm_head.weight)
    assert nothing is None

    # A folder that has no tokenizer is one of a toy environment; with one, the pair is loaded.
    bare, whole = tmp_path / "bare", tmp_path / "whole"
    small = small_transformer(MDP, "tiny", initializer_range=0.4)
    small.save_pretrained(bare)
    loaded, nothing = load_policy(str(bare), torch.float64)
    assert nothing is None
    assert isinstance(loaded.model.norm, PreciseRMSNorm)
    assert not loaded.training
    small.save_pretrained(whole)
    tokenizer.save_pretrained(whole)
    loaded, its_tokenizer = load_policy(str(whole), torch.float64)
    assert its_tokenizer("a b")["input_ids"] == tokenizer("a b")["input_ids"]
    assert isinstance(loaded.model.norm, PreciseRMSNorm), "in float64 the norms keep it"


def test_unknown_checkpoints_and_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no config\.json"):
        load_transformer(tmp_path)
    with pytest.raises(ValueError, match="known: arithmetic"):
        load_checkpoint("poetry")


def test_a_policy_that_cannot_be_loaded_is_refused_in_one_line(tmp_path: Path) -> None:
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    (adapters / "adapter_config.json").write_text("{}", encoding="utf-8")
    run = tmp_path / "run"
    small_transformer(MDP, "tiny").save_pretrained(run / "model")
    for name, message in (
        (adapters, "holds adapters alone: a run's whole model is in model/"),
        (run, r"holds no config\.json: did you mean '.*model'\?"),
        (tmp_path / "nowhere", "there is no folder"),
        ("", "there is no folder"),
        ("PATH_OR_HUB_ID", "stands for a model"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            load_policy(str(name))
        assert "\n" not in str(error.value)


def test_a_broken_file_of_a_toy_policy_is_one_line(tmp_path: Path) -> None:
    small_transformer(MDP, "tiny").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="could not be loaded as a causal language model"):
        load_policy(str(tmp_path))


# --- norms that keep float64 ----------------------------------------------------------------------


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
