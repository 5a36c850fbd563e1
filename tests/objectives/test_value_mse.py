"""value_mse: numbers, minimisers with true and with default targets, errors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.policies import TabularLM, all_groups, make_group_batch, tabulate
from tests.objectives.objective_checks import full_record, rows
from tests.objectives.population_problem import Problem

EXACT = 1e-6


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


@pytest.mark.slow
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
            moved = GroupBatch(**random_batch | {"policy_logps": logps, "log_z": log_z})
            return objectives.value_mse(moved, 0.7, prefixes).loss

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


def test_value_mse_residual_is_a_root_mean_square_over_the_depths_used() -> None:
    record = full_record()
    for prefixes in ("all", "last"):
        errors = []
        for group, log_z in zip(rows(record), record["log_z"].tolist(), strict=True):
            for row in group:
                row_errors = [
                    log_z + sum(row.p[:t]) - sum(row.r[:t]) - row.R / 0.7
                    for t in range(1, len(row.p) + 1)
                ]
                errors += row_errors if prefixes == "all" else row_errors[-1:]
        residual = objectives.value_mse(GroupBatch(**record), 0.7, prefixes).metrics["residual"]  # type: ignore[arg-type]
        assert residual.item() == pytest.approx(
            math.sqrt(sum(e * e for e in errors) / len(errors)), rel=1e-12
        )


def test_targets_are_constants_and_read_inside_the_mask_only() -> None:
    record = full_record()
    targets = record["prefix_values"].masked_fill(~record["mask"], torch.nan).requires_grad_()
    record["policy_logps"].requires_grad_()
    objectives.value_mse(GroupBatch(**record), targets=targets).loss.backward()
    assert targets.grad is None
    one = record["prefix_values"].clone()
    one[2, 1, 0] = torch.inf
    with pytest.raises(ValueError, match="targets hold"):
        objectives.value_mse(GroupBatch(**record), targets=one)
