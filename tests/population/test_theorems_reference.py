"""Theorem 7 of notebooks/theorems.md: what VIMPO's values do when their reference moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.population import (
    Answers,
    Population,
    expect,
    laws,
    point_at,
    total_variation,
)
from gnivo_edu.population.atlas import problem

ALPHA = 0.5
ZERO = 1e-10


def change_by_token(answers: Answers, policy: Tensor, swapped: Tensor) -> Tensor:
    """What a token adds to the implied value with the new reference, less with the old, [S, V].

    The value of a prefix is V_0 + the sum over its tokens of alpha (log pi/pi_ref - KL(pi||pi_ref)
    of the state).
    """

    def term(reference: Tensor) -> Tensor:
        moved = replace(answers, reference=reference)
        logratio = (policy - reference).masked_fill(~answers.legal, 0.0)
        return ALPHA * (logratio - moved.kl(policy)[:, None])

    return term(swapped) - term(answers.reference)


def test_a_swap_of_the_reference_adds_a_martingale_to_the_implied_value() -> None:
    answers = problem("tree")
    policy = answers.from_law(laws.vimpo_law(answers, ALPHA))
    swapped = answers.tilted(answers.rewards.flip(0))
    change = change_by_token(answers, policy, swapped)
    chance = policy.exp().masked_fill(~answers.legal, 0.0)
    # In every state it is zero on average under the policy, and not along an answer.
    assert float((chance * change).sum(-1).abs().max()) < ZERO
    assert float((chance * change.square()).sum(-1).max()) > 1e-2
    # Under another policy it drifts; without a swap it is zero everywhere.
    other = answers.reference.exp().masked_fill(~answers.legal, 0.0)
    assert float((other * change).sum(-1).abs().max()) > 1e-2
    assert float(change_by_token(answers, policy, answers.reference).abs().max()) == 0.0


def refreshed(answers: Answers, times: int) -> Tensor:
    """VIMPO at its rest, its reference then set to it, `times` times in all."""
    moved = answers
    for _ in range(times):
        law = laws.vimpo_law(moved, ALPHA)
        moved = replace(moved, reference=answers.from_law(law))
    return law


@pytest.mark.parametrize("times", [2, 6])
def test_refreshes_of_vimpo_are_not_a_lower_temperature_beyond_one_step(times: int) -> None:
    tree, one_step = problem("tree"), problem("one step")
    assert total_variation(refreshed(tree, times), laws.vimpo_law(tree, ALPHA / times)) > 1e-2
    same = total_variation(refreshed(one_step, times), laws.vimpo_law(one_step, ALPHA / times))
    assert same < ZERO
    # pi*, where GVPO and GN-IVO end, does compound.
    moved = tree
    for _ in range(times):
        moved = replace(moved, reference=moved.tilted(moved.rewards / ALPHA))
    assert total_variation(moved.law(moved.reference), laws.tilt(tree, ALPHA / times)) < ZERO


def value_loss(answers: Answers, policy: Tensor, group_size: int, alpha: float, mean: str) -> float:
    population = Population.of(answers, group_size, sampler="current")
    settings = {"actor": 0.0, "baseline": mean}
    point = point_at(answers, ALPHA, policy=policy)
    return expect(objectives.vimpo, population, point, alpha=alpha, **settings).loss


@pytest.mark.parametrize("mean", ["leave_one_out", "mean"])
@pytest.mark.parametrize("group_size", [2, 3, 4])
def test_a_refresh_multiplies_the_value_loss_at_its_rest_by_k(group_size: int, mean: str) -> None:
    """And annealing alpha -> s alpha by 1 + (K - 1)(1 - s)^2."""
    answers, K = problem("tree"), group_size
    temperature = ALPHA if mean == "leave_one_out" else ALPHA * K / (K - 1)
    policy = answers.from_law(laws.vimpo_law(answers, temperature))
    at_rest = value_loss(answers, policy, K, alpha=ALPHA, mean=mean)
    fresh = replace(answers, reference=policy)
    assert value_loss(fresh, policy, K, alpha=ALPHA, mean=mean) / at_rest == pytest.approx(
        K, rel=1e-10
    )
    for s in (0.9, 0.5):
        annealed = value_loss(answers, policy, K, alpha=s * ALPHA, mean=mean)
        assert annealed / at_rest == pytest.approx(1 + (K - 1) * (1 - s) ** 2, rel=1e-10)
    # Elsewhere, as at the other mean's rest, the factor is another.
    off = answers.from_law(laws.vimpo_law(answers, 1.5 * temperature))
    moved = replace(answers, reference=off)
    factor = value_loss(moved, off, K, alpha=ALPHA, mean=mean) / value_loss(
        answers, off, K, alpha=ALPHA, mean=mean
    )
    assert abs(factor - K) > 0.05
