"""Controls that must fail: two ways to break GN-IVO at t < T, both harmless at t = T."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gnivo_edu.exact.groups import GroupObjective
from gnivo_edu.exact.solution import solve
from gnivo_edu.exact.theorems import prefix_log_law, spread
from gnivo_edu.exact.tree import Array, Tables, TokenTree, random_reference

BITE = 1e-4  # nats; a control that works violates Theorem 2 by more than this
SMALL = 0.2  # nats; below this spread of R/alpha, weights are linear in R and normalising them hardly matters


@dataclass(frozen=True)
class Control:
    """What a broken recipe fits.

    `violation`: largest spread over t < T of its V_theta - V, nats; `per_depth`: the spread at t =
    1..T (the last one, at complete answers, is harmless); `why_not`: why it cannot bite on this
    tree, or None. The reason is found in the tree, never in the fit: one that neither bites nor has
    a reason does not behave.
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
        return (self.violation > BITE) == (
            self.why_not is None
        ) and self.at_complete_answers <= 1e-6


def softmax_weights(tree: TokenTree, alpha: float, group_size: int) -> Control:
    """Fit V_theta with group-normalised weights softmax(R/alpha) in place of e^{R/alpha}.

    E[softmax(R/alpha)_1 | prefix] is not proportional to e^V wherever a prefix leaves the reward
    open. At t = T it is exact. Source: the practice of GN-IVO as reported by its reviews (papers.md
    A1.5, A4).
    """
    solution = solve(tree, alpha)
    share = _mean_share(tree, solution.values[-1], group_size)
    fits, inert = [], []
    for t in range(1, tree.horizon + 1):
        reachable = tree.reachable(t)
        law, value, target = (
            np.exp(tree.prefix_logps[t][reachable]),
            solution.values[t][reachable],
            share[t][reachable],
        )
        fits.append(
            spread(
                GroupObjective(law, target, group_size, total=None).fit(np.zeros_like(value))
                - value
            )
        )
        settled = np.allclose(_variance(tree, t)[reachable], 0, atol=1e-12)
        inert.append(settled or max(spread(value), spread(np.log(target))) < 1e-9)
    control = Control("softmax_weights", fits, None)
    if all(inert[:-1]):
        return replace(
            control,
            why_not="at every t < T the prefix settles the reward, or leaves it open all alike",
        )
    span = spread(solution.values[-1][tree.reachable(tree.horizon)])
    if span <= SMALL and control.violation <= BITE:
        why = (
            f"alpha is so large that R/alpha spans {span:.2g} nats: what it misses is of second "
            "order in that"
        )
        return replace(control, why_not=why)
    return control


def off_policy_samples(
    tree: TokenTree, alpha: float, group_size: int, sampler: Tables | None = None
) -> Control:
    """Fit V_theta on answers drawn from another policy than pi_ref, weighted by e^{R/alpha} all the
    same.

    It finds log E_sampler[e^{R/alpha} | prefix] instead of V. At t = T nothing is left to complete:
    harmless.
    `sampler`: tables of log-probabilities; by default a random prefix-dependent policy.
    """
    if sampler is None:
        sampler = random_reference(tree.vocab_size, tree.horizon, seed=10_007)
    tables = [
        np.where(np.isneginf(ours), -np.inf, theirs)
        for ours, theirs in zip(tree.step_logps, sampler, strict=True)
    ]
    # Renormalised where the reference rules a token out; a finished answer keeps its one
    # continuation.
    tables = [table - np.logaddexp.reduce(table, axis=1, keepdims=True) for table in tables]
    drawn = TokenTree(tree.vocab_size, tree.horizon, tree.eos_token_id, tables, tree.rewards)
    solution, other, laws = solve(tree, alpha), solve(drawn, alpha), prefix_log_law(tables)
    fits, shifts = [], []
    for t in range(1, tree.horizon + 1):
        reachable = tree.reachable(t)
        value, found = solution.values[t][reachable], other.values[t][reachable]
        law, target = np.exp(laws[t][reachable]), np.exp(found - found.max())
        fits.append(
            spread(
                GroupObjective(law, target, group_size, total=target).fit(np.zeros_like(value))
                - value
            )
        )
        shifts.append(spread(found - value))
    why = "at every t < T the other policy's soft values differ from V by one constant"
    return Control(
        "off_policy_samples", fits, why if max(shifts[:-1], default=0.0) <= BITE else None
    )


def _mean_share(tree: TokenTree, exponents: Array, group_size: int) -> Tables:
    """E[softmax(R/alpha)_1 | prefix] per depth: the exact group expectation at the leaves, averaged
    upwards.
    """
    law = np.exp(tree.prefix_logps[-1])
    levels, inverse = np.unique(exponents, return_inverse=True)
    mass = np.bincount(inverse, law).astype(np.float64)
    shares = [
        GroupObjective(mass, np.ones_like(mass), group_size, total=None).model(levels)[inverse]
    ]
    for table in reversed(tree.step_logps):
        shares.append((np.exp(table) * shares[-1].reshape(table.shape)).sum(axis=1))
    return shares[::-1]


def _variance(tree: TokenTree, t: int) -> Array:
    """Variance of the reward given each prefix of t tokens, under the reference."""
    first, second = tree.rewards, tree.rewards**2
    for table in reversed(tree.step_logps[t:]):
        first = (np.exp(table) * first.reshape(table.shape)).sum(axis=1)
        second = (np.exp(table) * second.reshape(table.shape)).sum(axis=1)
    return second - first**2
