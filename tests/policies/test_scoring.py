"""One law for scores and tables, for a table of logits and for small transformers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from gnivo_edu.exact import enumerate_tree
from gnivo_edu.policies import (
    TabularLM,
    tabulate,
    token_logps,
)
from toy_envs import TokenMDP

SIZES = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
)


def reward(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return lengths / 4 + 0.1 * (tokens[:, 0] == 1)


@pytest.fixture
def mdp() -> TokenMDP:
    return TokenMDP(3, 4, reward=reward, eos_token_id=2, prompts=[[3, 0], [3, 1]])


def transformer(kind: str, vocab_size: int = 5) -> nn.Module:
    torch.manual_seed(0)
    if kind == "llama":
        model: nn.Module = LlamaForCausalLM(
            LlamaConfig(vocab_size=vocab_size, initializer_range=0.5, **SIZES)
        )
    else:
        own = Qwen2Config(
            vocab_size=vocab_size, initializer_range=0.5, attention_dropout=0.5, **SIZES
        )
        model = Qwen2ForCausalLM(own)
    return model.double()


@pytest.fixture(params=["table", "llama", "qwen2", "wide"])
def policy(request: pytest.FixtureRequest, mdp: TokenMDP) -> nn.Module:
    if request.param == "table":
        return TabularLM.from_mdp(mdp, seed=1)
    if request.param == "wide":  # a vocabulary beyond the actions, BOS and PAD
        return transformer("llama", vocab_size=11)
    return transformer(request.param)


def answers(horizon: int = 4, eos: int = 2) -> list[tuple[int, ...]]:
    """Every complete answer, by hand."""
    whole = itertools.chain.from_iterable(
        itertools.product(range(3), repeat=t) for t in range(1, horizon + 1)
    )
    return [y for y in whole if eos not in y[:-1] and (y[-1] == eos or len(y) == horizon)]


def padded(own: list[tuple[int, ...]], junk: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[*y, *[junk] * (4 - len(y))] for y in own]), torch.tensor(
        [len(y) for y in own]
    )


def test_probabilities_of_all_answers_sum_to_one(mdp: TokenMDP, policy: nn.Module) -> None:
    tokens, lengths = padded(answers())
    assert len(tokens) == 1 + 2 + 4 + 8 * 3
    policy.eval()
    for i in (0, 1):
        scored = token_logps(policy, mdp, tokens, lengths, i).sum(1).exp().sum()
        assert abs(scored.item() - 1) < 1e-12
        tree = enumerate_tree(mdp, tabulate(policy, mdp, i), i)
        assert abs(np.exp(tree.prefix_logps[-1]).sum() - 1) < 1e-12
        assert tree.num_sequences == len(tokens)


def test_scores_agree_with_the_tables(mdp: TokenMDP, policy: nn.Module) -> None:
    tokens, lengths = padded(answers())
    policy.eval()
    tolerance = (
        1e-12 if isinstance(policy, TabularLM) else 5e-6
    )  # the norms of transformers work in float32
    for i in (0, 1):
        scored = token_logps(policy, mdp, tokens, lengths, i)
        tables = tabulate(policy, mdp, i, batch_size=5)
        for row, y in enumerate(answers()):
            number = 0
            for t, token in enumerate(y):
                assert scored[row, t].item() == pytest.approx(
                    tables[t][number, token], abs=tolerance
                )
                number = number * 3 + token
            assert (scored[row, len(y) :] == 0).all()


def test_tabulate_does_not_depend_on_the_batch_and_puts_the_mode_back(mdp: TokenMDP) -> None:
    policy = transformer("qwen2").train()
    small, large = tabulate(policy, mdp, batch_size=2), tabulate(policy, mdp, batch_size=100)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(small, large, strict=True))
    assert policy.training


def test_scores_are_differentiable_and_keep_their_precision(mdp: TokenMDP) -> None:
    policy = TabularLM.from_mdp(mdp, seed=1, dtype=torch.float32)
    tokens, lengths = padded(answers(), junk=-100)  # whatever stands after the end
    scored = token_logps(policy, mdp, tokens, lengths)
    assert scored.dtype == torch.float32
    scored.sum().backward()
    assert policy.logits.grad is not None
    assert policy.logits.grad.abs().sum() > 0


def test_a_vocabulary_that_is_too_small_is_refused(mdp: TokenMDP) -> None:
    with pytest.raises(ValueError, match=r"4 tokens; 3 actions, BOS and PAD need 5"):
        tabulate(transformer("llama", vocab_size=4), mdp)
