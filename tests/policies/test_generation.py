"""Completions of any causal LM: their law, their random streams, their ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnivo_edu.exact import enumerate_tree
from gnivo_edu.policies import load_model, sample_groups, tabulate, token_logps
from gnivo_edu.policies.generation import behaviour_check, sample_completions
from gnivo_edu.policies.sampling_law import uniforms_of
from tests.policies.prompts import MDP, Counting, Padded, in_float64, policy_of, sizes_of
from tests.training.small_transformer import small_transformer
from toy_envs import TokenMDP

KINDS = ("table", "qwen2", "llama")


def rescored(policy: nn.Module, mdp: TokenMDP, samples: Any) -> Tensor:
    """Log-probabilities of the samples by the library's scorer, which knows nothing of a cache."""
    N, K, T = samples.tokens.shape
    rows = samples.prompt_index.repeat_interleave(K)
    with torch.no_grad():
        return token_logps(
            policy, mdp, samples.tokens.view(-1, T), samples.lengths.view(-1), rows
        ).view(N, K, T)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_samples_follow_the_enumerated_law(kind: str) -> None:
    policy, count = policy_of(kind), 20_000
    tree = enumerate_tree(MDP, tabulate(policy, MDP, 1), 1)
    expected = np.exp(tree.prefix_logps[-1])
    tokens = sample_completions(policy, MDP, count, [1], seed=3).tokens[0].numpy()
    filled = np.where(tokens == MDP.pad_token_id, 2, tokens)  # a finished answer is EOS for ever
    seen = np.bincount(filled @ 3 ** np.arange(3, -1, -1), minlength=81) / count
    assert (seen[expected == 0] == 0).all()
    possible = expected > 0
    chi_square = count * ((seen - expected)[possible] ** 2 / expected[possible]).sum()
    freedom = possible.sum() - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampled_log_probabilities_are_those_of_the_scorer(kind: str, temperature: float) -> None:
    policy = policy_of(kind).eval()
    samples = sample_completions(policy, MDP, 6, [0, 1, 1], temperature=temperature)
    inside = samples.mask
    assert (samples.logps[~inside] == 0).all()
    gaps = behaviour_check(policy, MDP, samples)
    assert gaps["sampling/sampling_logp_difference/max"] < 1e-10
    apart = (samples.logps - rescored(policy, MDP, samples)).abs()
    assert (apart.max() < 1e-10) == (temperature == 1.0)
    if (
        temperature != 1.0
    ):  # the law is softmax(logits / temperature): proportional to p**(1/temperature)
        first = torch.tensor(tabulate(policy, MDP, 0)[0][0]).div(temperature).log_softmax(0)
        assert torch.allclose(samples.logps[0, :, 0], first[samples.tokens[0, :, 0]], atol=1e-10)


def test_the_check_sees_a_policy_that_has_moved() -> None:
    policy = policy_of("qwen2")
    samples = sample_completions(policy, MDP, 6)
    with torch.no_grad():
        policy.lm_head.weight += 0.1 * torch.randn(policy.lm_head.weight.shape, dtype=torch.float64)
    gaps = behaviour_check(policy, MDP, samples, max_rows=4)
    assert (
        gaps["sampling/sampling_logp_difference/max"]
        > gaps["sampling/sampling_logp_difference/mean"]
        > 1e-4
    )


def test_only_actions_are_drawn_and_they_are_renormalised() -> None:
    policy = policy_of("llama")
    wide = sample_completions(policy, TokenMDP(3, 4, prompts=[[3, 0]]), 50)
    assert int(wide.tokens.max()) <= 2
    with torch.no_grad():
        logits = policy(input_ids=torch.tensor([[3, 0]])).logits[0, -1, :3]
    assert torch.allclose(
        wide.logps[0, :, 0], logits.log_softmax(0)[wide.tokens[0, :, 0]], atol=1e-12
    )


@pytest.mark.parametrize(
    "cut", [{"top_k": 2}, {"top_p": 0.6}, {"top_k": 2, "top_p": 0.9, "temperature": 2.0}]
)
def test_a_truncated_law_says_so_and_is_renormalised(cut: dict[str, Any]) -> None:
    policy = policy_of("qwen2")
    samples = sample_completions(policy, MDP, 300, **cut)
    assert samples.law.truncates
    assert not sample_completions(policy, MDP, 2, top_p=1.0).law.truncates
    assert not sample_groups(policy, MDP, 2).law.truncates
    assert behaviour_check(policy, MDP, samples)["sampling/sampling_logp_difference/max"] < 1e-10
    first = {
        int(y): float(p)
        for y, p in zip(samples.tokens[0, :, 0], samples.logps[0, :, 0].exp(), strict=True)
    }
    assert len(first) < 3
    assert sum(first.values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_completion_does_not_depend_on_its_batch(kind: str) -> None:
    policy = policy_of(kind)
    together = sample_completions(policy, MDP, 6, [0, 1], seed=5, step=2)
    swapped = sample_completions(policy, MDP, 6, [1, 0], seed=5, step=2)
    fewer = sample_completions(policy, MDP, 4, [1], seed=5, step=2)
    alone = [
        sample_completions(policy, MDP, 6, [0, 1], seed=5, step=2, max_rows=n) for n in (1, 4, 6, 7)
    ]
    same = (
        torch.equal if kind == "table" else torch.allclose
    )  # bit by bit where a row is computed by itself
    for tokens, logps in [
        (swapped.tokens.flip(0), swapped.logps.flip(0)),
        *((x.tokens, x.logps) for x in alone),
    ]:
        assert torch.equal(tokens, together.tokens)
        assert same(logps, together.logps)
    assert torch.equal(fewer.tokens[0], together.tokens[1, :4])
    assert same(fewer.logps[0], together.logps[1, :4])


def test_seed_step_prompt_and_number_make_streams_of_their_own() -> None:
    rows = [(0, 0), (0, 1), (1, 0), (2**40, 0)]
    streams = torch.cat([uniforms_of(*key, rows, 50) for key in ((0, 0), (0, 1), (1, 0))])
    assert len(streams.flatten().unique()) == 12 * 50
    assert 0 <= streams.min() < 0.02 < 0.98 < streams.max() < 1
    table = policy_of("table")
    twice = sample_completions(table, MDP, 20, [0, 0]).tokens
    assert not torch.equal(twice[0], twice[1])  # a prompt listed again is a further group
    assert torch.equal(twice.flatten(0, 1), sample_completions(table, MDP, 40).tokens[0])
    for other in ({"seed": 1}, {"step": 1}):
        assert not torch.equal(sample_completions(table, MDP, 20, **other).tokens[0], twice[0])


def test_any_of_several_ids_ends_and_truncation_is_told_from_an_end() -> None:
    task = Padded()
    samples = sample_completions(small_transformer(sizes_of(task)), task, 40, [0, 1, 2])
    seen = set()
    rows = zip(
        samples.tokens.view(-1, 5).tolist(),
        samples.lengths.view(-1),
        samples.truncated.view(-1),
        strict=True,
    )
    for tokens, length, truncated in rows:
        ends = [t for t, token in enumerate(tokens) if token in (2, 4)]
        assert bool(truncated) == (not ends)
        assert int(length) == (ends[0] + 1 if ends else 5)
        assert tokens[length:] == [7] * (5 - int(length))
        seen.add((tokens[length - 1], bool(truncated)))
    assert {(2, False), (4, False)} < seen
    assert any(truncated for _, truncated in seen)
    assert not sample_completions(
        policy_of("table", TokenMDP(2, 2)), TokenMDP(2, 2), 4
    ).truncated.any()


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_put_back(training: bool) -> None:
    policy = small_transformer(MDP, dropout=0.5).train(training)
    counted = Counting(policy)
    samples = sample_completions(policy, MDP, 5)
    assert behaviour_check(policy, MDP, samples)["sampling/sampling_logp_difference/max"] < 1e-10
    assert not any(counted.modes)
    assert policy.training == training
    assert not samples.logps.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_reports_its_gap(dtype: torch.dtype) -> None:
    policy = small_transformer(MDP).to(dtype)
    samples = sample_completions(policy, MDP, 16, [0, 1])
    assert samples.logps.dtype == torch.float32
    gaps = behaviour_check(policy, MDP, samples)
    # With plain kernels there may be no gap at all.
    limit = 1e-5 if dtype == torch.float32 else 0.5
    assert 0 <= gaps["sampling/sampling_logp_difference/max"] < limit


def test_stories_by_a_pretrained_model(shared_model: str) -> None:
    model, tokenizer = load_model(shared_model, torch.float64)
    in_float64(model)

    class Stories(Padded):
        vocab_size, horizon, pad_token_id, eos_token_ids = (
            512,
            24,
            0,
            (2, tokenizer(".")["input_ids"][-1]),
        )

        def prompts(self) -> Any:
            ids = [
                tokenizer(text)["input_ids"]
                for text in ("Once upon a time", "Tom had a dog and", "")
            ]
            longest = max(len(own) for own in ids)
            return np.array([[0] * (longest - len(own)) + (own or [1]) for own in ids])[
                :, -longest:
            ]

        def prompt_mask(self) -> Any:
            return self.prompts() != 0

    task = Stories()
    samples = sample_completions(model, task, 4, [0, 1])
    assert behaviour_check(model, task, samples)["sampling/sampling_logp_difference/max"] < 1e-10
    alone = sample_completions(model, task, 4, [1], max_rows=3)
    assert torch.equal(alone.tokens[0], samples.tokens[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_size": 0}, "group_size and max_rows must be at least 1, got 0"),
        ({"max_rows": 0}, "must be at least 1"),
        ({"temperature": 0.0}, r"temperature must be in 0.001..1,000,000"),
        ({"temperature": 1e-320}, r"temperature must be in 0.001..1,000,000"),
        ({"temperature": 1e30}, r"temperature must be in 0.001..1,000,000"),
        ({"temperature": float("nan")}, "temperature must be in"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 1.5}, r"top_p must be in \(0, 1\]"),
        ({"prompt_index": [2]}, r"prompt_index must list prompts in 0..1, got \[2\]"),
        ({"prompt_index": []}, "prompt_index must list prompts"),
        ({"seed": -1}, "seed and step must be in"),
    ],
)
def test_bad_settings_give_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        sample_completions(policy_of("table"), MDP, **({"group_size": 2} | settings))
    assert "\n" not in str(caught.value)
