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
from gnivo_edu.batch import GroupBatch
from gnivo_edu.policies import TabularLM, all_groups, make_group_batch, tabulate
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


def test_softmax_weights_are_exact_at_the_end_and_biased_before_it(fixed: Problem) -> None:
    assert fixed.tv(fixed.minimise(objectives.gnivo, 2, weights="softmax", prefixes="last")) < EXACT
    for settings in ({}, {"prefixes": "given", "depths": 1}):
        depth = settings.get("depths")
        biases = []
        for group_size in (2, 3, 4):
            own: dict[str, Any] = dict(settings)
            if depth is not None:
                own["depths"] = torch.full((8**group_size,), depth)
            biases.append(
                fixed.tv(
                    fixed.minimise(objectives.gnivo, group_size, weights="softmax", **own), depth
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


def fit_value_mse(
    problem: Problem, horizon: int, **settings: Any
) -> tuple[list[np.ndarray], float]:
    """Tables and log Z of the minimiser with a free log Z, on answers cut to their first `horizon`
    tokens.
    """
    policy = TabularLM.from_tables(problem.mdp, problem.reference)
    record = make_group_batch(policy, problem.mdp, all_groups(problem.mdp, problem.reference, 1))
    cut = record.mask & (torch.arange(problem.mdp.horizon) < horizon)
    samples = all_groups(problem.mdp, problem.reference, 1)
    log_z = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [policy.logits, log_z],
        max_iter=400,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        batch = make_group_batch(
            policy, problem.mdp, samples, log_z=log_z.expand(len(samples.tokens))
        )
        loss = objectives.value_mse(replace(batch, mask=cut), alpha=problem.alpha, **settings).loss
        loss.backward()
        return loss

    optimiser.step(closure)
    return tabulate(policy, problem.mdp), log_z.item()


def test_value_mse_is_exact_with_true_values_and_at_the_end(ragged: Problem) -> None:
    solution = exact.solve(exact.enumerate_tree(ragged.mdp, ragged.reference), ragged.alpha)
    tokens = all_groups(ragged.mdp, ragged.reference, 1).tokens
    targets = torch.tensor(
        [
            [[solution.soft_value([a for a in row[: t + 1] if a < 3]) for t in range(3)]]
            for row in tokens[:, 0].tolist()
        ],
        dtype=torch.float64,
    )
    for settings in ({"targets": targets}, {"prefixes": "last"}):
        tables, log_z = fit_value_mse(ragged, 3, **settings)
        assert ragged.tv(tables) < EXACT
        assert log_z == pytest.approx(solution.log_z, abs=1e-6)


def test_value_mse_at_one_depth_fits_the_conditional_mean(fixed: Problem) -> None:
    tables, log_z = fit_value_mse(fixed, 1, prefixes="last")
    solution = exact.solve(exact.enumerate_tree(fixed.mdp, fixed.reference), fixed.alpha)
    law = fixed.law(fixed.reference).reshape(2, -1)
    mean = (law * solution.tree.rewards.reshape(2, -1)).sum(1) / law.sum(1) / fixed.alpha
    fitted = log_z + tables[0][0] - fixed.reference[0][0]
    assert np.abs(fitted - mean).max() < 1e-6
    assert (solution.values[1] - fitted > 1e-3).all()  # Jensen: the soft value is above


def test_value_mse_numbers_gradients_and_errors(random_batch: dict[str, torch.Tensor]) -> None:
    batch = GroupBatch(**random_batch)
    for prefixes in ("all", "last"):
        total = 0.0
        for n in range(3):
            for k in range(4):
                length, value = int(batch.mask[n, k].sum()), batch.log_z[n].item()
                for t in range(length):
                    value += (batch.policy_logps[n, k, t] - batch.behaviour_logps[n, k, t]).item()
                    if prefixes == "all" or t + 1 == length:
                        total += (value - float(batch.rewards[n, k]) / 0.7) ** 2 / 12
        assert objectives.value_mse(batch, 0.7, prefixes).loss.item() == pytest.approx(
            total, rel=1e-12
        )

        def loss(
            logps: torch.Tensor, log_z: torch.Tensor, prefixes: Any = prefixes
        ) -> torch.Tensor:
            own = GroupBatch(**random_batch | {"policy_logps": logps, "log_z": log_z})
            return objectives.value_mse(own, 0.7, prefixes).loss

        leaves = (
            random_batch["policy_logps"].requires_grad_(),
            random_batch["log_z"].requires_grad_(),
        )
        assert torch.autograd.gradcheck(loss, leaves, rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match="needs log_z"):
        objectives.value_mse(replace(batch, log_z=None))
    with pytest.raises(ValueError, match="targets must be"):
        objectives.value_mse(batch, targets=torch.zeros(3, 4))
    with pytest.raises(ValueError, match="targets hold inf or nan"):
        objectives.value_mse(batch, targets=torch.full((3, 4, 5), torch.nan))
    with pytest.raises(ValueError, match="prefixes must be one of all, last"):
        objectives.value_mse(batch, prefixes="given")  # type: ignore[arg-type]
