"""Exact expectations over groups of K, without listing a group; the fit of a free V_theta.

K prefixes of one depth are drawn independently with probabilities p. With S the sum of e^{v} over
the group, 1/S = integral over s > 0 of e^{-sS} ds, and e^{-sS} is a product over the group, so an
expectation over groups becomes a one-dimensional integral of products of expectations over one
prefix. With s = e^u the integrand is smooth and decays doubly exponentially on the right, so the
trapezoid rule with step 1/4 is exact to below 1e-12 (relative)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gnivo_edu.exact.tree import Array

STEP = 0.25
MAX_RANGE = 600.0  # nats between the largest and the smallest value; beyond it e^V leaves float64
LARGEST_EXPONENT = 50.0  # e^{-e^50} is 0 in float64, and so is it times e^50


@dataclass(frozen=True)
class GroupObjective:
    """The group-normalised objective at one depth, its expectation over groups of K taken exactly.

    L(v) = E_group[ - sum_i weight_i (v_i - log sum_j e^{v_j}) ], v float64 [n] in nats, one entry
    per prefix.

    `probabilities` [n]: law of one prefix. `targets` [n]: E[weight_1 | prefix 1 = k]. `total`: how
    the sum of the weights of a group depends on its prefixes: `targets` themselves for raw weights
    e^{R/alpha} (each weight depends on its own prefix only), None for group-normalised weights
    (they sum to one).

    Source: poster of GN-IVO, Eq. 8 (explicit V_theta).
    """

    probabilities: Array
    targets: Array
    group_size: int
    total: Array | None

    def model(self, v: Array) -> Array:
        """E[W q_1 | prefix 1 = k], float64 [n].

        W is the sum of the group's weights, q the softmax of v over the group.
        """
        return self._integrals(v)[0]

    def gradient(self, v: Array) -> Array:
        """dL/dv_k divided by K p_k, float64 [n]: model_k - target_k.

        Without the division, the gradient of a rare prefix would be small whether it fits or not.
        """
        return self.model(v) - self.targets

    def loss(self, v: Array) -> float:
        """L(v), in the unit of the weights times nats."""
        p, K = self.probabilities, self.group_size
        # L = E[W log S] - K E[weight_1 v_1], where log S = integral of (e^{-s} - e^{-sS})/s ds.
        # With s = e^u the division by s goes into du. The grid must cover e^{-s} too: v = 0.
        u = _grid(np.append(v, 0.0))
        decay = _decay(u + v[:, None])  # e^{-s e^v}, [n, u]
        phi = p @ decay  # E[e^{-s e^v}] over one prefix: one factor of E[e^{-sS}]
        mean_weight, weighted_decay = 1.0, phi**K  # E[W] and E[W e^{-sS}] where W = 1
        if self.total is not None:  # W is a sum over the group, one weight to each member
            mean_weight = K * float(p @ self.total)
            weighted_decay = K * ((p * self.total) @ decay) * phi ** (K - 1)
        mean_log_sum = STEP * np.sum(mean_weight * _decay(u) - weighted_decay)
        return float(mean_log_sum - K * (p * self.targets) @ v)

    def fit(self, start: Array, tolerance: float = 1e-12, max_iterations: int = 100) -> Array:
        """Minimise L from `start`: Newton steps, each solved by conjugate gradients.

        Returns v float64 [n], nats. Raises RuntimeError if the residual, log target - log model,
        does not fall below 1e-9.
        """
        if not (self.targets > 0).all():
            raise ValueError(
                f"R/alpha spans more than {MAX_RANGE:.0f} nats, too much to fit a free V_theta: "
                "raise alpha"
            )
        v = np.array(start, dtype=np.float64)
        mass = self.probabilities * self.targets
        integrals = self._integrals(v)
        residual = np.log(self.targets) - np.log(integrals[0])
        for _ in range(max_iterations):
            size = float(np.abs(residual).max())
            if size < tolerance:
                break
            # The fixed-point step v + log target - log model always moves the right way and removes
            # large residuals at once; small ones it removes slowly, where a Newton step, halved
            # until it helps, is fast.
            steps = [residual]
            if size < 0.5:
                newton = self._newton_step(residual, *integrals)
                newton *= min(1.0, 4.0 / max(float(np.abs(newton).max()), 1e-300))
                steps = [newton, newton / 2, newton / 4, newton / 8, residual]
            for step in steps:
                trial = v + step
                integrals = self._integrals(trial)
                new_residual = np.log(self.targets) - np.log(integrals[0])
                if mass @ new_residual**2 < 0.9 * (mass @ residual**2):
                    break
            # Rounding is reached: the residual is small and no step halves it any more.
            if size < 1e-9 and float(np.abs(new_residual).max()) > 0.5 * size:
                break
            v, residual = trial, new_residual
        if not size <= 1e-9:  # nan included
            raise RuntimeError(f"the fit of V_theta stopped with a residual of {size:.1e} nats")
        return v

    def _integrals(self, v: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
        """Model E[W q_1 | prefix 1 = k] and what the Newton step needs of the same integrals."""
        p, K = self.probabilities, self.group_size
        # q_1 = e^{v_1}/S = integral of s e^{v_1} e^{-sS} du: the factor of prefix 1 stands alone,
        # the others enter by their expectations.
        z = np.minimum(_grid(v) + v[:, None], LARGEST_EXPONENT)
        scale = np.exp(z)  # s e^v
        density = np.exp(z - scale)  # s e^v e^{-s e^v}
        decay = np.exp(-scale)
        phi = p @ decay
        rest = phi ** (K - 1)  # E[W e^{-s(S - e^{v_1})} | prefix 1 = k] where W = 1
        if self.total is not None:  # W: the weight of prefix 1 and those of the K - 1 others
            others = (K - 1) * ((p * self.total) @ decay) * phi ** (K - 2)
            rest = self.total[:, None] * rest + others
        model = STEP * np.sum(density * rest, axis=1)
        diagonal = STEP * np.sum(density * scale * rest, axis=1)  # E[W q_1^2 | prefix 1 = k]
        return model, (density, phi, decay, diagonal)

    def _newton_step(
        self, residual: Array, model: Array, kernel: tuple[Array, Array, Array, Array]
    ) -> Array:
        """Solve (I - J) step = residual, the linearised log target = log model.

        J_kl = E[W q_1 (the share of l in the group) | prefix 1 = k] / model_k. With D = diag(p *
        model), D (I - J) is the Hessian of L / K: symmetric, with the constants as null space.
        """
        density, phi, decay, diagonal = kernel
        p, K, w = self.probabilities, self.group_size, self.total
        # E[e^{-s ...}] over the K - 2 members of the group other than a pair (1, l).
        pair = phi ** (K - 2)
        if w is not None:  # and with the weights of those K - 2; at K = 2 there are none
            cross = (K - 2) * ((p * w) @ decay) * phi ** max(K - 3, 0)
        mass = p * model

        def hessian(d: Array) -> Array:
            # q_1 q_l = integral of s^2 e^{v_1 + v_l} e^{-sS} du: two densities, and the rest.
            plain = (p * d) @ density
            if w is None:
                mixed = density @ (pair * plain)
            else:  # W: the weight of prefix 1, of prefix l, of the others
                heavy = (p * w * d) @ density
                mixed = w * (density @ (pair * plain)) + density @ (pair * heavy + cross * plain)
            return mass * d - p * (diagonal * d + STEP * (K - 1) * mixed)

        # The constants are the null space: keep them out of the right side and of the step.
        right = mass * (residual - mass @ residual / mass.sum())
        step = _conjugate_gradients(hessian, right, diagonal=mass)
        return step - mass @ step / mass.sum()


def _grid(values: Array) -> Array:
    """Points u = log s that cover every e^{-s e^v} from within 1e-17 of one down to 1e-17."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low) or high - low > MAX_RANGE:
        raise ValueError(
            f"the values span {high - low:.3g} nats, and a free V_theta can be fitted up to "
            f"{MAX_RANGE:.0f}: raise alpha at least {(high - low) / MAX_RANGE:.2g}-fold"
        )
    return np.arange(-high - 39.0, -low + 4.0 + STEP, STEP)


def _decay(z: Array) -> Array:
    """e^{-e^z}."""
    return np.exp(-np.exp(np.minimum(z, LARGEST_EXPONENT)))


def _conjugate_gradients(
    matrix: Callable[[Array], Array], right: Array, diagonal: Array, tolerance: float = 1e-3
) -> Array:
    """Solve matrix(x) = right, the matrix symmetric and positive semi-definite.

    Preconditioned by `diagonal`; stops once the preconditioned residual has shrunk to `tolerance`
    of itself, which is enough for a Newton step that will be taken again.
    """
    x = np.zeros_like(right)
    r = right.copy()
    z = r / diagonal
    d, rz = z.copy(), float(r @ z)
    goal = tolerance**2 * rz
    for _ in range(200):
        if rz <= goal:
            break
        hd = matrix(d)
        curvature = float(d @ hd)
        if curvature <= 0:  # only by rounding, along the null space
            break
        step = rz / curvature
        x += step * d
        r -= step * hd
        z = r / diagonal
        rz_before, rz = rz, float(r @ z)
        d = z + (rz / rz_before) * d
    return x
