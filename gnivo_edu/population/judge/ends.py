"""Where any objective ends on a small tree: found by its flow, tested for stability, and named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from gnivo_edu.population import Point, Population, divergence, total_variation
from gnivo_edu.population.flow import CLOSE, NEAR_EDGE, Kind, likeliest, pauses
from gnivo_edu.population.judge.end_names import name_of
from gnivo_edu.population.judge.pushes import (
    attracts,
    field_at,
    first_of,
    law_at,
    optimum_of,
    population_of,
    small_tree,
)
from gnivo_edu.population.judge.subject import Subject
from gnivo_edu.population.laws import SAME, Law, Verdict
from gnivo_edu.population.roots import mass_field, rest

ZERO = 1e-9  # of the typical push of a group


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
    push = float(field_at(subject, population, point=optimum, alpha=alpha).abs().max())
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
    if float(field_at(subject, population, point=optimum, alpha=alpha).abs().max()) < ZERO:
        # Any nudge will do: a wave over the entries has no symmetry of the problem.
        wave = torch.arange(optimum.logits.numel()).view_as(optimum.logits).sin()
        root = search(start=replace(optimum, logits=optimum.logits + 0.1 * wave))
        if root.converged and stable(point=root.point):
            return root.point, "rest"
    return place, kind
