"""Tiny random models of the families of transformers' causal mapping: two layers, sixteen wide."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

# Sizes by the names that configurations have for them; each family takes those that it knows.
_NAMES: dict[int, str] = {
    64: "vocab_size max_position_embeddings n_positions n_ctx max_seq_len",
    24: "intermediate_size ffn_dim n_inner d_ff dff ffn_hidden_size decoder_ffn_dim "
    "encoder_ffn_dim",
    16: "hidden_size n_embd d_model embedding_size word_embed_proj_dim dim_model lru_width "
    "input_embedding_size output_embedding_size moe_intermediate_size "
    "shared_expert_intermediate_size moe_shared_expert_intermediate_size",
    8: "head_dim kv_lora_rank q_lora_rank v_head_dim attention_chunk_size mamba_d_head "
    "mamba_headdim linear_key_head_dim linear_value_head_dim",
    4: "rotary_dim num_experts num_local_experts n_routed_experts moe_num_experts "
    "qk_rope_head_dim qk_nope_head_dim sliding_window attention_window_size block_size chunk_size "
    "mamba_d_state state_size mamba_n_heads n_mamba_heads mamba_chunk_size conv_kernel "
    "linear_conv_kernel_dim index_topk",
    2: "num_hidden_layers n_layer n_layers num_layers decoder_layers num_attention_heads n_head "
    "n_heads num_heads decoder_attention_heads encoder_attention_heads num_experts_per_tok "
    "time_step_rank expand linear_num_key_heads linear_num_value_heads",
    1: "encoder_layers num_key_value_heads n_group topk_group first_k_dense_replace "
    "n_shared_experts mamba_n_groups n_groups",
}
SIZES: dict[str, Any] = {name: size for size, names in _NAMES.items() for name in names.split()}
SIZES |= {"pad_token_id": 60, "bos_token_id": 61, "eos_token_id": 3, "is_decoder": True}
SIZES |= {"use_mamba_kernels": False, "tie_word_embeddings": False}
# Scores that are exactly 0 for many tokens would tie, and ties are broken by the length of the row.
SIZES |= {"index_n_heads": 8, "index_head_dim": 16}
# Weights large enough that a wrong law shows.
SIZES |= {"initializer_range": 0.3, "init_std": 0.3}

_PLAIN = """
afmoe apertus arcee aria_text bart beam bert bert-generation big_bird bigbird_pegasus biogpt bitnet
blenderbot blenderbot-small bloom cohere cohere2 cohere2_moe cpmant ctrl cwm deepseek_v2 deepseek_v4
doge dots1 electra ernie ernie4_5 ernie4_5_moe exaone4 exaone_moe falcon_mamba flex_olmo flint gemma
gemma2 gemma3_text glm glm4 glm4_moe gpt-sw3 gpt2 gpt_bigcode gpt_neox gpt_neox_japanese gpt_oss
gptj granite granite_swa granitemoe granitemoe_swa granitemoeshared helium hunyuan_v1_dense
hunyuan_v1_moe hy_v3 hy_v4 hyperclovax inkling2_text inkling_text internlm3 iquestcoder jais2 jetmoe
kolibri1 laguna lfm2 llama llama4_text mamba marian mbart megatron-bert mellum mimo_v2_flash
minicpm3 minimax_m2 minimax_m3_vl_text ministral ministral3 mistral mixtral modernbert-decoder moshi
mpt mvp nanochat nemotron olmo olmo2 olmo3 olmoe openai-gpt opt pegasus persimmon phi
phi3 phimoe plbart qwen2 qwen2_moe qwen3 qwen3_moe rembert roformer rwkv seed_oss smollm3 solar_open
stablelm starcoder2 trocr vaultgemma whisper xglm xlm
"""
_HYBRID: dict[str, Any] = {"layer_types": ["linear_attention", "full_attention"]}
_SHARED_HYBRID = {"num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "mamba"]}
_LATENT: dict[str, Any] = {"head_dim": 4, "num_key_value_heads": 2}
# Their positions begin behind the padding token's id.
_SHIFTED: dict[str, Any] = {"max_position_embeddings": 128}
# What a family needs beside the sizes; None: a size that it does not take.
FAMILIES: dict[str, dict[str, Any]] = {name: {} for name in _PLAIN.split()}
for _name in ("axk1", "axk2", "deepseek_v3", "deepseek_v32", "youtu", "glm4_moe_lite"):
    FAMILIES[_name] = _LATENT
FAMILIES |= {"glm_moe_dsa": _LATENT, "longcat_flash": _LATENT}
for _name in ("bailing_hybrid", "minimax", "olmo_hybrid", "qwen3_next", "qwen3_5_text"):
    FAMILIES[_name] = _HYBRID
for _name in ("camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta"):
    FAMILIES[_name] = _SHIFTED
FAMILIES |= {
    "qwen3_5_moe_text": _HYBRID,
    "xlm-roberta-xl": _SHIFTED,
    "xmod": {
        **_SHIFTED,
        "default_language": "en_XX",
        "languages": ("en_XX",),
    },
    "bamba": {"attn_layer_indices": [1]},
    "codegen": {"n_head": 4, "num_attention_heads": 4},
    "dbrx": {
        "attn_config": {"kv_n_heads": 1, "clip_qkv": 8.0, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 2, "moe_top_k": 1},
    },
    "diffllama": {"num_key_value_heads": 2},
    "falcon": {"head_dim": None},
    "falcon_h1": {"mamba_d_ssm": 32},
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"],
        "vocab_size_per_layer_input": 64,
        "hidden_size_per_layer_input": 8,
        "activation_sparsity_pattern": [0.0, 0.0],
        "altup_num_inputs": 2,
        "laurel_rank": 4,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 4},
    "hrm_text": {"initializer_range": 0.1},  # its layers are run many times over
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_dt_rank": 4,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 4},
    "nemotron_h": {"mamba_num_heads": 4, "mamba_head_dim": 8},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "xlnet": {"max_position_embeddings": None},
    "zamba": {
        **_SHARED_HYBRID,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "mamba_dt_rank": 4,
        "n_mamba_heads": 2,
    },
    "zamba2": {**_SHARED_HYBRID, "num_mem_blocks": 1},
    "zaya": {"num_experts_per_tok": 1},
}


def tiny_model(family: str, seed: int = 0, **more: Any) -> Any:
    """A random model of a family, float32, dropout off; `more` goes to its configuration.

    >>> model = tiny_model("gpt2")
    >>> model.config.vocab_size, sum(p.numel() for p in model.parameters()) < 10_000
    (64, True)
    """
    kind: Any = CONFIG_MAPPING[family]
    standard = kind()
    sizes = {name: size for name, size in SIZES.items() if hasattr(standard, name)}
    given = sizes | FAMILIES[family] | more
    config = kind(**{name: size for name, size in given.items() if size is not None})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).eval()
