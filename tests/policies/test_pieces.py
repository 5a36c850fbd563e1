"""Rows of like length are run together where that pays, and score and learn as they would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig

from gnivo_edu.policies import pieces, score_model
from gnivo_edu.policies.pieces import pieces_cost, pieces_of, row_cost, run_cost
from gnivo_edu.policies.score_model import score_rows
from tests.policies.head_laws import gap
from tests.policies.test_packed import Counted, double, given, gradient

WIDE = LlamaConfig(hidden_size=512, num_hidden_layers=5)


def test_no_split_in_two_is_cheaper_than_the_one_that_is_taken() -> None:
    generator = np.random.default_rng(0)
    prompt, written = generator.integers(1, 40, 30), generator.integers(0, 400, 30)
    parts = pieces_of(prompt, written, WIDE)
    assert len(parts) > 1
    assert np.concatenate(parts).tolist() == (prompt + written).argsort(kind="stable").tolist()
    order = np.concatenate(parts)
    halves = [[order[:at], order[at:]] for at in range(1, 30)]
    best = min(pieces_cost(half, prompt, written, WIDE) for half in halves)
    assert pieces_cost(parts, prompt, written, WIDE) <= best
    longest = int(prompt.max() + written.max())
    whole = pieces_cost([order], prompt, written, WIDE)
    assert whole == 30 * row_cost(longest, WIDE)
    assert best < 0.9 * whole
    one_each = [order[i : i + 1] for i in range(30)]
    assert pieces_cost(one_each, prompt, written, WIDE) > 29 * run_cost(WIDE)


def test_rows_of_one_length_or_few_stay_together() -> None:
    same = np.full(64, 20)
    assert len(pieces_of(same, same, WIDE)) == 1
    assert len(pieces_of(same[:1], same[:1], WIDE)) == 1
    short = LlamaConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=2)
    assert len(pieces_of(same[:8], np.arange(8), short)) == 1  # a further run costs more


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_scores_and_gradients_are_those_of_one_run(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_model, "best_layout", lambda answers, config, shared: None)
    model = double(family)
    counted = Counted(model)
    results = []
    for products in (1e7, 0.0):
        monkeypatch.setattr(pieces, "PRODUCTS", products)
        score_rows(model, *given())  # looks at the model, if it has to
        counted.tokens = 0
        logps = score_rows(model, *given(), fields=("policy_logps",))["policy_logps"]
        slopes = gradient(model, logps.square().sum())
        results.append(([logps.detach()], slopes, counted.tokens))
    (one, slopes, tokens), (many, others, fewer) = results
    assert fewer < 0.95 * tokens
    assert gap(one, many) < 1e-10
    assert gap(slopes, others) < 1e-10 * max(float(g.abs().max()) for g in slopes)


def test_in_training_mode_all_rows_are_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PRODUCTS", 0.0)
    model = double("llama")
    tokens = []
    for mode in (False, True):
        score_rows(model.train(mode), *given())
        counted = Counted(model)
        with torch.no_grad():
            score_rows(model, *given(), fields=("policy_logps",))
        tokens.append(counted.tokens)
    assert tokens[0] < tokens[1]
