"""Exact expectations over groups of K, for any K, without enumerating a group; and the fit of a
free V_theta.

K prefixes of one depth are drawn independently with probabilities p. With S the sum of e^{v} over
the group, 1/S = integral over s > 0 of e^{-sS} ds, and e^{-sS} is a product over the group, so an
expectation over groups becomes a one-dimensional integral of products of expectations over one
prefix. With s = e^u the integrand is smooth and decays doubly exponentially on the right, so the
trapezoid rule with step 1/4 is exact to about 1e-16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnivo_edu.exact.tree import Array

STEP = 0.25
MAX_RANGE = 600.0  # nats between the largest and the smallest value; beyond it e^V leaves float64


def _grid(values: Array) -> Array:
    """Points u = log s that cover every e^{-s e^v} from where it is 1 - 1e-17 to where it is
    1e-17.
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low) or high - low > MAX_RANGE:
        raise ValueError(
            f"the values span {high - low:.3g} nats, and a free V_theta can be fitted up to "
            f"{MAX_RANGE:.0f}: "
            f"raise alpha at least {(high - low) / MAX_RANGE:.2g}-fold"
        )
    return np.arange(-high - 39.0, -low + 4.0 + STEP, STEP)


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
        """E[W q_1 | prefix 1 = k], float64 [n]: W the sum of the group's weights, q the softmax of
        v over it.
        """
        return self._integrals(v)[0]

    def gradient(self, v: Array) -> Array:
        """dL/dv_k divided by K p_k: model_k - target_k, float64 [n]. Every coordinate is scaled by
        its own mass.
        """
        return self.model(v) - self.targets

    def loss(self, v: Array) -> float:
        """L(v), by log S = integral of (e^{-s} - e^{-sS})/s ds; in the unit of the weights times
        nats.
        """
        p, K, w = self.probabilities, self.group_size, self._weights()
        u = _grid(np.append(v, 0.0))
        decay = np.exp(-np.exp(np.minimum(u + v[:, None], 50.0)))
        phi, psi = p @ decay, (p * w) @ decay
        share = K * (p @ w) if self.total is not None else 1.0
        weighted = K * psi * phi ** (K - 1) if self.total is not None else phi**K
        log_sum = STEP * np.sum(share * np.exp(-np.exp(np.minimum(u, 50.0))) - weighted)
        return float(log_sum - K * (p * self.targets) @ v)

    def fit(self, start: Array, tolerance: float = 1e-12, max_iterations: int = 100) -> Array:
        """Minimise L from `start`: Newton steps on the residual, each solved by conjugate
        gradients.

        Returns v float64 [n], nats. Raises RuntimeError if the residual does not fall below 1e-9.
        """
        if not (self.targets > 0).all():
            raise ValueError(
                f"R/alpha spans more than {MAX_RANGE:.0f} nats, too much to fit a free V_theta: "
                "raise alpha"
            )
        v = np.array(start, dtype=np.float64)
        integrals, mass = self._integrals(v), self.probabilities * self.targets
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
            if size < 1e-9 and float(np.abs(new_residual).max()) > 0.5 * size:
                break
            v, residual = trial, new_residual
        if size > 1e-9:
            raise RuntimeError(f"the fit of V_theta stopped with a residual of {size:.1e} nats")
        return v

    def _weights(self) -> Array:
        return np.ones_like(self.targets) if self.total is None else self.total

    def _integrals(self, v: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
        """Model E[W q_1 | prefix 1 = k] and what the Newton step needs of the same integrals."""
        p, K = self.probabilities, self.group_size
        z = np.minimum(_grid(v) + v[:, None], 50.0)
        scale = np.exp(z)
        density = np.exp(
            z - scale
        )  # s e^v e^{-s e^v}, the factor of the member that is singled out
        decay = np.exp(-scale)
        phi = p @ decay
        if self.total is None:
            own, others = np.zeros_like(v), phi ** (K - 1)
        else:
            own, others = self.total, (K - 1) * ((p * self.total) @ decay) * phi ** (K - 2)
        alone = own[:, None] * phi ** (K - 1) + others
        model = STEP * np.sum(density * alone, axis=1)
        diagonal = STEP * np.sum(density * scale * alone, axis=1)
        return model, (density, phi, decay, diagonal)

    def _newton_step(
        self, residual: Array, model: Array, kernel: tuple[Array, Array, Array, Array]
    ) -> Array:
        """Solve (I - J) step = residual, J_kl = E[W q_1 (member l's share) | prefix 1 = k] /
        model_k.

        D (I - J) with D = diag(p * model) is the Hessian of L / K: symmetric, with the constants as
        null space."""
        density, phi, decay, diagonal = kernel
        p, K, w = self.probabilities, self.group_size, self._weights()
        if self.total is None:
            pair, cross = phi ** (K - 2), None
        else:
            pair = phi ** (K - 2)
            cross = (K - 2) * ((p * w) @ decay) * phi ** max(K - 3, 0)
        mass = p * model

        def hessian(d: Array) -> Array:
            plain = (p * d) @ density
            if cross is None:
                mixed = density @ (pair * plain)
            else:
                heavy = (p * w * d) @ density
                mixed = w * (density @ (pair * plain)) + density @ (pair * heavy + cross * plain)
            return mass * d - p * (diagonal * d + STEP * (K - 1) * mixed)

        # The constants are the null space: keep them out of the right side and of the step.
        step = _conjugate_gradients(hessian, mass * (residual - mass @ residual / mass.sum()), mass)
        return step - mass @ step / mass.sum()


def _conjugate_gradients(matrix, right: Array, diagonal: Array, tolerance: float = 1e-3) -> Array:  # type: ignore[no-untyped-def]
    """Preconditioned conjugate gradients for a symmetric positive semi-definite matrix given as a
    function.
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
        if curvature <= 0:
            break
        step = rz / curvature
        x += step * d
        r -= step * hd
        z = r / diagonal
        rz, old = float(r @ z), rz
        d = z + (rz / old) * d
    return x
