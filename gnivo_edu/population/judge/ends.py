"""Where any objective ends on a small tree: by Newton's method, tested for stability, and named."""

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
from gnivo_edu.population.judge.end_names import name_of
from gnivo_edu.population.judge.subject import Subject
from gnivo_edu.population.laws import SAME, Law, Verdict
from gnivo_edu.population.roots import jacobian, rest

SAMPLERS: Mapping[str, Sampler] = {
    "reference": "reference",
    "current": "current",
    "uniform": "uniform",
    "half uniform": {"reference": 0.5, "uniform": 0.5},
}
ZERO = 1e-9  # of the typical push of a group
# Nats by which the best answer gains on the next best, beyond pi*.
FAR = (0.0, 1.0, 2.0, 4.0, 8.0, 12.0)
STEP = 1e-5
# Expected updates, and their largest step, where Newton's method finds nothing.
STEPS = 200
WIDEST = 0.3


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

    `tv` and `kl` (nats) from pi* to where it ends, None where it has no end. `push_at_optimum`: the
    largest entry of its expected gradient at pi*, per unit of mass, in units of the typical push of
    one group at the reference. `settled`: it is a root, not where a walk was stopped.
    """

    tree: str
    sampler: str
    group_size: int
    verdict: Verdict
    tv: float | None
    kl: float | None
    push_at_optimum: float
    evidence: str
    law: Law | None = None
    point: Point | None = None
    settled: bool = True

    @property
    def resting_law(self) -> Law | None:
        """The law where it ends, None where that is only the limit of a collapse."""
        return None if self.verdict == "collapses" else self.law

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "tree": self.tree,
            "sampler": self.sampler,
            "group_size": self.group_size,
            "verdict": self.verdict,
            "tv": self.tv,
            "kl": self.kl,
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
    """Solve for the root of the expected gradient, and say what it is.

    First the path of tilts pi_ref e^{cR}: an objective that pushes the same way along all of it, to
    well beyond pi*, collapses. Then Newton's method from the reference (or `start`). An end must
    attract: a root from which the expected update leads away is not one. "exact": pi* to 1e-6;
    "other optimum": a law that can be named.
    """
    answers = small_tree(tree)
    population = population_of(subject, answers, group_size=group_size, sampler=sampler)
    optimum = optimum_of(answers, alpha)
    push = float(_field(subject, population, point=optimum, alpha=alpha).abs().max())
    end = partial(End, tree, sampler, group_size=group_size, push_at_optimum=push)
    tied = len(answers.rewards.unique()) == 1
    walk = subject.free == ("logits",) and start is None and not tied
    if walk and (way := one_way(subject, population, alpha=alpha)):
        return end(verdict="collapses", tv=None, kl=None, evidence=way)
    point, settled = _root(subject, population, start=start, optimum=optimum, alpha=alpha)
    law = law_at(subject, answers, point=point)
    best = answers.law(answers.tilted(answers.rewards / alpha))
    tv = total_variation(law, best)
    end = partial(end, tv=tv, kl=divergence(law, best), law=law, point=point, settled=settled)
    at_rest = push < ZERO
    if at_rest and tv > SAME and not attracts(subject, population, point=optimum, alpha=alpha):
        return end(
            verdict="collapses",
            evidence="pi* is at rest but repels: the expected update leads away from it (is a sign "
            "turned?)",
        )
    if float(law.max()) > 1 - 1e-4:
        reward = float(answers.rewards[law.argmax()])
        return end(verdict="collapses", evidence=f"all mass on one answer, of reward {reward:g}")
    if not settled:
        return end(
            verdict="biased",
            evidence=f"no resting point found: this is where {STEPS} expected updates from the "
            "reference lead",
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


def _root(
    subject: Subject, population: Population, start: Point | None, optimum: Point, alpha: float
) -> tuple[Point, bool]:
    """An attracting root, and True; else where expected updates from the reference lead, and False.

    Newton's method starts at the reference, and beside pi* if pi* is at rest.
    """
    first = first_of(population.answers, alpha)
    begins = [start or first]
    if float(_field(subject, population, point=optimum, alpha=alpha).abs().max()) < ZERO:
        # Any nudge will do: a wave over the entries has no symmetry of the problem.
        wave = torch.arange(optimum.logits.numel()).view_as(optimum.logits).sin()
        begins.append(replace(optimum, logits=optimum.logits + 0.1 * wave))
    for begin in begins:
        try:
            search = rest(subject, population, start=begin, free=subject.free, alpha=alpha)
        except ValueError:  # a step so wide that probabilities vanish: there is no root that way
            continue
        # A start that is given is the end of a smaller group, which has been seen to attract.
        stable = partial(attracts, subject, population, point=search.point, alpha=alpha)
        if search.converged and (start is not None or stable()):
            return search.point, True
    point = first
    for _ in range(STEPS):
        step = _field(subject, population, point=point, alpha=alpha).clamp(-WIDEST, WIDEST)
        if not bool(step.isfinite().all()):
            break
        point = point.with_flat(subject.free, point.flat(subject.free) - step)
    return point, False


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


def one_way(subject: Subject, population: Population, alpha: float) -> str:
    """What to say if it pushes one way from the reference to far beyond pi*; else nothing."""
    rewards = population.answers.rewards.unique()
    # Beyond pi*, a place is told by the nats that the best answer has gained on the next best.
    for sign, gap, whom in (
        (1, rewards[-1] - rewards[-2], "best"),
        (-1, rewards[1] - rewards[0], "worst"),
    ):
        places = [0.0, *(sign * (1 / alpha + far / float(gap)) for far in FAR)]
        pushes = [sign * push_along_rewards(subject, population, alpha=alpha, c=c) for c in places]
        if min(pushes) > 1e-6 * max(pushes):
            return (
                f"it pushes towards the {whom} answer all along pi_ref e^(cR), from c = 0 to "
                f"{places[-1]:.0f} (pi* is c = {1 / alpha:g})"
                f"{'; is a sign turned?' if sign < 0 else ''}"
            )
    return ""
