"""The integral over s behind an expectation over groups, at any range of values.

With z = log s + v, one prefix enters by e^{-e^z}: 1 below z = -39, 0 above z = 4. The values are
sorted and cut into blocks of at most 40 nats; each block meets the stretch of the grid where its
factors are neither 0 nor 1, so the work does not grow with the square of the range."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from gnivo_edu.exact.tree import Array

STEP = 0.25
LEFT, RIGHT = 39.0, 4.0  # e^{-e^z} is 1 below z = -LEFT and 0 above RIGHT, to 1e-17
BLOCK_RANGE = 40.0  # nats: within a block nothing underflows that would count
LEAST_LOG_CHANCE = -690.0  # nats: e^-690 is a number, with room for a factor
FAR = 300.0  # nats: e^FAR and its square are numbers
DENSE = 512  # up to so many prefixes, Newton's equation may be solved as a dense matrix
FEW, MANY = 12, 60  # directions of GMRES: before the dense matrix is taken, and without one
LARGE_GROUP = 1000  # from here on the rounding of 1 - e^{-x} would show in a power K of it


@dataclass
class _Block:
    """Neighbours in the order of their values, and their stretch of the grid."""

    members: slice
    grid: slice
    decay: Array  # e^{-s e^v}, [members, grid]
    scale: Array  # s e^v
    density: Array  # s e^v e^{-s e^v}


class GroupIntegrals:
    """log E[W q_1 | prefix 1 = k] - log w_k at values `v`, and its derivative.

    q is the softmax of v over a group of K, W the sum of its weights w = e^{log_weights}; with
    `log_weights` None, W and w are 1. `log_ratio`, in the order of `v`, is the difference. Where v
    is log w but for a constant, no number in it is larger than that constant, so it keeps its
    digits at any range of values.
    """

    def __init__(
        self, log_probabilities: Array, v: Array, group_size: int, log_weights: Array | None
    ) -> None:
        self.K = group_size
        self.raw = log_weights is not None
        self.order = np.argsort(v, kind="stable")
        self.v = v[self.order]
        # Which law proposes the prefixes moves no minimiser, and one of e^-690 is never proposed.
        self.p = np.exp(np.maximum(log_probabilities[self.order], LEAST_LOG_CHANCE))
        self.delta = np.zeros_like(self.v)  # v - log w
        if log_weights is not None:
            self.delta = (v - log_weights)[self.order]
        # A power K of the expectation below sees K times as far to the left.
        left = LEFT + np.log(group_size)
        # Whole multiples of the step: adding v to them loses no digit where the sum is small.
        first, last = np.floor((-self.v[-1] - left) / STEP), np.ceil((-self.v[0] + RIGHT) / STEP)
        self.u = STEP * np.arange(first, last + 1)  # log s
        self.blocks = list(self._cut(left))
        self._expectations()
        self._ratio = self._log_ratios()
        self.log_ratio = np.empty_like(self._ratio)
        self.log_ratio[self.order] = self._ratio

    def _cut(self, left: float) -> Iterator[_Block]:
        start = 0
        while start < len(self.v):
            stop = int(np.searchsorted(self.v, self.v[start] + BLOCK_RANGE, side="right"))
            v = self.v[start:stop]
            low = max(0, int((-v[-1] - left - self.u[0]) / STEP))
            high = min(len(self.u), int(np.ceil((-v[0] + RIGHT - self.u[0]) / STEP)) + 1)
            growth = np.exp(STEP * np.arange(high - low))
            scale = np.multiply.outer(np.exp(v + self.u[low]), growth)
            decay = np.exp(-scale)
            density = scale * decay
            yield _Block(
                members=slice(start, stop),
                grid=slice(low, high),
                decay=decay,
                scale=scale,
                density=density,
            )
            start = stop

    def _expectations(self) -> None:
        """log phi = log E[e^{-s e^v}] and log psi = log (s E[w e^{-s e^v}]) over one prefix."""
        phi, stopped = np.zeros((2, len(self.u)))
        large = self.K >= LARGE_GROUP
        self.log_psi = np.full(len(self.u), -np.inf)
        for block in self.blocks:
            b, g = block.members, block.grid
            phi[: g.start] += self.p[b].sum()
            phi[g] += self.p[b] @ block.decay
            if large:
                stopped[g] -= self.p[b] @ np.expm1(-block.scale)
                stopped[g.stop :] += self.p[b].sum()
            if self.raw:
                peak = float(-self.delta[b].min())
                log_weights = self.v[b] - self.delta[b]
                highest = float(log_weights.max())
                with np.errstate(divide="ignore"):
                    near = np.log((self.p[b] * np.exp(-self.delta[b] - peak)) @ block.density)
                    far = np.log(self.p[b] @ np.exp(log_weights - highest)) + highest
                self.log_psi[g] = np.logaddexp(self.log_psi[g], peak + near)
                left = slice(0, g.start)
                self.log_psi[left] = np.logaddexp(self.log_psi[left], self.u[left] + far)
        with np.errstate(divide="ignore"):
            self.log_phi = np.log(phi)
        if large:  # near 1 the logarithm is that of what is missing from it
            near = np.log1p(-np.minimum(stopped, 0.9))
            self.log_phi = np.where(phi < 0.5, self.log_phi, near)

    def _power(self, exponent: int) -> Array:
        """`exponent` log phi; the power 0 is 1 also where phi is 0."""
        return exponent * self.log_phi if exponent > 0 else np.zeros_like(self.u)

    def _log_ratios(self) -> Array:
        """log (E[W q_1 | prefix 1] / w_1) in the order of the values."""
        # q_1 = e^{v_1}/S = integral of s e^{v_1} e^{-sS} du: the factor of prefix 1 stands alone,
        # the others enter by their expectations. W is the weight of prefix 1 and those of the
        # K - 1 others.
        alone = self._power(self.K - 1)
        before_alone = np.logaddexp.accumulate(self.u + alone)
        others = np.log(self.K - 1) + self.log_psi + self._power(self.K - 2)
        before_others = np.logaddexp.accumulate(others)
        ratios = np.empty_like(self.v)
        for block in self.blocks:
            b, g = block.members, block.grid
            # Left of the block its factors are e^{u + v} and 1.
            ratio = _log_product(block.density, alone[g])
            if g.start:
                ratio = np.logaddexp(ratio, self.v[b] + before_alone[g.start - 1])
            if self.raw:
                rest = _log_product(block.decay, others[g])
                if g.start:
                    rest = np.logaddexp(rest, before_others[g.start - 1])
                ratio = np.logaddexp(ratio, self.delta[b] + rest)
            ratios[b] = ratio + np.log(STEP)
        return ratios

    def log_mass(self) -> Array:
        """log p_k E[W q_1 | prefix 1 = k] but for a constant: how much a residual there counts."""
        with np.errstate(divide="ignore"):
            return np.log(self.p) + self._ratio + (self.v - self.delta if self.raw else 0.0)

    def newton_step(self, residual: Array, damping: float = 0.0) -> Array:
        """Solve (derivative of log E[W q_1 | prefix 1 = k] in v) step = residual; nats, [n].

        `damping` is added to the derivative's eigenvalues, 0 to 1: where prefixes hang together
        weakly they are tiny, and the step without it far too long (Levenberg and Marquardt).
        The constants are the derivative's null space: they are kept out of both sides.
        """
        log_mass = self.log_mass()
        mass = np.exp(log_mass - log_mass.max())
        mass /= mass.sum()
        right = residual[self.order]
        right = right - mass @ right
        derivative = self._derivative()
        few = len(right) <= DENSE

        def damped(x: Array) -> Array:
            return derivative(x) + damping * x

        solution, solved = _minimal_residual(damped, right, most=FEW if few else MANY)
        if few and not solved:
            # The masses, added to every row, take the null space away: the step's mean is then 0.
            with suppress(np.linalg.LinAlgError):
                solution = np.linalg.solve(damped(np.eye(len(right))) + mass, right)
        step = np.empty_like(solution)
        step[self.order] = solution - mass @ solution
        return step

    def _derivative(self) -> Callable[[Array], Array]:
        """x -> the derivative of log E[W q_1 | prefix 1] along each column of x [n, m], [n, m]."""
        K, up = self.K, np.zeros_like(self.v)
        psi = np.zeros_like(self.u)
        if self.raw:  # relative to the constant that v - log w comes to; farther off, a bound does
            constant = float(self.delta[-1])
            up = np.exp(np.clip(self.delta - constant, -FAR, FAR))
            psi = np.exp(np.clip(self.log_psi + constant, -2 * FAR, FAR))
        pairs, triples = np.exp(self._power(K - 2)), np.exp(self._power(K - 3))
        weights, diagonals = [], []
        for block in self.blocks:
            b, g = block.members, block.grid
            # Without weights every number of a block is small where lower values have little mass.
            peak = 0.0 if self.raw else float(self._power(K - 1)[g].max())
            own = (block.scale * block.density) @ np.exp(self._power(K - 1)[g] - peak)
            if self.raw:  # E[W q_1^2]: the weights of the others
                own += up[b] * (block.density @ ((K - 1) * psi[g] * pairs[g]))
            with np.errstate(over="ignore"):  # then the others do not count, as 1/inf says
                ratio = np.exp(self._ratio[b] - peak)
            diagonals.append(1 - STEP * own / ratio)
            weights.append((STEP / ratio, (K - 1) * np.exp(self._power(K - 2)[g] - peak)))

        def along(x: Array) -> Array:
            columns = x.reshape(len(x), -1)
            p = self.p[:, None]
            phi_slope, psi_slope = np.zeros((2, len(self.u), columns.shape[1]))
            for block in self.blocks:
                b, g = block.members, block.grid
                phi_slope[g] -= block.density.T @ (p[b] * columns[b])
                if self.raw:
                    share = p[b] * columns[b] / up[b, None]
                    psi_slope[g] -= (block.scale * block.density).T @ share
            result = np.empty_like(columns)
            others = (K - 1) * (
                psi_slope * pairs[:, None] + (K - 2) * (psi * triples)[:, None] * phi_slope
            )
            before = np.cumsum(others, axis=0)
            for block, diagonal, (scale, weight) in zip(
                self.blocks, diagonals, weights, strict=True
            ):
                b, g = block.members, block.grid
                mixed = block.density @ (weight[:, None] * phi_slope[g])
                if self.raw:
                    rest = block.decay @ others[g]
                    if g.start:
                        rest = rest + before[g.start - 1]
                    mixed = mixed + up[b, None] * rest
                result[b] = diagonal[:, None] * columns[b] + scale[:, None] * mixed
            return result.reshape(x.shape)

        return along


def _log_product(factors: Array, exponents: Array) -> Array:
    """log (factors @ e^{exponents}), the largest exponent taken out."""
    peak = float(exponents.max())
    if peak == -np.inf:
        return np.full(len(factors), -np.inf)
    with np.errstate(divide="ignore"):
        return np.log(factors @ np.exp(exponents - peak)) + peak


def _minimal_residual(
    matrix: Callable[[Array], Array], right: Array, most: int, tolerance: float = 1e-3
) -> tuple[Array, bool]:
    """Solve matrix(x) = right by GMRES: the least residual over the span of right, matrix(right),
    and so on, until it is `tolerance` of `right` or `most` directions are spent. That is enough for
    a Newton step, which will be taken again. Returns x and whether the tolerance is met.
    """
    size = float(np.linalg.norm(right))
    if size == 0:
        return np.zeros_like(right), True
    basis, projected = np.zeros((most + 1, len(right))), np.zeros((most + 1, most))
    basis[0] = right / size
    for j in range(most):
        direction: Array = matrix(basis[j])
        for _ in range(2):  # twice is enough to be orthogonal to rounding
            shares = basis[: j + 1] @ direction
            direction = direction - shares @ basis[: j + 1]
            projected[: j + 1, j] += shares
        projected[j + 1, j] = np.linalg.norm(direction)
        goal = np.zeros(j + 2)
        goal[0] = size
        reached = projected[: j + 2, : j + 1]
        combination = np.asarray(np.linalg.lstsq(reached, goal, rcond=1e-13)[0], np.float64)
        left = float(np.linalg.norm(reached @ combination - goal))
        if left <= tolerance * size or projected[j + 1, j] <= 1e-14:
            break
        basis[j + 1] = direction / projected[j + 1, j]
    return combination @ basis[: len(combination)], left <= tolerance * size
