"""Layers that are run again give the same gradient from less memory, and read no cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.policies import TabularLM, evaluating, score_model
from gnivo_edu.policies.packed import Answers, Layout
from gnivo_edu.policies.recompute import recompute_layers, recomputes, recomputing
from gnivo_edu.policies.score_model import score_rows
from tests.policies.test_packed import given
from toy_envs import TokenMDP


def scored(model: nn.Module) -> tuple[Tensor, list[Tensor], int]:
    """Log-probabilities, their gradient, and the bytes that were kept for it."""
    kept = []
    score_rows(model, *given())  # looks at the model, if it has to
    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x.nbytes) or x, lambda x: x
    ):
        logps = score_rows(model, *given(), fields=("policy_logps",))["policy_logps"]
    logps.square().sum().backward()
    return logps.detach(), [p.grad.clone() for p in model.parameters()], sum(kept)


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt2"])
def test_the_gradient_is_the_same_to_the_bit_and_less_is_kept(family: str) -> None:
    model = tiny_model(family, num_hidden_layers=4, n_layer=4)
    logps, gradient, kept = scored(model)
    recompute_layers(model)
    assert scored(model)[2] == kept  # it is for what is scored inside of `recomputing`
    with recomputing(model):
        again, same, fewer = scored(model)
    assert torch.equal(again, logps)
    assert all(torch.equal(one, two) for one, two in zip(same, gradient, strict=True))
    assert fewer < kept / 2


def test_dropout_stays_off_and_modes_are_put_back() -> None:
    model = tiny_model("llama", attention_dropout=0.5)
    recompute_layers(model)
    assert not recomputes(model)
    with recomputing(model):
        assert recomputes(model)
        with evaluating(model):
            assert not recomputes(model)
        assert recomputes(model)
        one, two = (score_rows(model, *given())["policy_logps"] for _ in range(2))
    assert torch.equal(one, two)
    assert not any(part.training for part in model.modules())


def test_no_beginning_is_kept_in_a_cache_that_layers_would_drop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def layout(answers: Answers, config: Any, shared: int) -> Layout:
        asked.append(shared)
        return Layout(shared=shared)

    monkeypatch.setattr(score_model, "best_layout", layout)
    model = tiny_model("llama")
    recompute_layers(model)
    plain = score_rows(model, *given())["policy_logps"]
    with recomputing(model):
        again = score_rows(model, *given())["policy_logps"]
    assert asked == [1, 0]
    assert float((again - plain).detach().abs().max()) < 1e-5


def test_a_policy_without_layers_is_told_so_in_a_line() -> None:
    with pytest.raises(ValueError, match="TabularLM has no layers that can be run again"):
        recompute_layers(TabularLM.from_mdp(TokenMDP(2, 2)))
