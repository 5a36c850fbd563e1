"""Where the objectives end up: exact expectations over all groups, minimised, beside pi* by brute
force.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu import exact, objectives
from gnivo_edu.policies import TabularLM, all_groups, make_group_batch
from tests.objectives.population_problem import Problem

EXACT = 1e-6
EXACT_LENGTHS: list[dict[str, Any]] = [
    {},
    {"lengths": "sum_min"},
    {"lengths": "horizon", "horizon": 3},
]


@pytest.mark.parametrize("group_size", [2, 3])
@pytest.mark.parametrize("settings", [{}, {"prefixes": "last"}], ids=["all", "last"])
def test_raw_weights_reach_the_optimum(
    fixed: Problem, settings: dict[str, Any], group_size: int
) -> None:
    assert fixed.tv(fixed.reference) > 0.05
    assert fixed.tv(fixed.minimise(objectives.gnivo, group_size, **settings)) < EXACT


@pytest.mark.parametrize("group_size", [2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_raw_weights_are_exact_at_every_single_depth(
    ragged: Problem, depth: int, group_size: int
) -> None:
    count = len(all_groups(ragged.mdp, ragged.reference, group_size).tokens)
    fitted = ragged.minimise(
        objectives.gnivo, group_size, prefixes="given", depths=torch.full((count,), depth)
    )
    assert ragged.tv(fitted, depth) < EXACT < 1e-3 < ragged.tv(ragged.reference, depth)


@pytest.mark.slow
def test_softmax_weights_are_exact_at_the_end_and_biased_before_it(fixed: Problem) -> None:
    assert fixed.tv(fixed.minimise(objectives.gnivo, 2, weights="softmax", prefixes="last")) < EXACT
    for settings in ({}, {"prefixes": "given", "depths": 1}):
        depth = settings.get("depths")
        biases = []
        for group_size in (2, 3, 4):
            options: dict[str, Any] = dict(settings)
            if depth is not None:
                options["depths"] = torch.full((8**group_size,), depth)
            biases.append(
                fixed.tv(
                    fixed.minimise(objectives.gnivo, group_size, weights="softmax", **options),
                    depth,
                )
            )
        assert biases[0] > biases[1] > biases[2] > 1e-4


@pytest.mark.parametrize(
    "settings",
    [{}, {"lengths": "sum_min"}, {"lengths": "horizon", "horizon": 3}],
    ids=["sum_max", "sum_min", "horizon"],
)
@pytest.mark.parametrize("group_size", [2, 3])
def test_exact_length_conventions(
    ragged: Problem, settings: dict[str, Any], group_size: int
) -> None:
    assert ragged.tv(ragged.minimise(objectives.gnivo, group_size, **settings)) < EXACT


@pytest.mark.parametrize("lengths", ["mean_max", "mean_min", "own"])
def test_biased_length_conventions(ragged: Problem, lengths: str) -> None:
    assert ragged.tv(ragged.minimise(objectives.gnivo, 2, lengths=lengths)) > 1e-4


def test_a_constant_leaves_the_minimiser_and_the_maximum_of_the_group_moves_it(
    ragged: Problem,
) -> None:
    assert ragged.tv(ragged.minimise(objectives.gnivo, 2, reward_max=1.0)) < EXACT
    rewards = ragged.batch(TabularLM.from_tables(ragged.mdp, ragged.reference), 2).rewards
    moved = {"rewards": rewards - rewards.amax(1, keepdim=True)}
    assert ragged.tv(ragged.minimise(objectives.gnivo, 2, change=moved)) > 1e-3


def fitted_gaps(problem: Problem) -> list[np.ndarray]:
    """V_theta - V of the prefixes of t = 1, 2, 3 tokens (of every answer that long) for the fitted
    explicit V_theta.
    """
    V, T = problem.mdp.vocab_size, problem.mdp.horizon
    groups = all_groups(problem.mdp, problem.reference, 2)
    policy = TabularLM.from_tables(problem.mdp, problem.reference)
    record = make_group_batch(policy, problem.mdp, groups)
    record = replace(record, policy_logps=record.policy_logps.detach())
    tokens = groups.tokens.clamp(max=V - 1)
    powers = V ** torch.arange(T)
    starts = [sum(V**d for d in range(1, t)) for t in range(1, T + 2)]
    place = torch.stack(
        [(tokens[..., : t + 1] * powers[: t + 1].flip(0)).sum(-1) + starts[t] for t in range(T)], -1
    )
    theta = torch.zeros(starts[-1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [theta],
        max_iter=400,
        tolerance_grad=1e-11,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = objectives.group_value(
            replace(record, prefix_values=theta[place]), alpha=problem.alpha
        ).loss
        loss.backward()
        return loss

    optimiser.step(closure)
    solution = exact.solve(exact.enumerate_tree(problem.mdp, problem.reference), problem.alpha)
    gaps = []
    for t in range(T):
        number = place[..., t][groups.mask[..., t]].unique() - starts[t]
        gaps.append(
            (theta.detach()[starts[t] + number]).numpy() - solution.values[t + 1][number.numpy()]
        )
    return gaps


def test_group_value_finds_soft_values_up_to_one_constant_per_depth(fixed: Problem) -> None:
    gaps = fitted_gaps(fixed)
    assert [len(gap) for gap in gaps] == [2, 4, 8]
    assert max(np.ptp(gap) for gap in gaps) < 1e-6
    assert np.ptp([gap.mean() for gap in gaps]) > 1e-3  # the constants differ


def test_group_value_of_absorbing_answers_has_one_constant_for_all_depths(ragged: Problem) -> None:
    gaps = fitted_gaps(ragged)
    assert [len(gap) for gap in gaps] == [3, 6, 12]
    assert np.ptp(np.concatenate(gaps)) < 1e-6
