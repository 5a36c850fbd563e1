"""Both theorems of GN-IVO, checked to machine precision on an enumerated tree."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike

from gnivo_edu.exact.certificate import Certificate, Row
from gnivo_edu.exact.groups import MAX_RANGE, GroupObjective
from gnivo_edu.exact.solution import Solution, check_alpha, solve
from gnivo_edu.exact.tree import Array, Tables, TokenTree, prefix_log_law

THEOREM_1_LIMIT = 1e-10  # nats, or more where the largest number compared makes rounding larger
SPREAD_LIMIT = 1e-7  # nats
GRADIENT_LIMIT = 1e-10  # relative to the gradient at V_theta = 0
SMALLEST_SCALE = 1e-5  # of that gradient: below it rounding, 1e-16, would not be small beside it
INCREASE_LIMIT = -1e-10  # the loss may fall by so much of its curvature's scale: rounding
ALONE = 1e-16  # share of the mass that a prefix which holds all but rounding leaves to the others
PROBE = 1e-8  # relative disturbance of the targets that shows how far rounding can move a fit
INDEX_LIMIT = 1e-12  # of each measure of `index_question`
MAX_GROUPS = 10**6


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
    worst = _size([row["largest error"] for row in table])
    # Every number compared is rounded once a step, and each time by at most its own size.
    possible = tree.prefix_logps[-1][tree.reachable(tree.horizon)]
    largest = _size(solution.values[-1]) + _size(possible)
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
        law = _normalised(laws[t][reachable])
        objective = GroupObjective.from_logs(law, target, group_size=group_size, log_total=target)
        starts = [np.zeros_like(value), *(2 * rng.standard_normal((2, len(value))))]
        shifted = value + rng.uniform(-3, 3)
        fits, why = _fits(objective, starts, value=value)
        if why:
            undecided.append(f"t = {t}: values over {spread(value):.3g} nats, {why}")
            continue
        gradients_at_shift.append(_size(objective.gradient(shifted)))
        gradients_at_zero.append(_size(objective.gradient(np.zeros_like(value))))
        # V_theta = log pi_theta/pi_ref of a policy has E_ref[e^{V_theta}] = 1, which fixes the
        # constant.
        reference_law = np.exp(tree.prefix_logps[t][reachable])
        pinned[t] = np.full(len(solution.values[t]), np.nan)
        pinned[t][reachable] = fits[0] - _log_mean_exp(tree.prefix_logps[t][reachable], fits[0])
        table.append(
            {
                "t": t,
                "prefixes": len(reachable),
                "spread": _size([spread(fit - value) for fit in fits]),
                "shift": float(reference_law @ (pinned[t][reachable] - value)),
                "smallest increase": _smallest_increase(objective, fits[0], rng),
                "pinned error": _size(pinned[t][reachable] - (value - solution.log_z)),
            }
        )
    worst = _size([row["spread"] for row in table] or [0.0])
    # Where V is flat, V_theta = 0 is already optimal and there is no gradient to be relative to.
    scale = _size(gradients_at_zero) if _size(gradients_at_zero) > SMALLEST_SCALE else 1.0
    measures = {
        "group_size": group_size,
        "gradient_norm_at_shifted_optimum": _size(gradients_at_shift) / scale,
        "smallest_increase": float(np.min([row["smallest increase"] for row in table] or [0.0])),
        "pinned_error": _size([row["pinned error"] for row in table] or [0.0]),
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


def _fits(
    objective: GroupObjective, starts: list[Array], value: Array
) -> tuple[list[Array], str | None]:
    """The fit from every start, and why float64 cannot decide by them, or None."""
    if spread(value) > MAX_RANGE:
        return [], f"and a free V_theta is fitted up to {MAX_RANGE:,.0f}"
    try:
        fits = [objective.fit(start) for start in starts]
    except (RuntimeError, ValueError) as error:
        if not np.isfinite(objective.log_targets).all():
            raise
        return [], str(error)
    worst = _size([spread(fit - value) for fit in fits])
    # A rare prefix may be all that ties the others to the highest: then the equations hardly move
    # with V_theta, and their rounding moves it far. How far shows on targets that are disturbed.
    if worst > SPREAD_LIMIT:
        moved = _rounding_of_fit(objective, fits[0])
        if moved > worst:
            return [], f"and rounding moves the fit by up to {moved:.0e} nats"
    return fits, None


def _rounding_of_fit(objective: GroupObjective, fit: Array) -> float:
    """How far the rounding of targets and values moves a fit: largest spread, nats."""
    signs = np.where(np.arange(len(fit)) % 2 == 0, PROBE, -PROBE)
    worst = 0.0
    for disturbance in (signs, np.where(np.argsort(np.argsort(fit)) % 2 == 0, PROBE, -PROBE)):
        # Targets that no V_theta meets in sum are scaled to the sum that every V_theta meets.
        mass = objective.log_probabilities + objective.log_targets
        lost = _log_mean_exp(mass, disturbance) - np.logaddexp.reduce(mass)
        disturbed = GroupObjective.from_logs(
            objective.log_probabilities,
            objective.log_targets + disturbance - lost,
            group_size=objective.group_size,
            log_total=objective.log_total,
        )
        try:
            worst = max(worst, spread(disturbed.fit(fit) - fit))
        except RuntimeError:
            return float("inf")
    rounding = 1e-12 + 80 * float(np.spacing(spread(fit)))
    return worst / PROBE * rounding


def index_question(tree: TokenTree, alpha: float, t: int, group_size: int) -> Certificate:
    """The poster sums its targets from j = 1 and its model from j = 0: which is meant?

    Answered on every group of K prefixes of depth t, for each reading of the targets p_i = e^{V_i}
    / sum_j e^{V_j} and of the model q_i = e^{V_theta,i} / sum_j e^{V_theta,j}:

    - `targets sum to`: the mean over groups of sum_i p_i, which must be 1 for p = q to have a
      solution;
    - `spread of log C`: of log(sum_j e^{V_theta,j} / sum_j e^{V_j}) over groups at V_theta = V.
      Theorem 2 needs one constant, that is 0;
    - `gradient at V`: of the loss, relative to V_theta = 0. The factor sum_j e^{V_j} in front
      cancels the targets' denominator, so the targets' index does not move the minimiser; the
      model's index does.

    The certificate passes if j = 0 in both, and no other reading, meets all three. Refuses more
    than a million groups."""
    reachable = tree.reachable(t)
    value = solve(tree, alpha).values[t][reachable]
    law = np.exp(_normalised(tree.prefix_logps[t][reachable]))
    if len(value) ** group_size > MAX_GROUPS:
        raise ValueError(
            f"{len(value)}**{group_size} groups are too many to list: take a smaller t or group"
        )
    groups = np.array(list(itertools.product(range(len(value)), repeat=group_size)))
    probability = law[groups].prod(axis=1)
    weights = np.exp(value - value.max())[groups]

    def gradient(v: Array, model_from: int) -> float:
        """Largest entry of the gradient of E[-sum_i w_i (v_i - log sum_{j >= model_from} e^{v_j})].

        Of one group, entry i is w's sum times q_i, minus w_i; a prefix may be drawn more than once.
        """
        exponentials = np.exp(v)[groups]
        q = exponentials / exponentials[:, model_from:].sum(axis=1, keepdims=True)
        q[:, :model_from] = 0.0
        entries = probability[:, None] * (weights.sum(axis=1, keepdims=True) * q - weights)
        return _size(np.bincount(groups.ravel(), entries.ravel()).astype(np.float64))

    rows: list[Row] = []
    for target_from, model_from in ((0, 0), (1, 0), (1, 1), (0, 1)):
        target_sum = weights[:, target_from:].sum(axis=1)
        model_sum = weights[:, model_from:].sum(axis=1)
        gradient_at_zero = gradient(np.zeros_like(value), model_from)
        rows.append(
            {
                "targets from j": target_from,
                "model from j": model_from,
                "targets sum to": float(probability @ (weights.sum(axis=1) / target_sum)),
                "spread of log C": spread(np.log(model_sum / target_sum)),
                "gradient at V": gradient(value, model_from) / gradient_at_zero,
            }
        )
    consistent = [
        abs(row["targets sum to"] - 1) < INDEX_LIMIT
        and row["spread of log C"] < INDEX_LIMIT
        and row["gradient at V"] < INDEX_LIMIT
        for row in rows
    ]
    return Certificate(
        claim=(
            f"The sums run from j = 0 in the targets and in the model (t = {t}, groups of "
            f"{group_size})"
        ),
        passed=consistent == [True, False, False, False],
        max_abs_error=rows[0]["gradient at V"],
        limit=INDEX_LIMIT,
        prefixes=len(value),
        table=rows,
    )


def spread(values: Array) -> float:
    """Largest minus smallest."""
    return float(values.max() - values.min())


def _normalised(logps: Array) -> Array:
    """Log-probabilities that sum to one."""
    return logps - np.logaddexp.reduce(logps)


def _log_mean_exp(log_law: Array, values: Array) -> float:
    return float(np.logaddexp.reduce(log_law + values))


def _size(values: ArrayLike) -> float:
    # numpy's maximum, unlike Python's, does not pass over a nan: a check cannot hold by one.
    return float(np.abs(values).max())


def _smallest_increase(objective: GroupObjective, fit: Array, rng: np.random.Generator) -> float:
    """min over random directions d, both signs, of (L(fit + d) - L(fit)) / E[weights d^2].

    0 for a single prefix, which has no direction but the common shift.
    """
    if len(fit) == 1:
        return 0.0
    log_mass = objective.log_probabilities + objective.log_targets
    top = int(log_mass.argmax())
    others = np.delete(log_mass, top)
    mass = np.exp(log_mass - log_mass.max())
    center = mass / mass.sum()
    if np.logaddexp.reduce(others) - log_mass[top] < np.log(ALONE):
        # One prefix holds all the mass but for rounding: it stays where it is, and the scale is
        # that of the others.
        mass, center = np.exp(np.minimum(log_mass - others.max(), 0.0)), np.zeros_like(mass)
        mass[top], center[top] = 0.0, 1.0
    # L(fit + d) - L(fit) is the integral of d times the gradient on the way. Two losses would leave
    # their rounding in the difference: where d has little mass, that is all one would see.
    positions, lengths = np.polynomial.legendre.leggauss(3)
    increases = []
    for direction in 0.1 * rng.standard_normal((2, len(fit))):
        direction -= center @ direction  # a common shift changes nothing
        for d in (direction, -direction):
            slopes = [
                (mass * d) @ np.expm1(-objective.residual(fit + (1 + x) / 2 * d)) for x in positions
            ]
            rise = objective.group_size * float(lengths @ slopes) / 2
            increases.append(rise / float(mass @ d**2))
    return float(np.min(increases))


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
        errors.append(_size(learned - credit))
    return _size(errors)
