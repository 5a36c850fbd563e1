"""Exercises 34 and 35: they are what the library computes; each known mistake is named, and named
alone.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from gnivo_edu.course import check
from gnivo_edu.evaluation.step_values.estimate import estimate_value
from gnivo_edu.policies import load_checkpoint, tree_from_model
from gnivo_edu.tasks.arithmetic_text import ArithmeticText


def test_the_numbers_and_the_asked_for_mistakes_are_there():
    assert check.prune_row.statement.startswith("Exercise 34: ")
    assert check.monte_carlo_value.statement.startswith("Exercise 35: ")
    assert set(check.prune_row.wrong_answers) >= {
        "renormalises over the vocabulary", "keeps the model's probabilities", "top k by position",
        "forgets special tokens",
    }  # fmt: skip
    assert set(check.monte_carlo_value.wrong_answers) >= {
        "overflow at small alpha", "mean of logs", "reward units", "wrong bias sign",
    }  # fmt: skip


def test_pruned_rows_are_the_librarys_tree():
    """Every row of a small tree, from a plain forward pass of the shipped model and the exercise's
    function.
    """
    task = ArithmeticText(tiers=(2,), num_prompts=1, split="test")
    model = load_checkpoint("arithmetic", torch.float64)
    mdp, tables = tree_from_model(
        model, task.tokenizer, task.question(0), 3, 3, lambda texts: [0.0] * len(texts)
    )
    special = (task.bos_token_id, task.pad_token_id)
    for t, table in enumerate(tables):
        for number, prefix in enumerate(itertools.product(range(3), repeat=t)):
            ids = torch.tensor([mdp.prompt_ids + mdp.model_tokens(prefix)])
            with torch.inference_mode():
                logits = model(input_ids=ids).logits[0, -1].numpy()
            tokens, logps, mass = check.prune_row.reference(logits, special, 3)
            assert tokens.tolist() == mdp.token_ids[t][number].tolist()
            np.testing.assert_allclose(logps, table[number], atol=1e-10)
            own = torch.from_numpy(logits).softmax(-1)[torch.from_numpy(tokens.copy())].sum()
            assert mass == pytest.approx(float(own), abs=1e-12)


def test_torch_says_the_same():
    def in_torch(logits, special, k):
        row = torch.from_numpy(logits.copy())
        allowed = row.clone()
        allowed[list(special)] = -torch.inf
        best, tokens = allowed.topk(k)
        return tokens.numpy(), best.log_softmax(-1).numpy(), float(row.softmax(-1)[tokens].sum())

    for seed in range(10):
        check.prune_row.run(in_torch, seed)


@pytest.mark.parametrize("alpha", [1e-3, 0.3, 2.0])
def test_the_estimate_is_the_librarys(alpha):
    rewards = np.random.default_rng(0).random(12)
    theirs = estimate_value(rewards, alpha)
    ours = check.monte_carlo_value.reference(rewards, alpha)
    np.testing.assert_allclose(ours, (theirs.value, theirs.standard_error, theirs.bias), atol=1e-12)


def test_the_bias_is_that_of_all_draws():
    """Over every outcome of 40 draws of a coin: the mean error approaches minus half the squared
    standard error.
    """
    p, alpha, n = 0.4, 0.7, 40
    truth = math.log(1 - p + p * math.exp(1 / alpha))
    law = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    found = [check.monte_carlo_value.reference(np.arange(n) < c, alpha) for c in range(n + 1)]
    mean_error = math.fsum(w * (value - truth) for w, (value, _, _) in zip(law, found, strict=True))
    said = math.fsum(w * bias for w, (_, _, bias) in zip(law, found, strict=True))
    assert mean_error < 0
    assert said == pytest.approx(mean_error, rel=0.05)
