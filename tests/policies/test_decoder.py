"""Layers run one by one: the same law as the model's own forward, and only where that is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.policies import SampledGroups, precise_norms, sample_completions
from gnivo_edu.policies.cached_rows import Rows, Way
from gnivo_edu.policies.decoded import Decoded
from gnivo_edu.policies.decoder import decoder_of
from gnivo_edu.policies.generation import behaviour_check
from gnivo_edu.policies.one_law import way_of
from tests.policies.prompts import Padded
from toy_envs import TokenMDP

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
# One head of keys and values to two of queries; and one each.
HEADS = ({"num_key_value_heads": 1}, {"num_key_value_heads": 2})


class Longer(Padded):
    """Prompts of 1, 4 and 2 tokens, of which many completions end early."""

    horizon = 9


def exact(family: str, **more: Any) -> Any:
    model = tiny_model(family, **more)
    model.config.sliding_window = None
    return precise_norms(model.double()).eval()


def drawn(model: nn.Module, group_size: int = 7, **law: Any) -> SampledGroups:
    return sample_completions(model, Longer(), group_size, [0, 1, 2, 1], seed=4, **law)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_drawn_is_what_the_model_itself_draws(
    family: str, heads: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = exact(family, **heads)
    assert decoder_of(model) is model
    assert way_of(model, padded=True).direct
    ours = drawn(model, temperature=0.8)
    assert len(ours.lengths.unique()) > 1
    assert behaviour_check(model, Longer(), ours)["sampling/sampling_logp_difference/max"] < 1e-10
    monkeypatch.setattr("gnivo_edu.policies.cached_rows.decoder_of", lambda policy: None)
    theirs = drawn(model, temperature=0.8)
    assert torch.equal(ours.tokens, theirs.tokens)
    torch.testing.assert_close(ours.logps, theirs.logps, rtol=0, atol=1e-10)


def test_in_float32_the_law_is_the_same_to_rounding() -> None:
    model = tiny_model("llama")
    gap = behaviour_check(model, Longer(), drawn(model))["sampling/sampling_logp_difference/max"]
    assert gap < 1e-5


def test_adapters_are_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    model = peft.get_peft_model(exact("qwen2"), config).double().eval()
    assert decoder_of(model) is model.get_base_model()
    ours = drawn(model)
    assert behaviour_check(model, Longer(), ours)["sampling/sampling_logp_difference/max"] < 1e-10
    learned = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    assert decoder_of(peft.get_peft_model(exact("qwen2"), learned)) is None


def test_a_model_that_is_not_known_through_and_through_runs_itself() -> None:
    assert decoder_of(tiny_model("gpt2")) is None
    assert decoder_of(tiny_model("mistral")) is None  # a sliding window
    assert decoder_of(tiny_model("llama").to(torch.bfloat16)) is None
    dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    assert decoder_of(tiny_model("llama", rope_parameters=dynamic)) is None
    model = tiny_model("llama")
    with torch.autocast("cpu"):
        assert decoder_of(model) is None
    for module in (model, model.model, model.model.layers[1], model.model.layers[1].self_attn):
        hook = module.register_forward_hook(lambda *_: None)
        assert decoder_of(model) is None
        hook.remove()
        assert decoder_of(model) is model
    layer = model.model.layers[0]
    layer.forward = layer.forward
    assert decoder_of(model) is None
    del layer.forward

    class Other(type(model)):  # type: ignore[misc]
        """Somebody's own."""

    model.__class__ = Other
    assert decoder_of(model) is None


def test_the_way_of_a_model_may_forbid_it() -> None:
    model = exact("llama")
    ids = torch.tensor([[6, 1, 0]])
    for way, direct in ((Way(), True), (Way(direct=False), False), (Way(positions=False), False)):
        with torch.no_grad():
            rows = Rows(model, None, prompts=ids, mask=ids >= 0, way=way)
            assert (rows.repeated(torch.zeros(2).long(), room=1).decoded is not None) == direct


def begun(model: Any, prompts: int) -> Decoded:
    past = model(torch.arange(4 * prompts).view(prompts, 4) % 60, use_cache=True).past_key_values
    return Decoded(model, past, mask=torch.ones(prompts, 4, dtype=torch.bool))


@torch.no_grad()
def test_keys_of_a_prompt_are_held_once_and_leave_with_their_rows() -> None:
    model = exact("llama")
    start = begun(model, prompts=4)
    rows = start.repeated(torch.arange(4).repeat_interleave(5), room=3)
    assert rows.keys.bytes == start.keys.bytes + 20 * start.keys.bytes // 4 * 3 // 4
    rows.append(torch.arange(20))
    rows.keep(torch.tensor([19, 1, 2]))  # of the last prompt and the first: two of four are left
    assert rows.keys.bytes < 0.6 * start.keys.bytes + 3 * start.keys.bytes // 4 * 3 // 4 + 1
    logits = rows.append(torch.tensor([7, 8, 9]))
    for i, (prompt, token, last) in enumerate([(3, 19, 7), (0, 1, 8), (0, 2, 9)]):
        whole = torch.tensor([[*(4 * prompt + j for j in range(4)), token, last]])
        torch.testing.assert_close(logits[i], model(whole).logits[0, -1], rtol=0, atol=1e-10)


def test_completions_that_have_ended_cost_no_more() -> None:
    model = tiny_model("qwen2")
    way_of(model, padded=True)
    counts: list[int] = []
    samples = drawn(model)
    embeddings = model.get_input_embeddings()
    embeddings.register_forward_pre_hook(lambda _, args: counts.append(len(args[0])))
    assert torch.equal(drawn(model).tokens, samples.tokens)
    assert counts == [3, *(int((samples.lengths > t).sum()) for t in range(1, len(counts)))]


def test_a_tree_of_rows_grows_from_rows() -> None:
    model = exact("qwen3")
    ids = torch.tensor([[6, 1, 0]])
    with torch.no_grad():
        start = Rows(model, None, prompts=ids, mask=ids >= 0, way=Way())
        first = start.repeated(torch.tensor([0, 0]), room=2)
        first.append(torch.tensor([4, 5]))
        second = first.repeated(torch.tensor([1, 0, 1]), room=1)
        second.append(torch.tensor([2, 3, 4]))
        for i, answer in enumerate([(5, 2), (4, 3), (5, 4)]):
            truth = model(torch.tensor([[6, 1, 0, *answer]])).logits[0, -1]
            torch.testing.assert_close(second.logits[i], truth, rtol=0, atol=1e-10)


def test_one_law_falls_back_where_both_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Decoded.append
    monkeypatch.setattr(Decoded, "append", lambda self, tokens: 1.01 * right(self, tokens))
    model, task = tiny_model("llama"), TokenMDP(40, 3)
    assert way_of(model, padded=True) == Way(direct=False)
    gap = behaviour_check(model, task, sample_completions(model, task, 3))
    assert gap["sampling/sampling_logp_difference/max"] < 1e-5
