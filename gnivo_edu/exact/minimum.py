"""Whether a fit of a free V_theta is a minimum, and whether float64 determines it."""

from __future__ import annotations

import numpy as np

from gnivo_edu.exact.groups import MAX_RANGE, GroupObjective
from gnivo_edu.exact.measures import SPREAD_LIMIT, greatest, log_mean_exp, spread
from gnivo_edu.exact.tree import Array

ALONE = 1e-16  # share of the mass that a prefix which holds all but rounding leaves to the others
PROBE = 1e-8  # relative disturbance of the targets that shows how far rounding can move a fit


def fits_of(
    objective: GroupObjective, starts: list[Array], value: Array
) -> tuple[list[Array], str | None]:
    """The fit from every start, and why float64 cannot decide by them whether they are `value`, or
    None. Where `value` itself misses the equations of the fit, that decides.
    """
    if spread(value) > MAX_RANGE:
        return [], f"and a free V_theta is fitted up to {MAX_RANGE:,.0f}"
    try:
        fits = [objective.fit(start) for start in starts]
    except (RuntimeError, ValueError) as error:
        if not np.isfinite(objective.log_targets).all():
            raise
        fits, why = [], str(error)
    else:
        if greatest([spread(fit - value) for fit in fits]) <= SPREAD_LIMIT:
            return fits, None
        # A rare prefix may be all that ties the others to the highest: then the equations hardly
        # move with V_theta, and their rounding moves it far. How far shows on disturbed targets.
        moved = _rounding_of_fit(objective, fits[0])
        if moved <= greatest([spread(fit - value) for fit in fits]):
            return fits, None
        why = f"and rounding moves the fit by up to {moved:.0e} nats"
    miss = objective.residual(value)
    if greatest(miss) > SPREAD_LIMIT:
        return [value + miss], None
    return [], why


def _rounding_of_fit(objective: GroupObjective, fit: Array) -> float:
    """How far the rounding of targets and values moves a fit: largest spread, nats."""
    signs = np.where(np.arange(len(fit)) % 2 == 0, PROBE, -PROBE)
    worst = 0.0
    for disturbance in (signs, np.where(np.argsort(np.argsort(fit)) % 2 == 0, PROBE, -PROBE)):
        # Targets that no V_theta meets in sum are scaled to the sum that every V_theta meets.
        mass = objective.log_probabilities + objective.log_targets
        lost = log_mean_exp(mass, disturbance) - np.logaddexp.reduce(mass)
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


def smallest_increase(objective: GroupObjective, fit: Array, rng: np.random.Generator) -> float:
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
