"""Weights against their configuration: names, shapes, kinds, ties and numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.policies import TabularLM, load_model
from gnivo_edu.policies.loading import load_transformer
from gnivo_edu.policies.small import small_transformer
from gnivo_edu.policies.weights import UnfitWeights, check_weights
from toy_envs import TokenMDP

MDP = TokenMDP(3, 4, eos_token_id=2)
UP = "model.layers.0.mlp.up_proj.weight"


def edited(folder: Path, weights: Any = None, **settings: Any) -> Path:
    """A tiny model in a folder, its weights and its configuration changed."""
    small_transformer(MDP, "tiny").save_pretrained(folder)
    if weights is not None:
        save_file(weights(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    return folder


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hidden_layers": 3}, r"lacks weights, such as model\.layers\.2\.input_layernorm"),
        ({"num_hidden_layers": 1}, r"no place for 12 of the weights in the file, such as model"),
        ({"vocab_size": 9}, r"lm_head\.weight is \[5, 16\] in the file and \[9, 16\] by the conf"),
        ({"num_key_value_heads": 4}, r"k_proj\.bias is \[8\] in the file and \[16\] by the conf"),
    ],
)
def test_weights_that_do_not_fit_their_configuration_are_named(
    settings: dict[str, Any], message: str, tokenizer: Any, tmp_path: Path
) -> None:
    folder = edited(tmp_path, layer_types=None, **settings)
    with pytest.raises(ValueError, match=message) as error:
        load_transformer(folder)
    assert "\n" not in str(error.value)
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match=message):
        load_model(folder)


def test_a_weight_too_many_is_refused_and_an_old_buffer_is_not(tmp_path: Path) -> None:
    def with_score(weights: Any) -> Any:
        return {**weights, "score.weight": torch.zeros(1, 16)}

    def with_buffers(weights: Any) -> Any:
        names = ("rotary_emb.inv_freq", "self_attn.rotary_emb.inv_freq", "attention.masked_bias")
        return {**weights, **{f"model.layers.0.{name}": torch.zeros(2) for name in names}}

    with pytest.raises(ValueError, match=r"no place for 1 of the weights .* score\.weight"):
        load_transformer(edited(tmp_path / "more", with_score))
    load_transformer(edited(tmp_path / "old", with_buffers))


def test_tied_weights_are_not_missed(tmp_path: Path) -> None:
    tiny_model("llama", tie_word_embeddings=True).save_pretrained(tmp_path)
    loaded = load_transformer(tmp_path)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def changed(name: str, change: Any) -> Any:
    """Weights of which one is changed."""
    return lambda weights: {**weights, name: change(weights[name])}


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_no_numbers_are_named(number: float, tmp_path: Path) -> None:
    def with_number(weight: torch.Tensor) -> torch.Tensor:
        return weight.index_fill(0, torch.tensor([3]), number)

    folder = edited(tmp_path, changed(UP, with_number))
    message = r"cannot be used: model\.layers\.0\.mlp\.up_proj\.weight holds nan or inf \(as torch"
    with pytest.raises(ValueError, match=message) as error:
        load_transformer(folder)
    assert "\n" not in str(error.value)


def test_what_a_narrower_dtype_cannot_hold_is_named_and_what_only_sums_high_is_not(
    tmp_path: Path,
) -> None:
    folder = edited(tmp_path, changed(UP, lambda weight: torch.full_like(weight, 1e38)))
    assert load_transformer(folder).dtype == torch.float32
    with pytest.raises(ValueError, match=r"up_proj\.weight holds nan or inf \(as torch\.float16\)"):
        load_transformer(folder, torch.float16)


def test_a_buffer_may_be_infinite_and_not_nan() -> None:
    model = small_transformer(MDP, "tiny")
    nothing: dict[str, Any] = {"mismatched_keys": (), "missing_keys": (), "unexpected_keys": ()}
    model.register_buffer("ban", torch.tensor([0.0, -torch.inf]))
    check_weights(model, nothing, None, name="it")
    model.register_buffer("ban", torch.tensor([0.0, torch.nan]))
    with pytest.raises(UnfitWeights, match="'it' cannot be used: ban holds nan"):
        check_weights(model, nothing, None, name="it")


def test_a_table_may_forbid_a_token(tmp_path: Path) -> None:
    table = TabularLM.from_mdp(TokenMDP(2, 3))
    for number in (-torch.inf, torch.inf, torch.nan):
        table.logits.data[0, 0, 0] = number
        table.save_pretrained(tmp_path)
        if number < 0:
            loaded: Any = load_transformer(tmp_path, torch.float64)
            assert torch.equal(loaded.logits, table.logits)
            continue
        with pytest.raises(ValueError, match="logits holds nan or inf"):
            load_transformer(tmp_path, torch.float64)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_integers_in_the_place_of_weights_are_named(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = edited(tmp_path, changed(UP, lambda weight: (100 * weight).to(dtype)))
    with pytest.raises(ValueError, match=r"up_proj\.weight holds integers \(\w+\), and the conf"):
        load_transformer(folder)
    # The older kind of file says so too.
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"up_proj\.weight holds integers"):
        load_transformer(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_taken(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = edited(tmp_path, lambda weights: {k: x.to(dtype) for k, x in weights.items()})
    assert load_transformer(folder).dtype == torch.float32


def test_a_file_with_two_heads_does_not_fit_a_configuration_that_ties_them(tmp_path: Path) -> None:
    def tied(weights: Any) -> Any:
        return {**weights, "lm_head.weight": weights["model.embed_tokens.weight"].clone()}

    with pytest.raises(ValueError, match=r"makes lm_head\.weight and .* one, .* holds two; set it"):
        load_transformer(edited(tmp_path / "two", tie_word_embeddings=True))
    load_transformer(edited(tmp_path / "untied", tie_word_embeddings=False))
    loaded = load_transformer(edited(tmp_path / "same", tied, tie_word_embeddings=True))
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


@pytest.mark.parametrize("config", [{"model_type": "llama"}, {"model_type": "gpt2"}])
def test_a_configuration_without_sizes_builds_no_model(
    config: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = edited(tmp_path)
    (folder / "config.json").write_text(json.dumps(config))
    # One would have billions of weights.
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", None)
    with pytest.raises(ValueError, match=r"[0-9,]{11,} weights by the .* and 4,144 in the file"):
        load_transformer(folder)
    monkeypatch.undo()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"could not be loaded as a causal .* no file named model"):
        load_transformer(folder)


def test_a_value_of_another_type_is_told_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'hidden_size': .*expected int") as error:
        load_transformer(edited(tmp_path, hidden_size="16"))
    assert "\n" not in str(error.value)
