"""Both theorems of GN-IVO, checked to machine precision on an enumerated tree."""

from __future__ import annotations

import numpy as np

from gnivo_edu.exact.certificate import Certificate, Row
from gnivo_edu.exact.groups import GroupObjective
from gnivo_edu.exact.measures import SPREAD_LIMIT, greatest, log_mean_exp, normalised, spread
from gnivo_edu.exact.minimum import fits_of, smallest_increase
from gnivo_edu.exact.solution import Solution, check_alpha, solve
from gnivo_edu.exact.tree import Array, Tables, TokenTree, prefix_log_law

THEOREM_1_LIMIT = 1e-10  # nats, or more where the largest number compared makes rounding larger
GRADIENT_LIMIT = 1e-10  # relative to the gradient at V_theta = 0
SMALLEST_SCALE = 1e-5  # of that gradient: below it rounding, 1e-16, would not be small beside it
INCREASE_LIMIT = -1e-10  # the loss may fall by so much of its curvature's scale: rounding


def verify_soft_value_theorem(tree: TokenTree, alpha: float) -> Certificate:
    """Theorem 1: pi*(prefix) = pi_ref(prefix) e^{V(prefix)} / Z at every prefix, compared in nats.

    Left side: normalise pi_ref(y) e^{R(y)/alpha} over complete answers and add up the answers
    through each prefix. Right side: backward induction (`solve`). The two routes share no function.
    Where the numbers compared are so large that rounding alone would pass 1e-7 nats (R/alpha of a
    few million nats), nothing is decided: `undecided` says so. Source: GN-IVO, Theorem 3.1.

    >>> from gnivo_edu.exact import enumerate_tree_from_rewards
    >>> verify_soft_value_theorem(enumerate_tree_from_rewards([0, 0, 0, 1], 2), alpha=0.2).passed
    True
    """
    marginals = marginal_optimal_logps(tree, alpha)
    solution = solve(tree, alpha)
    table: list[Row] = []
    for t in range(tree.horizon + 1):
        reachable = tree.reachable(t)
        claimed = tree.prefix_logps[t][reachable] + solution.values[t][reachable] - solution.log_z
        error = float(np.abs(marginals[t][reachable] - claimed).max())
        table.append({"t": t, "prefixes": len(reachable), "largest error": error})
    worst = greatest([row["largest error"] for row in table])
    # Every number compared is rounded once a step, and each time by at most its own size.
    possible = tree.prefix_logps[-1][tree.reachable(tree.horizon)]
    largest = greatest(solution.values[-1]) + greatest(possible)
    limit = max(THEOREM_1_LIMIT, 4 * (tree.horizon + 1) * float(np.spacing(largest)))
    undecided = []
    if limit > SPREAD_LIMIT:
        undecided = [
            f"numbers of up to {largest:.2g} nats are compared, which float64 rounds by more than "
            f"{SPREAD_LIMIT:g}: raise alpha"
        ]
    return Certificate(
        claim=f"Theorem 1: pi*(prefix) = pi_ref(prefix) e^V / Z at every prefix (alpha {alpha:g})",
        passed=worst <= limit or (bool(undecided) and worst <= 100 * limit),
        max_abs_error=worst,
        limit=limit,
        prefixes=tree.num_prefixes,
        table=table,
        undecided=undecided,
    )


def marginal_optimal_logps(tree: TokenTree, alpha: float) -> Tables:
    """log pi*(prefix) per depth, [V**t], nats, from complete answers alone: no V is ever formed."""
    V, T = tree.vocab_size, tree.horizon
    answers = np.arange(V**T)
    logps = np.zeros(V**T)
    for t, table in enumerate(tree.step_logps):
        prefixes = answers // V ** (T - t - 1)  # the first t + 1 tokens of every answer
        logps += table[prefixes // V, prefixes % V]
    optimal = logps + tree.rewards / check_alpha(alpha)
    optimal -= np.logaddexp.reduce(optimal)
    # The answers through one prefix are neighbours: V**(T - t) of them.
    return [np.logaddexp.reduce(optimal.reshape(V**t, -1), axis=1) for t in range(T + 1)]


def verify_constant_shift(
    tree: TokenTree,
    alpha: float,
    group_size: int,
    prefix_sampler: Tables | None = None,
    seed: int = 0,
) -> Certificate:
    """Theorem 2: a free V_theta that minimises the group objective equals V up to one constant per
    depth.

    At every t, V_theta starts at zero and at two random points, and is fitted under exact
    expectations over groups of K = `group_size` prefixes. `max_abs_error` is the largest spread
    (max - min over prefixes of one depth) of V_theta - V, nats. Also measured, over all depths:

    - `gradient_norm_at_shifted_optimum`: the gradient at V + c_t for random c_t, relative to
      V_theta = 0;
    - `smallest_increase`: by how much the loss grows, relative to its curvature's scale, when the
      fit is disturbed in random directions; positive at a minimum;
    - `pinned_error`: written through a policy, V_theta satisfies E_ref[e^{V_theta}] = 1 at every
      depth. That pins the shift to -log Z; this is the largest error of the pinned V_theta against
      V - log Z, nats;
    - `credit_error`: of the step credits read off the pinned V_theta, nats.

    `prefix_sampler`: tables of another policy that proposes the prefixes; completions still follow
    pi_ref, and the theorem still holds. A depth that float64 cannot decide (values that span more
    than 20,000 nats, or a fit that rounding moves by more than the limit) has no row: `undecided`
    says why. Source: GN-IVO, Theorem 3.2; poster, Eq. 8.
    """
    if group_size < 2:
        raise ValueError(f"group_size must be at least 2, got {group_size}")
    rng = np.random.default_rng(seed)
    solution = solve(tree, alpha)
    optimal_logps = marginal_optimal_logps(tree, alpha)
    laws = tree.prefix_logps if prefix_sampler is None else prefix_log_law(prefix_sampler)
    table: list[Row] = []
    pinned: dict[int, Array] = {0: np.zeros(1)}
    gradients_at_shift, gradients_at_zero, undecided = [0.0], [0.0], []
    for t in range(1, tree.horizon + 1):
        reachable = tree.reachable(t)
        value = solution.values[t][reachable]
        # The mean weight E[e^{R/alpha} | prefix], Z pi*(prefix)/pi_ref(prefix), comes from complete
        # answers and not from the V that it is compared with. A constant factor moves no minimiser:
        # the largest weight is taken out.
        log_weight = optimal_logps[t][reachable] - tree.prefix_logps[t][reachable]
        target = log_weight - log_weight.max()
        law = normalised(laws[t][reachable])
        objective = GroupObjective.from_logs(law, target, group_size=group_size, log_total=target)
        starts = [np.zeros_like(value), *(2 * rng.standard_normal((2, len(value))))]
        shifted = value + rng.uniform(-3, 3)
        fits, why = fits_of(objective, starts, value=value)
        if why:
            undecided.append(f"t = {t}: values over {spread(value):.3g} nats, {why}")
            continue
        gradients_at_shift.append(greatest(objective.gradient(shifted)))
        gradients_at_zero.append(greatest(objective.gradient(np.zeros_like(value))))
        # V_theta = log pi_theta/pi_ref of a policy has E_ref[e^{V_theta}] = 1, which fixes the
        # constant.
        reference_law = np.exp(tree.prefix_logps[t][reachable])
        pinned[t] = np.full(len(solution.values[t]), np.nan)
        pinned[t][reachable] = fits[0] - log_mean_exp(tree.prefix_logps[t][reachable], fits[0])
        table.append(
            {
                "t": t,
                "prefixes": len(reachable),
                "spread": greatest([spread(fit - value) for fit in fits]),
                "shift": float(reference_law @ (pinned[t][reachable] - value)),
                "smallest increase": smallest_increase(objective, fits[0], rng),
                "pinned error": greatest(pinned[t][reachable] - (value - solution.log_z)),
            }
        )
    worst = greatest([row["spread"] for row in table] or [0.0])
    # Where V is flat, V_theta = 0 is already optimal and there is no gradient to be relative to.
    scale = greatest(gradients_at_zero) if greatest(gradients_at_zero) > SMALLEST_SCALE else 1.0
    measures = {
        "group_size": group_size,
        "gradient_norm_at_shifted_optimum": greatest(gradients_at_shift) / scale,
        "smallest_increase": float(np.min([row["smallest increase"] for row in table] or [0.0])),
        "pinned_error": greatest([row["pinned error"] for row in table] or [0.0]),
        "credit_error": _credit_error(tree, solution, pinned=pinned),
    }
    return Certificate(
        claim=(
            f"Theorem 2: V_theta = V + one constant per depth (alpha {alpha:g}, groups of "
            f"{group_size})"
        ),
        passed=worst <= SPREAD_LIMIT
        and measures["gradient_norm_at_shifted_optimum"] <= GRADIENT_LIMIT
        and measures["smallest_increase"] >= INCREASE_LIMIT
        and measures["pinned_error"] <= SPREAD_LIMIT
        and measures["credit_error"] <= SPREAD_LIMIT,
        max_abs_error=worst,
        limit=SPREAD_LIMIT,
        prefixes=sum(row["prefixes"] for row in table),
        table=table,
        measures=measures,
        undecided=undecided,
    )


def _credit_error(tree: TokenTree, solution: Solution, pinned: dict[int, Array]) -> float:
    """Largest error of the credits V_theta(s_t) - V_theta(s_{t-1}) of the pinned V_theta, nats."""
    errors = [0.0]
    for t in range(1, tree.horizon + 1):
        if not {t - 1, t} <= pinned.keys():
            continue
        reachable = tree.reachable(t)
        parents = reachable // tree.vocab_size
        learned = pinned[t][reachable] - pinned[t - 1][parents]
        credit = solution.values[t][reachable] - solution.values[t - 1][parents]
        errors.append(greatest(learned - credit))
    return greatest(errors)
