"""The KL to the initial model in the loss: its value, and which gradient it has, by enumeration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gnivo_edu.batch import GroupBatch, MissingField
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import Answers, Population, divergence, expect, point_at
from gnivo_edu.population.atlas import problem
from gnivo_edu.training.settings import kl_of_answers
from tests.training.training_runs import largest_difference, tiny, weights


@pytest.fixture(scope="module")
def tree() -> Answers:
    """Fifteen answers of one to three tokens; the reference is the initial model."""
    return problem("tree")


def policy_of(tree: Answers, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return tree.policy(torch.randn(tree.reference.shape, generator=g, dtype=torch.float64))


def expected(tree: Answers, policy: Tensor, gradient: str, sampler: Any = "current") -> Any:
    """Expected value and gradient of the term over every answer."""

    def term(batch: GroupBatch) -> LossOutput:
        return LossOutput(kl_of_answers(batch, gradient))  # type: ignore[arg-type]

    population = Population.of(tree, 1, sampler=sampler)
    return expect(term, population, point_at(tree, 1.0, policy))


def true_gradient(tree: Answers, policy: Tensor) -> Tensor:
    """Of KL(pi || pi_0) = sum_y pi(y) log(pi(y)/pi_0(y)), by its definition."""
    logits = policy.masked_fill(~tree.legal, 0.0).detach().requires_grad_()
    law = tree.law(tree.policy(logits))
    (law * (law / tree.law(tree.reference)).log()).sum().backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_by_answers_the_expected_gradient_is_that_of_the_kl_of_answers(
    tree: Answers, seed: int
) -> None:
    policy = policy_of(tree, seed)
    true = true_gradient(tree, policy)
    ours = expected(tree, policy, "answers").gradient["logits"]
    states = expected(tree, policy, "states").gradient["logits"]
    assert true.norm() > 0.1
    assert (ours - true).abs().max() < 1e-10
    assert (states - true).norm() > 0.1 * true.norm()


def test_by_states_it_is_that_of_the_kls_at_fixed_occupancies(tree: Answers) -> None:
    policy = policy_of(tree, 3)
    logits = policy.masked_fill(~tree.legal, 0.0).requires_grad_()
    (tree.visits(policy) * tree.kl(tree.policy(logits))).sum().backward()
    ours = expected(tree, policy, "states").gradient["logits"]
    assert logits.grad is not None
    assert (ours - logits.grad).abs().max() < 1e-10


@pytest.mark.parametrize("gradient", ["states", "answers"])
def test_its_value_is_the_kl_of_answers(tree: Answers, gradient: str) -> None:
    policy = policy_of(tree, 4)
    kl = divergence(tree.law(policy), tree.law(tree.reference))
    assert expected(tree, policy, gradient).loss == pytest.approx(kl, abs=1e-10)


def test_on_answers_of_another_policy_neither_is_its_gradient(tree: Answers) -> None:
    policy = policy_of(tree, 5)
    true = true_gradient(tree, policy)
    for gradient in ("states", "answers"):
        ours = expected(tree, policy, gradient, sampler="uniform").gradient["logits"]
        assert (ours - true).norm() > 0.1 * true.norm()


def test_at_the_initial_model_nothing_pulls(tree: Answers) -> None:
    for gradient in ("states", "answers"):
        pull = expected(tree, tree.reference, gradient).gradient["logits"]
        assert pull.abs().max() < 1e-12


def test_a_token_pays_for_the_kl_after_it_and_junk_after_the_end_does_not_count() -> None:
    kl = torch.tensor([[[1.0, 2.0, 4.0], [8.0, 16.0, torch.nan]]], dtype=torch.float64)
    half = torch.full_like(kl, 0.5).log()
    batch = GroupBatch(
        policy_logps=half.clone().requires_grad_(),
        behaviour_logps=half,
        rewards=torch.zeros(1, 2, dtype=torch.float64),
        mask=torch.tensor([[[1, 1, 1], [1, 1, 0]]]),
        policy_kl=kl.requires_grad_(),
    )
    total = kl_of_answers(batch, "answers")
    by_logps, by_kl = torch.autograd.grad(total, [batch.policy_logps, kl])
    assert float(total.detach()) == (7 + 24) / 2
    assert by_logps.tolist() == [[[3.0, 2.0, 0.0], [8.0, 0.0, 0.0]]]
    assert by_kl.tolist() == [[[0.5, 0.5, 0.5], [0.5, 0.5, 0.0]]]
    with pytest.raises(MissingField, match="kl_to_initial needs policy_kl"):
        kl_of_answers(replace(batch, policy_kl=None), "states")


def test_the_setting_reaches_the_weights_and_leaves_the_first_loss(tmp_path) -> None:
    held = {"kl_to_initial": 1.0, "learning_rate": 0.5}
    runs = {g: tiny(tmp_path / g, **held, kl_gradient=g) for g in ("states", "answers")}
    assert largest_difference(*(weights(tmp_path / g) for g in runs)) > 1e-5
    assert runs["states"][0]["loss"] == runs["answers"][0]["loss"]
    tiny(tmp_path / "plain", **held)
    assert largest_difference(weights(tmp_path / "plain"), weights(tmp_path / "states")) == 0
