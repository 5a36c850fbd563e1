"""Soft values, log Z, the optimal policy and the credit of every step, by backward induction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gnivo_edu.exact.tree import Array, Tables, TokenTree

BLOCK = 1 << 15  # entries handled at a time: they stay in the processor's cache
TINY = 1e-200  # a sum below this may have lost terms to underflow


SMALLEST_ALPHA = 1e-300


def check_alpha(alpha: float) -> float:
    """Return alpha if it is a positive finite number, by which a reward can be divided; else raise
    ValueError.
    """
    if not isinstance(alpha, int | float | np.number) or not (np.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha must be a positive number (reward per nat), got {alpha!r}")
    if alpha < SMALLEST_ALPHA:
        raise ValueError(
            f"alpha must be at least {SMALLEST_ALPHA:g} (reward per nat), or R/alpha is no number "
            f"any more, got {alpha!r}"
        )
    return float(alpha)


@dataclass(frozen=True)
class Solution:
    """Exact solution of max_pi E_pi[R] - alpha KL(pi || pi_ref) on a TokenTree.

    `values[t]` float64 [V**t], nats: V(s_t) = log E_ref[exp(R/alpha) | s_t], t = 0..T; values[T] =
    R/alpha. Source: Theorem 1 of GN-IVO; pi*(y) = pi_ref(y) e^{R(y)/alpha} / Z.

    >>> from gnivo_edu.exact import enumerate_tree_from_rewards, solve
    >>> sol = solve(enumerate_tree_from_rewards([0, 0, 0, 1], vocab_size=2), alpha=0.5)
    >>> round(sol.log_z, 4), sol.step_credit((1, 1)).round(4)
    (0.9545, array([0.4793, 0.5662]))
    >>> bool(np.isclose(sol.step_credit((1, 1)).sum(), 1 / 0.5 - sol.log_z))
    True
    """

    tree: TokenTree
    alpha: float
    values: Tables

    @property
    def log_z(self) -> float:
        """log Z = V(empty prefix), nats."""
        return float(self.values[0][0])

    def soft_value(self, prefix: Sequence[int]) -> float:
        """V(s_t) of a prefix, nats."""
        t, number = self.tree.index(prefix)
        return float(self.values[t][number])

    def soft_q(self, prefix: Sequence[int]) -> Array:
        """Soft Q of every next token, float64 [V], nats.

        A reward comes at the end only, so Q(s, a) is V of the prefix that a leads to.
        """
        t, number = self.tree.index(prefix)
        if t == self.tree.horizon:
            raise ValueError(f"no token follows a prefix of {t} tokens, the horizon")
        return self.values[t + 1].reshape(-1, self.tree.vocab_size)[number].copy()

    def advantage(self, prefix: Sequence[int]) -> Array:
        """Soft advantage Q - V of every next token, float64 [V], nats; equals log pi*/pi_ref."""
        return self.soft_q(prefix) - self.soft_value(prefix)

    def optimal_logprob(self, prefix: Sequence[int]) -> float:
        """log pi*(prefix) = log pi_ref(prefix) + V(prefix) - log Z, nats (Theorem 1)."""
        t, number = self.tree.index(prefix)
        return float(self.tree.prefix_logps[t][number] + self.values[t][number] - self.log_z)

    @cached_property
    def optimal_step_logps(self) -> Tables:
        """pi* as tables [V**t, V]: log pi*(a|s) = log pi_ref(a|s) + V(s, a) - V(s), nats."""
        V = self.tree.vocab_size
        return [
            table + self.values[t + 1].reshape(-1, V) - self.values[t][:, None]
            for t, table in enumerate(self.tree.step_logps)
        ]

    def step_credit(self, sequence: Sequence[int]) -> Array:
        """Credit V(s_t) - V(s_{t-1}) of each step, float64 [len], nats.

        Over a whole answer the credits sum to R/alpha - log Z.
        """
        return np.diff([self.soft_value(tuple(sequence)[:t]) for t in range(len(sequence) + 1)])

    def success_probability(self, prefix: Sequence[int]) -> float:
        """Chance of ending right under the reference, for rewards of 0 and 1."""
        if not np.isin(self.tree.rewards, (0.0, 1.0)).all():
            raise ValueError("success_probability needs rewards of 0 and 1; these are graded")
        return float(success_probability(np.array(self.soft_value(prefix)), self.alpha))

    @property
    def expected_reward(self) -> float:
        """E[R] under pi*, reward units."""
        return float(np.exp(self._optimal_answer_logps) @ self.tree.rewards)

    @property
    def kl(self) -> float:
        """KL(pi* || pi_ref) over complete answers, nats: E_{pi*}[R]/alpha - log Z."""
        # Log-ratio first, expectation second: at a large alpha the two terms nearly cancel.
        return float(np.exp(self._optimal_answer_logps) @ (self.values[-1] - self.log_z))

    @cached_property
    def _optimal_answer_logps(self) -> Array:
        logps = self.tree.prefix_logps[-1] + (self.values[-1] - self.log_z)
        # Where V is so large that log Z has lost the chances, the sum is not one any more.
        return logps - np.logaddexp.reduce(logps)


def success_probability(values: Array, alpha: float) -> Array:
    """Chance of ending right, for soft values in nats and rewards of 0 and 1.

    With chance p, e^V = 1 - p + p e^{1/alpha}, so p = (e^V - 1)/(e^{1/alpha} - 1). Numerator and
    denominator are written as e^V (1 - e^{-V}), so that neither overflows.

    >>> success_probability(np.array([0.0, 1000.0]), alpha=0.001)
    array([0., 1.])
    """
    return np.exp(values - 1 / alpha) * np.expm1(-values) / np.expm1(-1 / alpha)


def value_of_chance(chance: float, alpha: float) -> float:
    """Soft value of a prefix whose chance of ending right is p, rewards of 0 and 1, nats.

    V = log(1 - p + p e^{1/alpha}), the inverse of `success_probability`.

    >>> round(value_of_chance(0.5, alpha=0.5), 4), value_of_chance(1.0, alpha=1e-3)
    (1.4338, 1000.0)
    """
    with np.errstate(divide="ignore"):
        return float(np.logaddexp(np.log1p(-chance), np.log(chance) + 1 / alpha))


def solve(tree: TokenTree, alpha: float) -> Solution:
    """Soft values of every prefix by backward induction, V(s) = log sum_a pi_ref(a|s) e^{V(s,a)}.

    Stable at every alpha: the largest exponent is taken out of every sum. Memory beyond
    the tree: the values themselves (1 + 1/V + ... arrays of V**T) and one small block. Raises
    ValueError if alpha is not positive.
    """
    if not isinstance(tree, TokenTree):
        raise ValueError(
            "solve needs an enumerated tree: exact.solve(exact.enumerate_tree(mdp), alpha)"
        )
    values = [tree.rewards / check_alpha(alpha)]
    for table in reversed(tree.step_logps):
        values.append(backup(table, values[-1]))
    return Solution(tree, float(alpha), values[::-1])


def backup(table: Array, children: Array) -> Array:
    """log sum_a exp(table[s, a] + children[s, a]) for every s; children is [S * V].

    Block by block, so that no second array of the size of the tree is made.
    """
    rows, V = table.shape
    children = children.reshape(rows, V)
    result, ones = np.empty(rows), np.ones(V)
    step = max(1, BLOCK // V)
    scratch = np.empty((min(step, rows), V))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        block = np.add(table[start:stop], children[start:stop], out=scratch[: stop - start])
        # Log-sum-exp of every row with one peak for the whole block, which is fast ...
        peak = block.max()
        block -= peak
        total = np.exp(block, out=block) @ ones
        with np.errstate(divide="ignore"):
            result[start:stop] = np.log(total) + peak
        # ... but rows hundreds of nats below it underflow: these are done again with their own.
        low = np.flatnonzero(total < TINY)
        if len(low):
            exponents = table[start:stop][low] + children[start:stop][low]
            peaks = exponents.max(axis=1)
            sums = np.exp(exponents - peaks[:, None]).sum(axis=1)
            result[start + low] = np.log(sums) + peaks
    return result
