"""Rows that grow from a shared prompt cache: padding, cost, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.policies.generation import behaviour_check, sample_completions
from gnivo_edu.policies.one_law import way_of
from tests.policies.prompts import MDP, Counting, Padded, in_float64, policy_of, sizes_of
from tests.training.small_transformer import small_transformer
from toy_envs import TokenMDP

NO_IDS: dict[str, None] = dict(bos_token_id=None, eos_token_id=None)


@pytest.mark.parametrize("kind", ["qwen2", "llama", "gpt2", "mistral"])
def test_prompts_padded_on_the_left_are_as_if_alone(kind: str) -> None:
    task = Padded()
    policy = {"gpt2": absolute_positions, "mistral": sliding_window}.get(
        kind, lambda: small_transformer(sizes_of(task), kind)
    )()
    together = sample_completions(policy, task, 8, [0, 1, 2])
    assert (
        behaviour_check(policy, task, together, max_rows=5)["sampling/sampling_logp_difference/max"]
        < 1e-10
    )
    for i, ids in enumerate(task.prompts()):
        own = torch.tensor(ids[ids != 7])
        for tokens, logps, length in zip(
            together.tokens[i], together.logps[i], together.lengths[i], strict=True
        ):
            row = torch.cat([own, tokens[:length]])[None]
            with torch.no_grad():
                law = policy(input_ids=row).logits[0, len(own) - 1 : -1, :6].log_softmax(-1)
            assert torch.allclose(
                law.gather(1, tokens[:length, None])[:, 0], logps[:length], rtol=0, atol=1e-10
            )


def absolute_positions() -> nn.Module:
    """A model to which a position is a place in a table, so that a shift by the padding would
    show.
    """
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=8,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=16,
        initializer_range=0.5,
        **NO_IDS,
    )
    return GPT2LMHeadModel(config).double().eval()


def sliding_window() -> nn.Module:
    """A model that looks three tokens back; its cache keeps no more."""
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4)
    config = MistralConfig(
        vocab_size=8,
        **NO_IDS,
        num_key_value_heads=2,
        sliding_window=3,
        initializer_range=0.4,
        **sizes,
    )
    return in_float64(MistralForCausalLM(config))


def test_prompts_are_run_once_and_finished_rows_stop_costing() -> None:
    policy = small_transformer(MDP)
    way_of(policy)  # looked at once, before it is counted
    counted = Counting(policy)
    samples = sample_completions(policy, MDP, 10, [0, 1, 1])
    going = [(int((samples.lengths > t).sum()), 1) for t in range(1, 4)]
    assert counted.shapes == [
        (2, 2),
        *going,
    ]  # two prompts of two tokens; then one token of each unfinished row
    assert going[-1][0] < 30
    counted.shapes.clear()
    sample_completions(policy, MDP, 10, [0, 1], max_rows=5)
    assert [shape for shape in counted.shapes if shape[1] == 2] == [(1, 2), (1, 2)]
    table = policy_of("table")  # keeps no cache: whole rows, but unfinished ones only
    counted = Counting(table)
    lengths = sample_completions(table, MDP, 10, [0]).lengths
    assert counted.shapes == [(1, 2), *((int((lengths > t).sum()), 2 + t) for t in range(1, 4))]


def test_problems_that_do_not_fit_the_model_give_one_line() -> None:
    policy = small_transformer(MDP)  # 32 positions, 5 tokens
    with pytest.raises(
        ValueError,
        match="longest prompt has 2 tokens; with horizon 31 that is above the model's 32",
    ):
        sample_completions(policy, TokenMDP(3, 31, prompts=[[3, 0]]), 2)
    with pytest.raises(
        ValueError, match="vocabulary has 5 tokens; 4 actions, the prompts and PAD need 6"
    ):
        sample_completions(policy, TokenMDP(4, 3), 2)

    class Right(Padded):
        def prompt_mask(self) -> Any:
            return super().prompt_mask()[:, ::-1]

    with pytest.raises(ValueError, match="padded on the left"):
        sample_completions(policy, Right(), 2)
    with torch.no_grad():
        policy.lm_head.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="the policy gives nan"):
        sample_completions(policy, MDP, 2)


def test_answers_that_grow_beyond_a_change_of_all_angles_are_refused() -> None:
    angles = dict(rope_type="longrope", rope_theta=1e4)
    factors = dict(short_factor=[1.0] * 4, long_factor=[4.0] * 4)
    model = tiny_model("phi3", original_max_position_embeddings=8, rope_parameters=angles | factors)

    def task(horizon: int, prompt: int) -> TokenMDP:
        return TokenMDP(40, horizon, prompts=[[40, *range(5, 4 + prompt)]])

    for fits in (task(4, 5), task(4, 9)):  # before the change, and behind it
        drawn = sample_completions(model, fits, 4)
        gap = behaviour_check(model, fits, drawn)["sampling/sampling_logp_difference/max"]
        assert gap < 1e-5
    with pytest.raises(ValueError, match="Phi3ForCausalLM has other angles beyond 8 positions"):
        sample_completions(model, task(5, 5), 4)
