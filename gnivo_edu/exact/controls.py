"""Controls that must fail: two ways to break GN-IVO at t < T, both harmless at t = T."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gnivo_edu.exact.groups import GroupObjective
from gnivo_edu.exact.solution import solve
from gnivo_edu.exact.theorems import spread
from gnivo_edu.exact.tree import Array, Tables, TokenTree, random_reference

BITE = 1e-4  # nats; a control that works violates Theorem 2 by more than this
# Nats; below this spread of R/alpha, weights are linear in R and normalising them hardly matters.
SMALL = 0.2


@dataclass(frozen=True)
class Control:
    """The V_theta that a broken recipe fits, against V.

    `per_depth`: the spread of V_theta - V at t = 1..T, nats; the last one, at complete answers, is
    harmless. `violation`: the largest one over t < T. A control bites if it violates Theorem 2 by
    more than `BITE`. `why_not`: why it cannot bite on this tree, or None. The reason is found in
    the tree, never in the fit: a control that neither bites nor has a reason does not behave.
    """

    name: str
    per_depth: list[float]
    why_not: str | None

    @property
    def violation(self) -> float:
        """Largest spread over t < T, nats."""
        return max(self.per_depth[:-1], default=0.0)

    @property
    def at_complete_answers(self) -> float:
        """Spread at t = T, nats."""
        return self.per_depth[-1]

    @property
    def behaves(self) -> bool:
        """It bites at t < T wherever it can, and is harmless at t = T."""
        bites = self.violation > BITE
        return bites == (self.why_not is None) and self.at_complete_answers <= 1e-6


def softmax_weights(tree: TokenTree, alpha: float, group_size: int) -> Control:
    """Fit V_theta with group-normalised weights softmax(R/alpha) in place of e^{R/alpha}.

    E[softmax(R/alpha)_1 | prefix] is not proportional to e^V wherever a prefix leaves the reward
    open. At t = T it is exact. Source: the practice of GN-IVO as reported by its reviews (papers.md
    A1.5, A4).
    """
    solution = solve(tree, alpha)
    shares = _mean_shares(tree, solution.values[-1], group_size=group_size)
    violations, inert = [], []
    for t in range(1, tree.horizon + 1):
        reachable = tree.reachable(t)
        law = np.exp(tree.prefix_logps[t][reachable])
        value = solution.values[t][reachable]
        target = shares[t][reachable]
        objective = GroupObjective(law, target, group_size=group_size, total=None)
        violations.append(spread(objective.fit(np.zeros_like(value)) - value))
        # It cannot bite where the prefix settles the reward, or where all prefixes are alike.
        settled = np.allclose(_variance(tree, t)[reachable], 0, atol=1e-12)
        inert.append(settled or max(spread(value), spread(np.log(target))) < 1e-9)
    control = Control("softmax_weights", violations, why_not=None)
    span = spread(solution.values[-1][tree.reachable(tree.horizon)])
    if all(inert[:-1]):
        why = "at every t < T the prefix settles the reward, or leaves it open all alike"
    elif span <= SMALL and control.violation <= BITE:
        why = (
            f"alpha is so large that R/alpha spans {span:.2g} nats: what it misses is of second "
            "order in that"
        )
    else:
        return control
    return Control("softmax_weights", violations, why_not=why)


def off_policy_samples(
    tree: TokenTree, alpha: float, group_size: int, sampler: Tables | None = None
) -> Control:
    """Fit V_theta on answers of another policy than pi_ref, weighted by e^{R/alpha} all the same.

    The fit is log E_sampler[e^{R/alpha} | prefix] instead of V. At t = T nothing is left to
    complete: harmless. `sampler`: tables of log-probabilities; by default a random prefix-dependent
    policy.
    """
    if sampler is None:
        sampler = random_reference(tree.vocab_size, tree.horizon, seed=10_007)
    # Renormalised where the reference rules a token out; a finished answer keeps its one
    # continuation.
    tables = [
        np.where(np.isneginf(reference_table), -np.inf, sampler_table)
        for reference_table, sampler_table in zip(tree.step_logps, sampler, strict=True)
    ]
    tables = [table - np.logaddexp.reduce(table, axis=1, keepdims=True) for table in tables]
    behaviour_tree = replace(tree, step_logps=tables)
    solution, behaviour_solution = solve(tree, alpha), solve(behaviour_tree, alpha)
    violations, shifts = [], []
    for t in range(1, tree.horizon + 1):
        reachable = tree.reachable(t)
        law = np.exp(behaviour_tree.prefix_logps[t][reachable])
        value = solution.values[t][reachable]
        behaviour_value = behaviour_solution.values[t][reachable]
        target = np.exp(behaviour_value - behaviour_value.max())
        objective = GroupObjective(law, target, group_size=group_size, total=target)
        violations.append(spread(objective.fit(np.zeros_like(value)) - value))
        shifts.append(spread(behaviour_value - value))
    why = None
    if max(shifts[:-1], default=0.0) <= BITE:
        why = "at every t < T the other policy's soft values differ from V by one constant"
    return Control("off_policy_samples", violations, why_not=why)


def _mean_shares(tree: TokenTree, exponents: Array, group_size: int) -> Tables:
    """E[softmax(R/alpha)_1 | prefix] per depth, [V**t]."""
    # At the answers it is an exact expectation over groups, in which answers of one reward are one.
    reachable = tree.reachable(tree.horizon)
    law = np.exp(tree.prefix_logps[-1][reachable])
    levels, inverse = np.unique(exponents[reachable], return_inverse=True)
    mass = np.bincount(inverse, law).astype(np.float64)
    objective = GroupObjective(mass, np.ones_like(mass), group_size=group_size, total=None)
    shares = [np.zeros(len(exponents))]
    shares[0][reachable] = objective.model(levels)[inverse]
    for table in reversed(tree.step_logps):
        shares.append(_average(table, shares[-1]))
    return shares[::-1]


def _variance(tree: TokenTree, t: int) -> Array:
    """Variance of the reward given each prefix of t tokens, under the reference."""
    first, second = tree.rewards, tree.rewards**2
    for table in reversed(tree.step_logps[t:]):
        first, second = _average(table, first), _average(table, second)
    return second - first**2


def _average(table: Array, children: Array) -> Array:
    """Mean of the children's numbers at every prefix, under the policy of a table."""
    return (np.exp(table) * children.reshape(table.shape)).sum(axis=1)
