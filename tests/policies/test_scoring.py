"""One law for scores and tables, for a table of logits and for small transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gnivo_edu.exact import enumerate_tree
from gnivo_edu.policies import (
    TabularLM,
    tabulate,
    token_logps,
)
from tests.policies.three_actions import answers, padded, transformer
from toy_envs import TokenMDP


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
