"""Expected loss, expected gradient and gradient covariance of any objective, over all groups."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu import exact
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population.answers import Answers
from gnivo_edu.population.groups import Point, Population, sampling_policy

Objective = Callable[..., LossOutput]
BATCHES = 20  # a random sample of groups is cut into so many batches, whose spread gives the error


@dataclass(frozen=True)
class Expected:
    """Expected loss and gradient at a point; the errors are standard errors, 0 where all groups
    were listed.

    `gradient` by name: `logits` [S, V] (of the policy, in each reachable state), `values` [S],
    `prefix_values` [P].
    """

    loss: float
    gradient: dict[str, Tensor]
    loss_error: float = 0.0
    gradient_error: dict[str, Tensor] | None = None

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Confidence interval of the loss, 95% unless told."""
        return self.loss - z * self.loss_error, self.loss + z * self.loss_error


def point_at(
    answers: Answers,
    alpha: float,
    policy: Float[Tensor, "S V"] | None = None,
    values: Float[Tensor, " S"] | None = None,
) -> Point:
    """The reference as policy, alpha times the soft value of each state as critic, and V itself.

    `policy` [S, V], log-probabilities, and `values` [S], reward units, replace them. At the optimum
    the critic of a KL-regularised reward and the soft value are the same number: V* = alpha log
    E_ref[e^{R/alpha} | s].
    """
    solution = exact.solve(answers.tree, alpha)
    before, after = (
        torch.tensor([solution.values[d][k] for d, k in numbers], dtype=torch.float64)
        for numbers in (answers.state_numbers, answers.end_numbers)
    )
    logits = (answers.reference if policy is None else policy).detach()
    return Point(
        # -inf belongs to actions that are masked out anyway; a finite number keeps arithmetic on
        # logits clean.
        logits=logits.masked_fill(~answers.legal, 0.0),
        values=alpha * before if values is None else values,
        prefix_values=after,
        log_z=torch.tensor(solution.log_z, dtype=torch.float64),
    )


def expect(objective: Objective, population: Population, point: Point, **settings: Any) -> Expected:
    """Expected loss and gradient of an objective over the groups of a population.

        L(theta) = sum_G P(G) loss(G),    dL/dtheta with P held fixed.

    "On-policy expected gradient" means exactly this with the current policy as sampler: E_{y ~
    pi}[grad loss], the law of the groups not differentiated. Statistics of the whole batch
    (whitening, token means) are those of the population. `settings` go to the objective. With
    groups drawn at random it is an estimate with standard errors.

    >>> from gnivo_edu import exact, objectives
    >>> tree = exact.enumerate_tree_from_rewards([0, 0, 0, 1], vocab_size=2)
    >>> population = Population.of(tree, 2)
    >>> optimum = population.answers.tilted(population.answers.rewards / 0.5)
    >>> point = point_at(population.answers, 0.5, optimum)
    >>> at_optimum = expect(objectives.gvpo, population, point, alpha=0.5)
    >>> abs(at_optimum.loss) < 1e-20, float(at_optimum.gradient["logits"].abs().max()) < 1e-12
    (True, True)
    """
    count = BATCHES if population.sampled else population.parts
    if count == 1:
        return _expect_once(objective, population, point=point, settings=settings)
    answers = population.answers
    current = answers.policy(point.logits.detach())
    sampling = sampling_policy(answers, population.sampler, current=current)
    cuts = zip(
        *(x.tensor_split(count) for x in (population.choice, population.multiplicity)), strict=True
    )
    parts = [replace(population, choice=x, multiplicity=times, parts=1) for x, times in cuts]
    means = [_expect_once(objective, part, point=point, settings=settings) for part in parts]
    shares = torch.stack([part.weights(sampling).sum() for part in parts])
    shares /= shares.sum()
    losses = torch.tensor([mean.loss for mean in means], dtype=torch.float64)
    gradients = {
        name: torch.stack([mean.gradient[name] for mean in means]) for name in Point.FIELDS
    }
    whole = Expected(
        float(shares @ losses),
        {name: torch.tensordot(shares, x, dims=1) for name, x in gradients.items()},
    )
    if not population.sampled:
        return whole
    # The batches are independent: the error of their mean is their deviation over the root of 20.
    return replace(
        whole,
        loss_error=float(losses.std()) / math.sqrt(BATCHES),
        gradient_error={name: x.std(0) / math.sqrt(BATCHES) for name, x in gradients.items()},
    )


def _expect_once(
    objective: Objective, population: Population, point: Point, settings: dict[str, Any]
) -> Expected:
    leaves = point.detached()
    out = objective(population.batch(leaves), **settings)
    gradient = gradients_of(out.loss, [getattr(leaves, name) for name in Point.FIELDS])
    return Expected(float(out.loss.detach()), dict(zip(Point.FIELDS, gradient, strict=True)))


def gradient_covariance(
    objective: Objective, population: Population, point: Point, **settings: Any
) -> tuple[Float[Tensor, "S V"], Float[Tensor, "SV SV"]]:
    """Mean and covariance of the gradient that one group gives, by the policy's logits.

    A batch of N prompts has the mean and 1/N of the covariance. The contribution of a group is what
    it adds to the gradient of a large batch: statistics of the batch (whitening, token means) stand
    at their population values.

    >>> from gnivo_edu import exact, objectives
    >>> tree = exact.enumerate_tree_from_rewards([0, 0, 0, 1], vocab_size=2)
    >>> population = Population.of(tree, 2, sampler="current")
    >>> point = point_at(population.answers, 0.5)
    >>> mean, covariance = gradient_covariance(objectives.rloo, population, point)
    >>> mean.shape, covariance.shape, float(covariance.trace()) > float(mean.square().sum())
    (torch.Size([3, 2]), torch.Size([6, 6]), True)
    """
    # The chain rule in two steps: c = dL/d(live field) of every token of every group, from one
    # backward pass through the objective; then d(live field)/d(logits), which is the same in every
    # group that an answer is in.
    leaves = {
        name: x[population.choice].requires_grad_()
        for name, x in population.rows(point.frozen()).items()
    }
    batch = population.batch(point, leaves)
    out = objective(batch, **settings)
    weight = batch.group_weight
    assert weight is not None
    coefficients = dict(zip(leaves, gradients_of(out.loss, list(leaves.values())), strict=True))
    n, T = population.answers.tokens.shape
    logits = point.logits.detach().clone().requires_grad_()
    per_group = torch.zeros(len(weight), logits.numel(), dtype=logits.dtype)
    rows = population.rows(replace(point, logits=logits))
    for name, c in coefficients.items():
        if bool((c == 0).all()) or not rows[name].requires_grad:
            continue
        jacobian = torch.stack(
            [gradients_of(x, [logits])[0].flatten() for x in rows[name].flatten()]
        )
        # Sum the coefficients of a group by answer and token, then apply that answer's Jacobian.
        place = (population.choice[..., None] * T + torch.arange(T)).flatten(1)
        summed = torch.zeros(len(weight), n * T, dtype=c.dtype).scatter_add(1, place, c.flatten(1))
        per_group += summed @ jacobian
    # L weighs each group by its probability: divided by it, this is the gradient of one group.
    per_group /= weight.clamp(min=torch.finfo(weight.dtype).tiny)[:, None]
    mean = weight @ per_group
    centred = per_group - mean
    return mean.view_as(logits), centred.T @ (weight[:, None] * centred)


def gradients_of(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Gradients; zeros for what the loss does not depend on."""
    if not loss.requires_grad:
        return [torch.zeros_like(x) for x in leaves]
    return list(
        torch.autograd.grad(
            loss, leaves, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    )
