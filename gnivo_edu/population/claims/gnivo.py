"""Claims of the poster of GN-IVO."""

from __future__ import annotations

from functools import cache, partial
from itertools import product

import numpy as np
import torch
from torch import Tensor

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact.theorems import marginal_optimal_logps
from gnivo_edu.exact.tree import Array, Tables
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import Objective, Population, expect, laws, point_at
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
    TREE,
    holds,
    off_optimum,
)
from gnivo_edu.population.groups import Point


@cache
def _shift(group_size: int) -> exact.Certificate:
    return exact.verify_constant_shift(problem("tree").tree, ALPHA, group_size=group_size)


def _softmax_violation() -> float:
    """Spread of V_theta - V, nats, that weights over their sum in the group leave before the end.

    K = 3.
    """
    return exact.softmax_weights(problem("tree").tree, ALPHA, group_size=3).violation


def _mean_values() -> Tables:
    """E[R | prefix]/alpha under the reference, nats: the value without exponentials."""
    tree = problem("tree").tree
    values: list[Array] = [tree.rewards / ALPHA]
    for table in reversed(tree.step_logps):
        values.append((np.exp(table) * values[-1].reshape(table.shape)).sum(1))
    return values[::-1]


def _theorem_1_with(values: Tables) -> float:
    """Largest error of log pi*(prefix) = log pi_ref(prefix) + value - value of the empty one."""
    tree = problem("tree").tree
    optimal = marginal_optimal_logps(tree, ALPHA)
    errors = []
    for t in range(tree.horizon + 1):
        possible = tree.reachable(t)
        claimed = tree.prefix_logps[t][possible] + values[t][possible] - values[0][0]
        errors.append(np.abs(claimed - optimal[t][possible]).max())
    return float(max(errors))


def _printed_index(model_from: int) -> float:
    """Gradient of Eq. 7 at V, relative to that at zero; the targets' sum runs from j = 1, the
    model's from `model_from`. All groups of three first tokens.
    """
    answers = problem("tree")
    law = laws.prefix_law(answers, answers.law(answers.reference), depth=1)
    tilted = laws.prefix_law(answers, laws.tilt(answers, ALPHA), depth=1)
    value = (tilted / law).log()  # V - log Z of each first token
    groups = torch.tensor(list(product(range(len(law)), repeat=3)))
    weights = value.exp()[groups]
    # The factor in front of the cross-entropy, the sum of all e^V, times the targets as printed.
    targets = weights.sum(1, True) * weights / weights[:, 1:].sum(1, True)

    def size_of_gradient(v: Tensor) -> float:
        leaf = v.clone().requires_grad_()
        log_q = leaf[groups] - leaf[groups][:, model_from:].logsumexp(1, keepdim=True)
        loss = -(law[groups].prod(1) @ (targets * log_q).sum(1))
        return float(torch.autograd.grad(loss, leaf)[0].norm())

    return size_of_gradient(value) / size_of_gradient(torch.zeros_like(value))


def _blind_to_constant(objective: Objective) -> float:
    """Gradient of an objective of V_theta at V plus a constant, relative to that at V_theta = 0."""
    answers = problem("tree")
    population, point = Population.of(answers, 3), point_at(answers, ALPHA)

    def size_of_gradient(values: Tensor) -> float:
        place = Point(point.logits, point.values, prefix_values=values, log_z=point.log_z)
        return float(expect(objective, population, place).gradient["prefix_values"].norm())

    values = point.prefix_values
    return size_of_gradient(values + 1.0) / size_of_gradient(torch.zeros_like(values))


def _squared_value(batch: GroupBatch) -> LossOutput:
    """The mean of (V_theta - R/alpha)^2 over complete answers."""
    assert batch.prefix_values is not None
    error = batch.prefix_values[..., -1] - batch.rewards / ALPHA
    return LossOutput(batch.group_mean(error.square().mean(1)))


POSTER, EQUATION = "GN-IVO, ICLR 2026", "GN-IVO, Eq. 9"
CLAIMS = [
    holds(
        "theorem-1",
        "For every prefix, pi*(s_t) = pi_ref(s_t) e^{V(s_t)}/Z.",
        source=f"{POSTER}, Theorem 1",
        read="poster",
        where=TREE,
        unit="largest error, nats",
        number=lambda: exact.verify_soft_value_theorem(problem("tree").tree, ALPHA).max_abs_error,
        unless="V is E[R | s_t]/alpha, the mean, not log E[e^{R/alpha} | s_t]",
        counterfactual=lambda: _theorem_1_with(_mean_values()),
    ),
    holds(
        "theorem-2",
        "For any K > 1 and t the minimiser is V up to one constant per depth.",
        source=f"{POSTER}, Theorem 2",
        read="poster",
        where=f"{TREE}, K = 2, 3, 4, prefixes and completions from pi_ref, a free V_theta from "
        "three starts",
        unit="spread of V_theta - V in a depth, nats",
        number=lambda: max(_shift(K).max_abs_error for K in (2, 3, 4)),
        unless="each weight is divided by the sum of its group (K = 3, t < T)",
        counterfactual=_softmax_violation,
    ),
    holds(
        "index",
        "The targets of Eq. 7 are printed with a sum from j = 1, the model with one from j = 0; "
        "the minimiser is V all the same.",
        source=f"{POSTER}, Eq. 7 as printed",
        read="poster",
        kind="identity",
        where=f"{TREE}, K = 3, t = 1, exact soft values as targets",
        unit="gradient at V, relative to V = 0",
        number=lambda: _printed_index(0),
        unless="the model's sum runs from j = 1 too",
        counterfactual=lambda: _printed_index(1),
    ),
    holds(
        "no-log-z",
        "Group normalisation avoids the partition function: adding a constant to V_theta changes "
        "nothing.",
        source=f"{POSTER}, abstract; a corollary of theorem-2",
        read="poster",
        kind="corollary",
        where=f"{TREE}, K = 3, raw weights, reference samples",
        unit="gradient at V + 1 nat, relative to V = 0",
        number=lambda: _blind_to_constant(partial(objectives.group_value, alpha=ALPHA)),
        unless="V_theta is fitted to R/alpha by least squares",
        counterfactual=lambda: _blind_to_constant(_squared_value),
    ),
    holds(
        "gnivo-optimum",
        "The GN-IVO loss has the optimal policy as its minimiser.",
        source=EQUATION,
        read="poster",
        unless="each weight is divided by the sum of its group",
        **off_optimum(
            "gnivo", "raw weights, all depths, K=2", instead="softmax weights, all depths, K=2"
        ),
    ),
]
