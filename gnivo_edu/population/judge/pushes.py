"""The trees that an objective is judged on, and how hard its expected update pushes there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu import exact
from gnivo_edu.population import (
    Answers,
    Point,
    Population,
    Sampler,
    ended_answers,
    expect,
    point_at,
)
from gnivo_edu.population.judge.subject import Subject
from gnivo_edu.population.laws import Law
from gnivo_edu.population.roots import jacobian

SAMPLERS: Mapping[str, Sampler] = {
    "reference": "reference",
    "current": "current",
    "uniform": "uniform",
    "half uniform": {"reference": 0.5, "uniform": 0.5},
}
STEP = 1e-5


@cache
def small_tree(name: str) -> Answers:
    """The trees of the judge; rewards lie in 0..1, and equal ones differ in length.

    "one token": four answers. "15 answers": three tokens, one of which ends the answer, at most
    three long, random reference. "4 answers": two tokens, one ends, at most three long. "15 tied",
    "4 tied": the same, every reward 1/2.
    """
    if name == "one token":
        reference = [np.log(np.array([[0.1, 0.2, 0.3, 0.4]]))]
        tree = exact.enumerate_tree_from_rewards([1.0, 0.3, 0.0, 0.3], 4, reference=reference)
        return Answers.of(tree)
    fifteen = (0.3, 0.6, 0.0, 0.3, 0.6, 1.0, 0.0, 0.3, 1.0, 0.3, 0.0, 0.6, 0.6, 0.3, 0.3)
    vocab_size, rewards = {
        "15 answers": (3, fifteen),
        "15 tied": (3, (0.5,) * 15),
        "4 answers": (2, (0.3, 1.0, 0.0, 0.3)),
        "4 tied": (2, (0.5,) * 4),
    }[name]
    return ended_answers(vocab_size, rewards)


def population_of(
    subject: Subject, answers: Answers, group_size: int, sampler: str = "reference"
) -> Population:
    """All groups, listed in every order if the objective minds it."""
    ordered = not subject.symmetric
    return Population.of(answers, group_size, sampler=SAMPLERS[sampler], ordered=ordered)


def optimum_of(answers: Answers, alpha: float) -> Point:
    """pi*, alpha V as critic, V as explicit value."""
    return point_at(answers, alpha, policy=answers.tilted(answers.rewards / alpha))


def first_of(answers: Answers, alpha: float) -> Point:
    """The reference, alpha V as critic, 0 as explicit value: where every search begins."""
    return replace(point_at(answers, alpha), prefix_values=torch.zeros(answers.num_ends).double())


def law_at(subject: Subject, answers: Answers, point: Point) -> Law:
    """The law of answers at a point; where only V_theta is trained, pi_ref e^{V_theta} by state."""
    if "logits" in subject.free:
        return answers.law(answers.policy(point.logits)).detach()
    child = torch.zeros_like(answers.reference)
    child[answers.states[answers.mask], answers.tokens[answers.mask]] = (
        point.prefix_values.detach()[answers.ends[answers.mask]]
    )
    return answers.law((answers.reference + child).log_softmax(-1))


def typical_push(subject: Subject, alpha: float) -> float:
    """The unit of the judge: by how much a group of two pushes at the reference, on average."""
    answers = small_tree(subject.tree)
    population = population_of(subject, answers, group_size=2)
    _, slopes = subject.expected_slopes(population.batch(first_of(answers, alpha)), alpha)
    return float(sum(x.abs().sum() for x in slopes.values())) or 1.0


def field_at(
    subject: Subject, population: Population, point: Point, alpha: float
) -> Float[Tensor, " p"]:
    """Expected gradient of what is trained, per unit of the mass that passes through a state."""
    gradient = expect(subject, population, point=point, alpha=alpha).gradient
    visits = population.answers.visits(population.answers.policy(point.logits)).clamp(min=1e-12)
    scaled = {"logits": gradient["logits"] / visits[:, None], "values": gradient["values"] / visits}
    return torch.cat([(gradient | scaled)[name].flatten() for name in subject.free])


def attracts(subject: Subject, population: Population, point: Point, alpha: float) -> bool:
    """Whether a small step away is undone: the Jacobian of the field has no negative eigenvalue.

    Of complex ones the real part counts: a turning field may still lead back.
    """

    def field(x: Tensor) -> Tensor:
        moved = point.with_flat(subject.free, x)
        return field_at(subject, population, point=moved, alpha=alpha)

    real = torch.linalg.eigvals(jacobian(field, point.flat(subject.free))).real
    return float(real.min()) >= -1e-6 * float(real.abs().max())


def push_along_rewards(subject: Subject, population: Population, alpha: float, c: float) -> float:
    """How hard it pushes for reward at pi_ref e^{cR}: - d(expected loss)/dc over Var(R).

    E[R] - alpha KL itself pushes with 1 - alpha c: 1 at the reference, 0 at pi*.
    """
    rewards = population.answers.rewards
    policy = population.answers.tilted(c * rewards)
    return push_along(subject, population, policy=policy, score=rewards, alpha=alpha)


def push_along(
    subject: Subject, population: Population, policy: Float[Tensor, "S V"], score: Law, alpha: float
) -> float:
    """- d(expected loss)/dc at c = 0 on the path policy e^{c score}, over the score's variance."""
    answers = population.answers
    law = answers.law(policy)
    ahead, behind = (
        answers.from_law((law.log() + sign * STEP * score).softmax(0)) for sign in (1, -1)
    )
    direction = ((ahead - behind) / (2 * STEP)).masked_fill(~answers.legal, 0.0)
    point = point_at(answers, alpha, policy=policy)
    gradient = expect(subject, population, point=point, alpha=alpha).gradient["logits"]
    variance = law @ (score - law @ score).square()
    return -float((gradient * direction).sum() / variance)
