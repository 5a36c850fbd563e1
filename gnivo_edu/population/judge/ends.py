"""Where any objective ends on a small tree: found by its flow, tested for stability, and named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

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
    divergence,
    ended_answers,
    expect,
    point_at,
    total_variation,
)
from gnivo_edu.population.flow import CLOSE, NEAR_EDGE, Kind, likeliest, pauses
from gnivo_edu.population.judge.end_names import name_of
from gnivo_edu.population.judge.subject import Subject
from gnivo_edu.population.laws import SAME, Law, Verdict
from gnivo_edu.population.roots import jacobian, mass_field, rest

SAMPLERS: Mapping[str, Sampler] = {
    "reference": "reference",
    "current": "current",
    "uniform": "uniform",
    "half uniform": {"reference": 0.5, "uniform": 0.5},
}
ZERO = 1e-9  # of the typical push of a group
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


@dataclass(frozen=True, eq=False)
class End:
    """Where an objective ends on one tree, for one sampler and group size.

    `tv` and `kl` (nats) from pi* to where it ends; of a collapse that is the limit. `reward`: what
    is expected there; `moved`: TV from the reference. `push_at_optimum`: the largest entry of its
    expected gradient at pi*, per unit of mass, in units of the typical push of one group at the
    reference. `settled`: it is a root or an edge, not where a flow was stopped.
    """

    tree: str
    sampler: str
    group_size: int
    verdict: Verdict
    tv: float
    kl: float
    reward: float
    moved: float
    push_at_optimum: float
    evidence: str
    law: Law
    point: Point
    settled: bool = True

    @property
    def resting_law(self) -> Law | None:
        """The law where it ends, None where that is only the limit of a collapse."""
        return None if self.verdict == "collapses" else self.law

    @property
    def best(self) -> bool:
        """Whether the best answers have all mass."""
        best = small_tree(self.tree).rewards.max()
        return self.verdict == "collapses" and self.reward > float(best) - NEAR_EDGE

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "tree": self.tree,
            "sampler": self.sampler,
            "group_size": self.group_size,
            "verdict": self.verdict,
            "tv": self.tv,
            "kl": self.kl,
            "expected_reward": self.reward,
            "push_at_optimum": self.push_at_optimum,
            "evidence": self.evidence,
        }


def population_of(
    subject: Subject, answers: Answers, group_size: int, sampler: str = "reference"
) -> Population:
    """All groups, listed in every order if the objective minds it."""
    ordered = not subject.symmetric
    return Population.of(answers, group_size, sampler=SAMPLERS[sampler], ordered=ordered)


def find_end(
    subject: Subject,
    tree: str,
    sampler: str,
    group_size: int,
    alpha: float,
    start: Point | None = None,
) -> End:
    """Follow the expected update from the reference (or `start`), and say where it leads.

    Where it comes close to a root of the expected gradient, that is its end if it attracts: a root
    from which the expected update leads away is not one. It collapses where it leaves all mass to
    answers of one reward. "exact": pi* to 1e-6; "other optimum": a law that can be named.
    """
    answers = small_tree(tree)
    population = population_of(subject, answers, group_size=group_size, sampler=sampler)
    optimum = optimum_of(answers, alpha)
    push = float(_field(subject, population, point=optimum, alpha=alpha).abs().max())
    point, kind = _destination(subject, population, start=start, optimum=optimum, alpha=alpha)
    law = law_at(subject, answers, point=point)
    best = answers.law(answers.tilted(answers.rewards / alpha))
    tv = total_variation(law, best)
    moved = total_variation(law, answers.law(answers.reference))
    end = partial(
        End,
        tree,
        sampler,
        group_size=group_size,
        push_at_optimum=push,
        tv=tv,
        kl=divergence(law, best),
        reward=float(law @ answers.rewards),
        moved=moved,
        law=law,
        point=point,
        settled=kind not in ("held", "moving"),
    )
    at_rest = push < ZERO
    if at_rest and tv > SAME and not attracts(subject, population, point=optimum, alpha=alpha):
        return end(
            verdict="collapses",
            evidence="pi* is at rest but repels: the expected update leads away from it (is a sign "
            "turned?)",
        )
    main, mass = likeliest(answers, law)
    if kind == "edge" or mass > 1 - 1e-4:
        turned = main == float(answers.rewards.min()) < float(answers.rewards.max())
        which = "the best" if main == float(answers.rewards.max()) else "other"
        return end(
            verdict="collapses",
            evidence=f"it moves all mass to {which} answers, of reward {main:g}"
            f"{'; is a sign turned?' if turned else ''}",
        )
    if kind in ("held", "moving"):
        why = "its push jumps there (a clip)" if kind == "held" else "it was still moving"
        return end(
            verdict="biased",
            evidence="no resting point found: from the reference it comes to "
            f"E[R] = {float(law @ answers.rewards):.2g}, TV {moved:.1g} away, and {why}",
        )
    if tv < SAME:
        return end(verdict="exact", evidence="ends at pi*")
    name = name_of(answers, law, alpha=alpha, group_size=group_size)
    if name is None:
        return end(verdict="biased", evidence="at no law with a known name")
    return end(verdict="other optimum", evidence=name)


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


def _destination(
    subject: Subject, population: Population, start: Point | None, optimum: Point, alpha: float
) -> tuple[Point, Kind]:
    """Where the flow from the reference (or `start`) ends: at an attracting root, at an edge, or on
    its way when time is up.

    A root beside pi*, if pi* is at rest, goes before a flow that does not end.
    """
    answers = population.answers
    first = start or first_of(answers, alpha)
    field = mass_field(subject, population, first, free=subject.free, alpha=alpha)
    search = partial(rest, subject, population, free=subject.free, alpha=alpha)
    stable = partial(attracts, subject, population, alpha=alpha)

    law_of = partial(law_at, subject, answers)
    for place, law, _, kind in pauses(field, first, subject.free, law_of=law_of, answers=answers):
        if kind in ("edge", "held"):
            return place, kind
        try:
            root = search(start=place)
        except ValueError:  # a step so wide that probabilities vanish: there is no root that way
            continue
        close = total_variation(law_at(subject, answers, point=root.point), law) < CLOSE
        # A start that is given is the end of a smaller group, which has been seen to attract.
        if root.converged and close and (start is not None or stable(point=root.point)):
            return root.point, "rest"
    if float(_field(subject, population, point=optimum, alpha=alpha).abs().max()) < ZERO:
        # Any nudge will do: a wave over the entries has no symmetry of the problem.
        wave = torch.arange(optimum.logits.numel()).view_as(optimum.logits).sin()
        root = search(start=replace(optimum, logits=optimum.logits + 0.1 * wave))
        if root.converged and stable(point=root.point):
            return root.point, "rest"
    return place, kind


def _field(
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
        return _field(subject, population, point=moved, alpha=alpha)

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
