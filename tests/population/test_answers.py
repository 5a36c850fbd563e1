"""The answers of a tree as tensors: each is there once, and policies go to tables and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnivo_edu import exact
from gnivo_edu.population import Answers
from tests.population.problems import ALPHA
from toy_envs import TokenMDP


def test_every_answer_and_every_state_of_the_tree_is_there_once():
    tree = exact.enumerate_tree(
        TokenMDP(3, 3, reward=lambda tokens, lengths: lengths / 3.0, eos_token_id=2),
        exact.random_reference(3, 3, seed=2),
    )
    answers = Answers.of(tree)
    assert len(answers.rewards) == tree.num_sequences == 15
    assert len(answers.depths) == 7  # prefixes over two letters of 0, 1 and 2 tokens
    np.testing.assert_allclose(answers.law(answers.reference).sum(), 1.0, atol=1e-14)
    optimum = answers.tilted(answers.rewards / ALPHA)
    key = answers.from_tables(exact.solve(tree, ALPHA).optimal_step_logps)
    torch.testing.assert_close(optimum[answers.legal], key[answers.legal], rtol=0, atol=1e-13)
    back = answers.from_tables(answers.to_tables(optimum))
    torch.testing.assert_close(back[answers.legal], optimum[answers.legal], rtol=0, atol=0)


def test_a_policy_outside_the_support_of_the_reference_is_refused():
    tables = [np.log([[0.9, 0.1]])]
    with np.errstate(divide="ignore"):
        answers = Answers.of(
            exact.enumerate_tree_from_rewards([0.0, 1.0], 2, [np.log([[1.0, 0.0]])])
        )
    with pytest.raises(ValueError, match="to which the reference gives none"):
        answers.from_tables(tables)
