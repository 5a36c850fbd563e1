"""Where an objective comes to rest: the root of its expected gradient, by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.population.expectation import Objective, expect
from gnivo_edu.population.groups import Point, Population, sampling_policy

STEP = 1e-5  # of the central differences of the Jacobian; their error, about 1e-10, only slows the last steps
LONGEST = 2.0  # nats (or reward units) by which one step may move a coordinate
Field = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rest:
    """Where the search ended. `converged`: the expected gradient, per unit of mass, is below the
    tolerance there.
    """

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
        eye = STEP * torch.eye(len(x), dtype=x.dtype)
        jacobian = torch.stack([(field(x + e) - field(x - e)) / (2 * STEP) for e in eye], 1)
        step = torch.linalg.lstsq(jacobian, -value[:, None], rcond=1e-9, driver="gelsd").solution[
            :, 0
        ]
        step = step * min(1.0, LONGEST / max(float(step.abs().max()), 1e-300))
        for _ in range(12):
            trial = field(x + step)
            if bool(trial.isfinite().all()) and float(trial.norm()) < float(value.norm()):
                break
            step = step / 2
        else:
            return x, size, iteration
        x, value = x + step, trial
    return x, float(value.abs().max()), limit


def rest(
    objective: Objective,
    population: Population,
    start: Point,
    free: tuple[str, ...] = ("logits",),
    tolerance: float = 1e-11,
    extra: Callable[[Point], Tensor] | None = None,
    **settings: Any,
) -> Rest:
    """Solve expected gradient = 0 in the fields named by `free`; the others stay at `start`.

    Each entry is divided by the probability with which the sampler takes this action in this state.
    On-policy that is the natural gradient of a table: it does not fade as an action grows rare, so
    that deterministic policies, where every on-policy gradient vanishes, are no roots; and rare
    states are solved as well as common ones. `extra`, a loss of the point that is added (a KL to a
    model other than the reference). Minimisers are roots too; an objective without one runs off,
    and `converged` is false.
    """
    answers = population.answers
    shapes = [getattr(start, name).shape for name in free]
    sizes = [shape.numel() for shape in shapes]

    def at(x: Tensor) -> Point:
        parts = [part.view(shape) for part, shape in zip(x.split(sizes), shapes, strict=True)]
        return replace(start, **dict(zip(free, parts, strict=True)))

    def field(x: Tensor) -> Tensor:
        point = at(x)
        gradient = expect(objective, population, point, **settings).gradient
        if extra is not None:
            leaves = point.detached()
            gradient["logits"] = (
                gradient["logits"] + torch.autograd.grad(extra(leaves), leaves.logits)[0]
            )
        sampling = sampling_policy(answers, population.sampler, answers.policy(point.logits))
        visits = answers.visits(sampling).clamp(min=1e-300)
        taken = (visits[:, None] * sampling.exp()).clamp(min=1e-300)
        gradient["logits"] = (gradient["logits"] / taken).masked_fill(~answers.legal, 0.0)
        gradient["values"] = gradient["values"] / visits
        return torch.cat([gradient[name].flatten() for name in free])

    first = torch.cat([getattr(start, name).detach().flatten() for name in free])
    x, residual, iterations = newton(field, first, tolerance)
    return Rest(at(x), residual, iterations, residual < max(tolerance, 1e-9))
