"""Where an objective comes to rest: the root of its expected gradient, by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.population import Objective, Point, Population, expect, sampling_policy

# Step of the central differences of the Jacobian. Their error, about 1e-10, only slows the last
# Newton steps: where the search stops is decided by the field itself.
STEP = 1e-5
LONGEST = 2.0  # nats (or reward units) by which one step may move a coordinate
Field = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rest:
    """Where the search ended; `converged`: the expected gradient per unit of mass is zero there."""

    point: Point
    residual: float
    iterations: int
    converged: bool


def newton(
    field: Field, start: Float[Tensor, " p"], tolerance: float = 1e-11, limit: int = 60
) -> tuple[Tensor, float, int]:
    """A root of `field`, [p] -> [p], from `start`; returns the point, the largest |field| there,
    and the steps taken.

    The Jacobian is taken by central differences; directions that the field does not see (a softmax
    does not see a constant) stay as they are: the step is the shortest solution. A step is cut to
    `LONGEST` per coordinate and halved until the field shrinks.

    >>> root, residual, _ = newton(lambda x: x**3 - 8, torch.tensor([1.0], dtype=torch.float64))
    >>> round(float(root), 9), residual < 1e-11
    (2.0, True)
    """
    x, value = start.clone(), field(start)
    for iteration in range(limit):
        size = float(value.abs().max())
        if size < tolerance:
            return x, size, iteration
        # The least-squares solution of smallest norm: a softmax leaves the Jacobian singular, since
        # adding a constant to the logits of a state changes nothing. `rcond` cuts those directions.
        step = torch.linalg.lstsq(
            jacobian(field, x), -value[:, None], rcond=1e-9, driver="gelsd"
        ).solution.flatten()
        step = step * min(1.0, LONGEST / max(float(step.abs().max()), 1e-300))
        for _ in range(12):
            trial = field(x + step)
            if bool(trial.isfinite().all()) and float(trial.norm()) < float(value.norm()):
                break
            step = step / 2
        else:  # no step shrinks the field: a kink, or the edge of what rounding resolves
            return x, size, iteration
        x, value = x + step, trial
    return x, float(value.abs().max()), limit


def chord(
    field: Field,
    start: Float[Tensor, " p"],
    inverse: Float[Tensor, "p p"],
    limit: int = 25,
) -> tuple[Tensor, float, int]:
    """The same with one inverse Jacobian, that of a place nearby: a step costs one expectation.

    It goes on as long as the field shrinks, to rounding where it converges.
    """
    x, value = start, field(start)
    for iteration in range(limit):
        size = float(value.abs().max())
        trial = field(x - inverse @ value)
        if not float(trial.abs().max()) < 0.7 * size:
            return x, size, iteration
        x, value = x - inverse @ value, trial
    return x, float(value.abs().max()), limit


def jacobian(
    field: Field, x: Float[Tensor, " p"], value: Float[Tensor, " p"] | None = None
) -> Float[Tensor, "p p"]:
    """d field_i / d x_j by central differences: a column costs two expectations, no second
    derivative of the objective is asked for, and what it detaches stays detached. Given the field's
    `value` at x, by differences ahead: at half the cost, to about 1e-5.
    """
    steps = STEP * torch.eye(len(x), dtype=x.dtype)
    if value is not None:
        return torch.stack([(field(x + step) - value) / STEP for step in steps], 1)
    return torch.stack([(field(x + step) - field(x - step)) / (2 * STEP) for step in steps], 1)


def slopes(
    objective: Objective,
    population: Population,
    point: Point,
    extra: Callable[[Point], Tensor] | None = None,
    **settings: Any,
) -> dict[str, Tensor]:
    """Expected gradient of an objective, by field, and of `extra`, a loss of the policy's logits
    that is added to it (a KL to a model other than the reference)."""
    gradient = expect(objective, population, point=point, **settings).gradient
    if extra is not None:
        leaves = point.detached()
        gradient["logits"] += torch.autograd.grad(extra(leaves), leaves.logits)[0]
    return gradient


def mass_field(
    objective: Objective,
    population: Population,
    start: Point,
    free: tuple[str, ...] = ("logits",),
    extra: Callable[[Point], Tensor] | None = None,
    **settings: Any,
) -> Field:
    """The expected gradient as a field of the fields named by `free`, as one vector; the others
    stay at `start`.

    Each entry is divided by the probability with which the sampler takes this action in this state.
    On-policy that is the natural gradient of a table: it does not fade as an action grows rare, so
    that deterministic policies, where every on-policy gradient vanishes, are no roots; and rare
    states are solved as well as common ones. `extra`: see `slopes`.
    """
    answers = population.answers

    def field(x: Tensor) -> Tensor:
        point = start.with_flat(free, x)
        gradient = slopes(objective, population, point=point, extra=extra, **settings)
        # The chance that the sampler passes through a state, and that it takes an action there;
        # 1e-300 keeps a quotient finite where both vanish.
        current = answers.policy(point.logits)
        sampling = sampling_policy(answers, population.sampler, current=current)
        visits = answers.visits(sampling).clamp(min=1e-300)
        taken = (visits[:, None] * sampling.exp()).clamp(min=1e-300)
        gradient["logits"] = (gradient["logits"] / taken).masked_fill(~answers.legal, 0.0)
        gradient["values"] = gradient["values"] / visits
        return torch.cat([gradient[name].flatten() for name in free])

    return field


def rest(
    objective: Objective,
    population: Population,
    start: Point,
    free: tuple[str, ...] = ("logits",),
    tolerance: float = 1e-11,
    extra: Callable[[Point], Tensor] | None = None,
    **settings: Any,
) -> Rest:
    """Solve expected gradient = 0, per unit of mass (`mass_field`), by Newton's method.

    Minimisers are roots too; an objective without one runs off, and `converged` is false.
    """
    field = mass_field(objective, population, start, free=free, extra=extra, **settings)
    x, residual, iterations = newton(field, start.flat(free), tolerance=tolerance)
    converged = residual < max(tolerance, 1e-9)
    return Rest(start.with_flat(free, x), residual, iterations=iterations, converged=converged)
