"""Exact expectations over groups of K, without listing a group; the fit of a free V_theta.

K prefixes of one depth are drawn independently with probabilities p. With S the sum of e^{v} over
the group, 1/S = integral over s > 0 of e^{-sS} ds, and e^{-sS} is a product over the group, so an
expectation over groups becomes a one-dimensional integral of products of expectations over one
prefix. With s = e^u the integrand is smooth and decays doubly exponentially on the right, so the
trapezoid rule with step 1/4 is exact to below 1e-12 (relative)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.exact.group_integrals import LEFT, RIGHT, STEP, GroupIntegrals
from gnivo_edu.exact.tree import Array

DAMPING = (0.0, 1e-3, 1e-2, 1e-1)  # of Newton's step, one after the other until it helps
MAX_RANGE = 20_000.0  # nats between the largest and the smallest value of a fit
MAX_LOSS_RANGE = 600.0  # nats: beyond it e^V leaves float64, and with it the loss
LARGEST_EXPONENT = 50.0  # e^{-e^50} is 0 in float64, and so is it times e^50


class GroupObjective:
    """The group-normalised objective at one depth, its expectation over groups of K taken exactly.

    L(v) = E_group[ - sum_i weight_i (v_i - log sum_j e^{v_j}) ], v float64 [n] in nats, one entry
    per prefix.

    `probabilities` [n]: law of one prefix. `targets` [n]: E[weight_1 | prefix 1 = k]. `total`: how
    the sum of the weights of a group depends on its prefixes: `targets` themselves for raw weights
    e^{R/alpha} (each weight depends on its own prefix only), None for group-normalised weights
    (they sum to one). `from_logs` takes the logarithms of all three.

    Source: poster of GN-IVO, Eq. 8 (explicit V_theta).
    """

    def __init__(
        self, probabilities: Array, targets: Array, group_size: int, total: Array | None
    ) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            self.log_probabilities = np.log(probabilities)
            self.log_targets = np.log(targets)
            self.log_total = None if total is None else np.log(total)
        self.group_size = group_size

    @classmethod
    def from_logs(
        cls,
        log_probabilities: Array,
        log_targets: Array,
        group_size: int,
        log_total: Array | None,
    ) -> GroupObjective:
        """The objective of logarithms, nats: for weights and probabilities that leave float64."""
        objective = cls.__new__(cls)
        objective.log_probabilities = log_probabilities
        objective.log_targets = log_targets
        objective.log_total = log_total
        objective.group_size = group_size
        return objective

    @property
    def probabilities(self) -> Array:
        """Law of one prefix, [n]."""
        return np.exp(self.log_probabilities)

    @property
    def targets(self) -> Array:
        """E[weight_1 | prefix 1 = k], [n]."""
        return np.exp(self.log_targets)

    def log_model(self, v: Array) -> Array:
        """log E[W q_1 | prefix 1 = k], float64 [n], nats.

        W is the sum of the group's weights, q the softmax of v over the group.
        """
        ratio = self._integrals(v).log_ratio
        return ratio if self.log_total is None else ratio + self.log_total

    def model(self, v: Array) -> Array:
        """E[W q_1 | prefix 1 = k], float64 [n]."""
        return np.exp(self.log_model(v))

    def residual(self, v: Array) -> Array:
        """log target - log model, float64 [n], nats; 0 at the minimum."""
        return self._residual(self._integrals(v))

    def gradient(self, v: Array) -> Array:
        """dL/dv_k divided by K p_k, float64 [n]: model_k - target_k.

        Without the division, the gradient of a rare prefix would be small whether it fits or not.
        """
        target, residual = self.targets, self.residual(v)
        # Near the minimum the difference keeps its digits; far from it, it could leave float64.
        near = target * np.expm1(np.minimum(-residual, 1.0))
        return np.where(residual > -1, near, np.exp(self.log_targets - residual) - target)

    def loss(self, v: Array) -> float:
        """L(v), in the unit of the weights times nats. Raises ValueError above 600 nats."""
        p, K = self.probabilities, self.group_size
        # L = E[W log S] - K E[weight_1 v_1], where log S = integral of (e^{-s} - e^{-sS})/s ds.
        # With s = e^u the division by s goes into du. The grid must cover e^{-s} too: v = 0.
        u = _grid(np.append(v, 0.0))
        decay = _decay(u + v[:, None])  # e^{-s e^v}, [n, u]
        phi = p @ decay  # E[e^{-s e^v}] over one prefix: one factor of E[e^{-sS}]
        mean_weight, weighted_decay = 1.0, phi**K  # E[W] and E[W e^{-sS}] where W = 1
        if self.log_total is not None:  # W is a sum over the group, one weight to each member
            total = np.exp(self.log_total)
            mean_weight = K * float(p @ total)
            weighted_decay = K * ((p * total) @ decay) * phi ** (K - 1)
        mean_log_sum = STEP * np.sum(mean_weight * _decay(u) - weighted_decay)
        return float(mean_log_sum - K * (p * self.targets) @ v)

    def fit(self, start: Array, tolerance: float = 1e-13, max_iterations: int = 100) -> Array:
        """Minimise L from `start` by Newton's method on log target - log model, the residual.

        Returns v float64 [n], nats. The residual falls to `tolerance`, or to what rounding makes of
        the largest value. Raises RuntimeError if it does not fall below 1e-9.
        """
        if not (self.log_targets > -np.inf).all():  # nan included
            raise ValueError("a free V_theta needs targets above 0: give their logarithms")
        v = np.array(start, dtype=np.float64)
        floor = max(tolerance, 4 * float(np.spacing(np.ptp(self.log_targets))))
        integrals = self._integrals(v)
        residual = self._residual(integrals)
        for _ in range(max_iterations):
            size = float(np.abs(residual).max())
            if size < floor:
                break
            least, best = np.inf, (v, residual, integrals)
            for step in _steps(integrals, residual):
                trial = self._integrals(v + step)
                new_residual = self._residual(trial)
                new_size = float(np.abs(new_residual).max())
                if new_size < least:
                    least, best = new_size, (v + step, new_residual, trial)
                if least < 0.9 * size:
                    break
            # Rounding is reached: the residual is small and no step halves it any more.
            if size < 1e-9 and least > 0.5 * size:
                break
            v, residual, integrals = best
        if not size <= 1e-9:  # nan included
            raise RuntimeError(f"the fit of V_theta stopped with a residual of {size:.1e} nats")
        return v

    def _integrals(self, v: Array) -> GroupIntegrals:
        _check_range(v, limit=MAX_RANGE)
        return GroupIntegrals(
            self.log_probabilities, v, group_size=self.group_size, log_weights=self.log_total
        )

    def _residual(self, integrals: GroupIntegrals) -> Array:
        if self.log_total is None:
            return self.log_targets - integrals.log_ratio
        return (self.log_targets - self.log_total) - integrals.log_ratio


def _steps(integrals: GroupIntegrals, residual: Array) -> Iterator[Array]:
    """Newton's step, then shorter ones towards `residual`, the step of the fixed point v + log
    target - log model: that one always moves the right way and removes large residuals at once, but
    small ones slowly.
    """
    if float(np.abs(residual).max()) < 0.5:
        for damping in DAMPING:
            yield np.clip(integrals.newton_step(residual, damping=damping), -4.0, 4.0)
    yield residual


def _check_range(values: Array, limit: float) -> None:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low) or high - low > limit:
        raise ValueError(
            f"the values span {high - low:.3g} nats, above the limit of {limit:,.0f}: raise alpha "
            f"at least {(high - low) / limit:.2g}-fold"
        )


def _grid(values: Array) -> Array:
    """Points u = log s that cover every e^{-s e^v} from within 1e-17 of one down to 1e-17."""
    _check_range(values, limit=MAX_LOSS_RANGE)
    return np.arange(-values.max() - LEFT, -values.min() + RIGHT + STEP, STEP)


def _decay(z: Array) -> Array:
    """e^{-e^z}."""
    return np.exp(-np.exp(np.minimum(z, LARGEST_EXPONENT)))
