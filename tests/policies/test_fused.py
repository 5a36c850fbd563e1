"""Weights put together: the model's own law, wherever its layers are plain."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.policies import precise_norms
from gnivo_edu.policies.decoded import Decoded
from gnivo_edu.policies.fused import may_be_fused

IDS = torch.tensor([[9, 8, 7, 6], [1, 2, 3, 4], [7, 5, 3, 2]])
MASK = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]).bool()


def exact(family: str, **more: Any) -> Any:
    model = tiny_model(family, **more)
    model.config.sliding_window = None
    return precise_norms(model.double()).eval()


@torch.no_grad()
def begun(model: Any, mask: Tensor) -> Decoded:
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    out = model(IDS, attention_mask=mask.long(), position_ids=positions, use_cache=True)
    return Decoded(model, out.past_key_values, mask=mask)


@torch.no_grad()
def largest_gap(model: Any, mask: Tensor) -> float:
    """Of logits to those of whole rows, while rows grow, leave and change places."""
    owner = torch.tensor([0, 0, 1, 1, 2, 2])
    rows, answers = begun(model, mask).repeated(owner, room=4), torch.zeros(6, 0).long()
    gaps = []
    for t, going in enumerate([[0, 1, 2, 3, 4, 5], [0, 5, 2], [2, 0], [0, 1]]):
        answers = torch.cat([answers, torch.arange(len(owner))[:, None] + 3 * t], 1)
        logits = rows.append(answers[:, -1])
        for prompt, answer, given in zip(owner.tolist(), answers, logits, strict=True):
            whole = torch.cat([IDS[prompt][mask[prompt]], answer])[None]
            gaps.append((given - model(whole).logits[0, -1]).abs().max())
        rows.keep(torch.tensor(going))
        owner, answers = owner[going], answers[going]
    return float(torch.stack(gaps).max())


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_rows_grow_as_if_each_were_run_whole(family: str, heads: int, padded: bool) -> None:
    model = exact(family, num_key_value_heads=heads)
    assert may_be_fused(model) == (family != "qwen3")
    assert largest_gap(model, mask=MASK if padded else MASK | True) < 1e-12


@torch.no_grad()
def test_both_ways_of_running_the_layers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}
    model, tokens = exact("qwen2", rope_parameters=angles), torch.arange(3)
    for layer in model.model.layers:  # biases, which a new model has at zero
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
            nn.init.normal_(projection.bias)
    logits = []
    for fused in (True, False):
        monkeypatch.setattr("gnivo_edu.policies.decoded.may_be_fused", lambda model, to=fused: to)
        rows = begun(model, MASK).repeated(tokens, room=2)
        rows.append(tokens)
        logits.append(rows.append(tokens + 3))
    torch.testing.assert_close(*logits, rtol=0, atol=1e-12)


def test_what_is_not_plain_is_left_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert may_be_fused(tiny_model("llama"))
    assert not may_be_fused(tiny_model("llama").double())  # its norms compute in float32
    assert not may_be_fused(tiny_model("llama", mlp_bias=True))
    assert not may_be_fused(tiny_model("llama", hidden_act="gelu"))
    model = tiny_model("llama")
    layer = model.model.layers[1]
    for module in (layer.mlp, layer.mlp.up_proj, layer.input_layernorm, layer.self_attn.o_proj):
        hook = module.register_forward_hook(lambda *_: None)
        assert not may_be_fused(model)
        hook.remove()
        assert may_be_fused(model)
    monkeypatch.setattr("gnivo_edu.policies.fused.FUSED_BYTES", 1000)
    assert not may_be_fused(model)
