"""Controls that must fail: two ways to break GN-IVO at t < T, both harmless at t = T."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gnivo_edu.exact.group_integrals import LEAST_LOG_CHANCE
from gnivo_edu.exact.groups import MAX_RANGE, GroupObjective
from gnivo_edu.exact.measures import SPREAD_LIMIT, greatest, spread
from gnivo_edu.exact.solution import backup, solve
from gnivo_edu.exact.tree import Array, Tables, TokenTree, random_reference

BITE = 1e-4  # nats; a control that works violates Theorem 2 by more than this
# Nats; below this spread of R/alpha, weights are linear in R and normalising them hardly matters.
SMALL = 0.2
SMALL_BIAS = 10 * BITE  # nats, to first order in 1/K: below it large groups heal softmax weights
SOLVED = 1e-9  # nats; V itself meets the equation of a recipe, up to rounding
PANEL, NODES = 1.0, 12  # nats of log s to a panel of Gauss-Legendre, and its nodes


@dataclass(frozen=True)
class Control:
    """The V_theta that a broken recipe fits, against V.

    `per_depth`: the spread of V_theta - V at t = 1..T, nats; the last one, at complete answers, is
    harmless. Where V solves the recipe's equation to 1e-9, or float64 does not determine the fit,
    it is by how much V misses that equation: never more than the spread. `violation`: the largest
    one over t < T. A control bites if it violates Theorem 2 by more than `BITE`. `why_not`: why it
    cannot bite on this tree, or None. The reason is found in the tree, never in the fit: a control
    that neither bites nor has a reason does not behave.
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
        return bites == (self.why_not is None) and self.at_complete_answers <= SPREAD_LIMIT


def softmax_weights(tree: TokenTree, alpha: float, group_size: int) -> Control:
    """Fit V_theta with group-normalised weights softmax(R/alpha) in place of e^{R/alpha}.

    E[softmax(R/alpha)_1 | prefix] is not proportional to e^V wherever a prefix leaves the reward
    open. At t = T it is exact. Source: the practice of GN-IVO as reported by its reviews (papers.md
    A1.5, A4).
    """
    solution = solve(tree, alpha)
    if tree.prefix_logps[-1][tree.reachable(tree.horizon)].min() < LEAST_LOG_CHANCE:
        return Control(
            "softmax_weights",
            [0.0] * max(tree.horizon, 1),
            why_not=f"an answer has a chance below e^{LEAST_LOG_CHANCE:.0f}, which leaves float64",
        )
    if why := _out_of_range(tree, solution.values[-1]):
        return Control("softmax_weights", [0.0] * max(tree.horizon, 1), why_not=why)
    log_shares = _log_mean_shares(tree, solution.values[-1], group_size=group_size)
    violations, inert = [], []
    span = spread(solution.values[-1][tree.reachable(tree.horizon)])
    variances = _relative_variance(tree, solution.values)
    # Log-variances of the weights, beside those that the span of R/alpha allows.
    settled_below = np.log(1e-12) + 2 * np.log(min(1.0, max(span, 1e-150)))
    for t in range(1, tree.horizon + 1):
        reachable = tree.reachable(t)
        value = solution.values[t][reachable]
        target = log_shares[t][reachable]
        law = tree.prefix_logps[t][reachable]
        objective = GroupObjective.from_logs(law, target, group_size=group_size, log_total=None)
        violations.append(_violation(objective, value))
        # It cannot bite where the prefix settles the reward, or where all prefixes are alike.
        settled = bool((variances[t][reachable] <= settled_below).all())
        inert.append(settled or max(spread(value), spread(target)) < 1e-9)
    control = Control("softmax_weights", violations, why_not=None)
    if control.violation > BITE:  # a reward that is nearly settled may do
        return control
    if all(inert[:-1]):
        why = "at every t < T the prefix settles the reward, or leaves it open all alike"
    elif span <= SMALL:
        why = (
            f"alpha is so large that R/alpha spans {span:.2g} nats: what it misses is of second "
            "order in that"
        )
    else:
        bias = _first_order_bias(tree, solution.values, variances=variances) / group_size
        miss = _miss_of_value(tree, solution.values, log_shares, group_size=group_size)
        if bias <= SMALL_BIAS:
            why = f"groups are so large that it misses by {bias:.1g} nats, to first order in 1/K"
        elif miss <= BITE:
            why = (
                "at every t < T the prefix all but settles the reward: V misses what it fits by "
                f"{miss:.1g} nats"
            )
    return replace(control, why_not=why)


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
    if why := _out_of_range(tree, solution.values[-1]):
        return Control("off_policy_samples", [0.0] * max(tree.horizon, 1), why_not=why)
    violations, shifts = [], []
    for t in range(1, tree.horizon + 1):
        reachable = tree.reachable(t)
        law = behaviour_tree.prefix_logps[t][reachable]
        value = solution.values[t][reachable]
        behaviour_value = behaviour_solution.values[t][reachable]
        target = behaviour_value - behaviour_value.max()
        objective = GroupObjective.from_logs(law, target, group_size=group_size, log_total=target)
        violations.append(_violation(objective, value))
        shifts.append(spread(behaviour_value - value))
    if max(shifts[:-1], default=0.0) <= BITE:
        why = "at every t < T the other policy's soft values differ from V by one constant"
    return Control("off_policy_samples", violations, why_not=why)


def _out_of_range(tree: TokenTree, exponents: Array) -> str | None:
    """Why no V_theta can be fitted at this alpha, or None."""
    span = spread(exponents[tree.reachable(tree.horizon)])
    if span <= MAX_RANGE:
        return None
    return f"R/alpha spans {span:.3g} nats, and a free V_theta is fitted up to {MAX_RANGE:,.0f}"


def _violation(objective: GroupObjective, value: Array) -> float:
    """The spread of the fit around V, nats, or by how much V misses the equation of the fit."""
    # q_i changes at most e^spread-fold when V changes to V_theta, and so does its mean. The miss
    # is therefore a lower bound of the spread, and needs no fit.
    miss = float(np.abs(objective.residual(value)).max())
    if miss <= SOLVED:
        return miss
    try:  # what a depth leaves undetermined keeps its lower bound
        return spread(objective.fit(np.zeros_like(value)) - value)
    except (RuntimeError, ValueError):
        return miss


def _log_mean_shares(tree: TokenTree, exponents: Array, group_size: int) -> Tables:
    """log E[softmax(R/alpha)_1 | prefix] per depth, [V**t], nats."""
    # At the answers it is an exact expectation over groups, in which answers of one reward are one.
    reachable = tree.reachable(tree.horizon)
    levels, inverse = np.unique(exponents[reachable], return_inverse=True)
    log_mass = np.full(len(levels), -np.inf)
    np.logaddexp.at(log_mass, inverse, tree.prefix_logps[-1][reachable])
    shares = [np.zeros(len(exponents))]
    shares[0][reachable] = log_softmax_shares(log_mass, levels, group_size)[inverse]
    for table in reversed(tree.step_logps):
        shares.append(backup(table, shares[-1]))
    return shares[::-1]


def log_softmax_shares(log_mass: Array, exponents: Array, group_size: int) -> Array:
    """log E[softmax(x)_1 | x_1 = exponents[k]] over groups of independent x, float64 [n], nats.

    By a route that shares no function with the fit of V_theta. A softmax is the chance to be first
    in a race of exponential clocks with rates e^x: at log time u all K - 1 others must still run.
    The integral over u is that of Gauss and Legendre, panel by panel.

    >>> np.exp(log_softmax_shares(np.log([0.5, 0.5]), np.log([1.0, 3.0]), 2)).round(3)
    array([0.375, 0.625])
    """
    inner, weights = np.polynomial.legendre.leggauss(NODES)
    low = -float(exponents.max()) - 45 - np.log(group_size)
    count = int(np.ceil((-float(exponents.min()) + 5 - low) / PANEL))
    mass = np.exp(log_mass - np.logaddexp.reduce(log_mass))
    total = np.full(len(exponents), -np.inf)
    for panel in range(count):
        u = low + PANEL * (panel + (1 + inner) / 2)
        ticks = np.exp(np.minimum(u + exponents[:, None], 50.0))  # [n, u]
        with np.errstate(divide="ignore"):
            stopped = mass @ -np.expm1(-ticks)
            running = np.where(stopped < 0.5, np.log1p(-np.minimum(stopped, 0.9)), -np.inf)
            late = np.log(mass @ np.exp(-ticks))
        running = np.where(stopped < 0.5, running, late)
        density = u + exponents[:, None] - ticks + (group_size - 1) * running
        density += np.log(weights * PANEL / 2)
        total = np.logaddexp(total, np.logaddexp.reduce(density, axis=1))
    return total


def _miss_of_value(tree: TokenTree, values: Tables, log_shares: Tables, group_size: int) -> float:
    """By how much V misses the equation of softmax weights at t < T, nats, without the fit."""
    misses = [0.0]
    for t in range(1, tree.horizon):
        reachable = tree.reachable(t)
        law, value = tree.prefix_logps[t][reachable], values[t][reachable]
        model = log_softmax_shares(law, value, group_size=group_size)
        misses.append(greatest(log_shares[t][reachable] - model))
    return max(misses)


def _relative_variance(tree: TokenTree, values: Tables) -> Tables:
    """log of Var(w | prefix) / E[w | prefix]^2 of the weights w = e^{R/alpha}, per depth."""
    logs = [np.full(len(values[-1]), -np.inf)]
    for t, table in reversed(list(enumerate(tree.step_logps))):
        # The variance between the children and the one within them, each a sum of squares.
        gap = values[t + 1].reshape(table.shape) - values[t][:, None]
        gap = np.where(np.isneginf(table), 0.0, gap)
        with np.errstate(divide="ignore", over="ignore"):
            apart = np.where(gap > 30, gap, np.log(np.abs(np.expm1(np.minimum(gap, 30)))))
        between = np.logaddexp.reduce(table + 2 * apart, axis=1)
        within = np.logaddexp.reduce(table + 2 * gap + logs[-1].reshape(table.shape), axis=1)
        logs.append(np.logaddexp(between, within))
    return logs[::-1]


def _first_order_bias(tree: TokenTree, values: Tables, variances: Tables) -> float:
    """Largest spread over t < T of Var(w | s) / (Z e^{V(s)}), nats: K times the bias of softmax
    weights as K grows.
    """
    spreads = [0.0]
    for t in range(1, tree.horizon):
        reachable = tree.reachable(t)
        exponents = variances[t][reachable] + values[t][reachable] - values[0][0]
        spreads.append(spread(np.exp(np.minimum(exponents, 700.0))))
    return max(spreads)
