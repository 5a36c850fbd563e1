"""Whether a fit of a free V_theta is a minimum, and whether float64 determines it."""

from __future__ import annotations

import numpy as np

from gnivo_edu.exact.groups import MAX_RANGE, GroupObjective
from gnivo_edu.exact.measures import SPREAD_LIMIT, greatest, spread
from gnivo_edu.exact.tree import Array

ALONE = 1e-16  # share of the mass that a prefix which holds all but rounding leaves to the others
SOLVED = 1e-9  # nats; the equations of a fit are met


def fits_of(
    objective: GroupObjective, starts: list[Array], value: Array
) -> tuple[list[Array], str | None]:
    """The fit from every start, and why float64 cannot decide by them whether they are `value`, or
    None.

    The loss is convex, so that two solutions that lie apart are rounding's: that is so where a rare
    prefix alone ties the others to the highest. A `value`, or a fit, that misses the equations is
    no question of rounding: then `value` and what it misses by stand for a fit that is missing.
    """
    if spread(value) > MAX_RANGE:
        return [], f"and a free V_theta is fitted up to {MAX_RANGE:,.0f}"
    try:
        fits, why = [objective.fit(start) for start in starts], ""
    except (RuntimeError, ValueError) as error:
        if not np.isfinite(objective.log_targets).all():
            raise
        fits, why = [], str(error)
    apart = greatest([spread(fit - value) for fit in fits] or [0.0])
    if fits and apart <= SPREAD_LIMIT:
        return fits, None
    miss = objective.residual(value)
    if greatest(miss) > SOLVED:
        return fits or [value + miss], None
    if any(greatest(objective.residual(fit)) > SOLVED for fit in fits):
        return fits, None
    return [], why or f"and V_theta {apart:.0e} nats away meets the equations as well as V does"


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
    least = float(np.min(increases))
    # Rounding of the values moves a slope by about as much, which an average over d = 0.1 shows.
    rounding = 40 * objective.group_size * float(np.spacing(spread(fit)))
    return least if abs(least) > rounding else 0.0
