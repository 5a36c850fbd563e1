"""Where any objective ends on a small tree: found by Newton's method, tested for stability, and
named if it can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu import exact
from gnivo_edu.population.answers import Answers, divergence, total_variation
from gnivo_edu.population.expectation import expect, point_at
from gnivo_edu.population.groups import Point, Population, Sampler
from gnivo_edu.population.judge.end_names import SAME, name_of
from gnivo_edu.population.judge.subject import LIVE, Subject
from gnivo_edu.population.roots import rest
from toy_envs import TokenMDP

Verdict = Literal["exact", "other optimum", "biased", "collapses"]  # from best to worst
VERDICTS: tuple[Verdict, ...] = ("exact", "other optimum", "biased", "collapses")
SAMPLERS: Mapping[str, Sampler] = {
    "reference": "reference",
    "current": "current",
    "uniform": "uniform",
    "half uniform": {"reference": 0.5, "uniform": 0.5},
}
ZERO = 1e-9  # of the typical push of a group
FAR = (
    0.0,
    1.0,
    2.0,
    4.0,
    8.0,
    12.0,
)  # nats by which the best answer gains on the next best, beyond pi*
STEP = 1e-5
STEPS, WIDEST = (
    200,
    0.3,
)  # expected updates and their largest step, where Newton's method finds nothing
Law = Float[Tensor, " n"]


@cache
def small_tree(name: str) -> Answers:
    """The trees of the judge; rewards lie in 0..1, and equal ones stand on answers of different
    length.

    "one token": four answers. "15 answers": three tokens, one of which ends the answer, at most
    three long, random reference. "4 answers": two tokens, one ends, at most three long. "15 tied",
    "4 tied": the same, every reward 1/2."""
    if name == "one token":
        reference = [np.log(np.array([[0.1, 0.2, 0.3, 0.4]]))]
        return Answers.of(exact.enumerate_tree_from_rewards([1.0, 0.3, 0.0, 0.3], 4, reference))
    vocabulary, rewards = {
        "15 answers": (
            3,
            (0.3, 0.6, 0.0, 0.3, 0.6, 1.0, 0.0, 0.3, 1.0, 0.3, 0.0, 0.6, 0.6, 0.3, 0.3),
        ),
        "15 tied": (3, (0.5,) * 15),
        "4 answers": (2, (0.3, 1.0, 0.0, 0.3)),
        "4 tied": (2, (0.5,) * 4),
    }[name]
    end = vocabulary - 1
    every = exact.enumerate_tree(
        TokenMDP(
            vocabulary, 3, reward=lambda tokens, lengths: np.zeros(len(tokens)), eos_token_id=end
        ),
        exact.random_reference(vocabulary, 3, seed=1),
    )
    table = every.rewards.copy()
    table[every.reachable(3)] = rewards
    return Answers.of(replace(every, rewards=table))


@dataclass(frozen=True, eq=False)
class End:
    """Where an objective ends on one tree, for one sampler and group size.

    `tv` and `kl` (nats) from pi* to where it ends, None where it has no end. `push_at_optimum`: the
    largest entry of its expected gradient at pi*, per unit of mass, in units of the typical push of
    one group at the reference.
    `settled`: it is a root, not where a walk was stopped.
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

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        names = (
            "tree",
            "sampler",
            "group_size",
            "verdict",
            "tv",
            "kl",
            "push_at_optimum",
            "evidence",
        )
        return {name: getattr(self, name) for name in names}


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
    "other optimum": a law that can be named."""
    answers = small_tree(tree)
    population = Population.of(
        answers, group_size, SAMPLERS[sampler], ordered=not subject.symmetric
    )
    optimum = optimum_of(answers, alpha)
    push = float(_field(subject, population, optimum, alpha).abs().max())
    found: dict[str, Any] = {
        "tree": tree,
        "sampler": sampler,
        "group_size": group_size,
        "push_at_optimum": push,
    }
    tied = len(answers.rewards.unique()) == 1
    way = (
        "" if tied or subject.free != ("logits",) or start else one_way(subject, population, alpha)
    )
    if way:
        return End(**found, verdict="collapses", tv=None, kl=None, evidence=way)
    point, settled = _root(subject, population, start, optimum, alpha)
    law, best = (
        law_at(subject, answers, point),
        answers.law(answers.tilted(answers.rewards / alpha)),
    )
    found |= {
        "tv": total_variation(law, best),
        "kl": divergence(law, best),
        "law": law,
        "point": point,
    }
    if push < ZERO and found["tv"] > SAME and not attracts(subject, population, optimum, alpha):
        evidence = (
            "pi* is at rest but repels: the expected update leads away from it (is a sign turned?)"
        )
        return End(**found, verdict="collapses", evidence=evidence)
    if float(law.max()) > 1 - 1e-4:
        reward = float(answers.rewards[law.argmax()])
        return End(
            **found, verdict="collapses", evidence=f"all mass on one answer, of reward {reward:g}"
        )
    if not settled:
        evidence = (
            f"no resting point found: this is where {STEPS} expected updates from the reference "
            "lead"
        )
        return End(**found, verdict="biased", evidence=evidence, settled=False)
    if found["tv"] < SAME:
        return End(**found, verdict="exact", evidence="ends at pi*")
    name = name_of(answers, law, alpha, group_size)
    return End(
        **found,
        verdict="other optimum" if name else "biased",
        evidence=name or "at no law with a known name",
    )


def optimum_of(answers: Answers, alpha: float) -> Point:
    """pi*, alpha V as critic, V as explicit value."""
    return point_at(answers, alpha, answers.tilted(answers.rewards / alpha))


def law_at(subject: Subject, answers: Answers, point: Point) -> Law:
    """The law of answers at a point; of an objective that trains V_theta only, pi_ref e^{V_theta}
    in every state.
    """
    if "logits" in subject.free:
        return answers.law(answers.policy(point.logits)).detach()
    child = torch.zeros_like(answers.reference)
    child[answers.states[answers.mask], answers.tokens[answers.mask]] = (
        point.prefix_values.detach()[answers.ends[answers.mask]]
    )
    return answers.law((answers.reference + child).log_softmax(-1))


def typical_push(subject: Subject, alpha: float) -> float:
    """The mean absolute slope that a group of two gives at the reference, summed over its tokens: a
    unit.
    """
    answers = small_tree(subject.tree)
    population = Population.of(answers, 2, ordered=not subject.symmetric)
    batch = population.batch(
        replace(point_at(answers, alpha), prefix_values=torch.zeros(answers.num_ends).double())
    )
    leaves = {name: getattr(batch, name).detach().clone().requires_grad_() for name in LIVE}
    loss = subject(replace(batch, **leaves), alpha).loss
    slopes = torch.autograd.grad(
        loss, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return float(sum(x.abs().sum() for x in slopes)) or 1.0


def _root(
    subject: Subject, population: Population, start: Point | None, optimum: Point, alpha: float
) -> tuple[Point, bool]:
    """An attracting root, by Newton's method from the reference, or from beside pi* if pi* is at
    rest; else where plain expected updates from the reference lead, and False."""
    first = replace(
        point_at(population.answers, alpha), prefix_values=torch.zeros_like(optimum.prefix_values)
    )
    begins = [start or first]
    if float(_field(subject, population, optimum, alpha).abs().max()) < ZERO:
        wave = (
            torch.arange(optimum.logits.numel()).view_as(optimum.logits).sin()
        )  # any nudge will do
        begins.append(replace(optimum, logits=optimum.logits + 0.1 * wave))
    for begin in begins:
        try:
            found = rest(subject, population, begin, subject.free, alpha=alpha)
        except ValueError:  # a step so wide that probabilities vanish: there is no root that way
            continue
        if found.converged and (
            start is not None or attracts(subject, population, found.point, alpha)
        ):
            return found.point, True
    x = first
    shapes = [getattr(x, name).shape for name in subject.free]
    for _ in range(STEPS):
        step = _field(subject, population, x, alpha).clamp(-WIDEST, WIDEST)
        if not bool(step.isfinite().all()):
            break
        parts = step.split([shape.numel() for shape in shapes])
        moved = {
            k: getattr(x, k) - p.view(shape)
            for k, p, shape in zip(subject.free, parts, shapes, strict=True)
        }
        x = replace(x, **moved)
    return x, False


def _field(
    subject: Subject, population: Population, point: Point, alpha: float
) -> Float[Tensor, " p"]:
    """Expected gradient of what is trained, per unit of the mass that passes through a state."""
    gradient = expect(subject, population, point, alpha=alpha).gradient
    visits = population.answers.visits(population.answers.policy(point.logits)).clamp(min=1e-12)
    scaled = {"logits": gradient["logits"] / visits[:, None], "values": gradient["values"] / visits}
    return torch.cat([(gradient | scaled)[name].flatten() for name in subject.free])


def attracts(subject: Subject, population: Population, point: Point, alpha: float) -> bool:
    """No eigenvalue of the Jacobian of the field has a negative real part: a small step away is
    undone.
    """
    shapes = [getattr(point, name).shape for name in subject.free]
    flat = torch.cat([getattr(point, name).detach().flatten() for name in subject.free])

    def at(x: Tensor) -> Tensor:
        parts = x.split([shape.numel() for shape in shapes])
        moved = {
            name: part.view(shape)
            for name, part, shape in zip(subject.free, parts, shapes, strict=True)
        }
        return _field(subject, population, replace(point, **moved), alpha)

    eye = STEP * torch.eye(len(flat), dtype=flat.dtype)
    jacobian = torch.stack([(at(flat + e) - at(flat - e)) / (2 * STEP) for e in eye], 1)
    real = torch.linalg.eigvals(jacobian).real
    return float(real.min()) >= -1e-6 * float(real.abs().max())


def push_along_rewards(subject: Subject, population: Population, alpha: float, c: float) -> float:
    """- d(expected loss)/dc on the path of tilts pi_ref e^{cR}, over Var(R): how hard it pushes for
    reward there.

    E[R] - alpha KL itself pushes with 1 - alpha c: 1 at the reference, 0 at pi*.
    """
    answers = population.answers
    return push_along(
        subject, population, answers.tilted(c * answers.rewards), answers.rewards, alpha
    )


def push_along(
    subject: Subject, population: Population, policy: Float[Tensor, "S V"], score: Law, alpha: float
) -> float:
    """- d(expected loss)/dc on the path policy e^{c score}, over the variance of the score, at c =
    0.
    """
    answers = population.answers
    law = answers.law(policy)
    ahead, behind = (
        answers.from_law((law.log() + sign * STEP * score).softmax(0)) for sign in (1, -1)
    )
    direction = ((ahead - behind) / (2 * STEP)).masked_fill(~answers.legal, 0.0)
    gradient = expect(subject, population, point_at(answers, alpha, policy), alpha=alpha).gradient[
        "logits"
    ]
    variance = law @ (score - law @ score).square()
    return -float((gradient * direction).sum() / variance)


def one_way(subject: Subject, population: Population, alpha: float) -> str:
    """What to say if it pushes the same way from the reference to far beyond pi*; else an empty
    string.
    """
    rewards = population.answers.rewards.unique()
    for sign, gap, whom in (
        (1, rewards[-1] - rewards[-2], "best"),
        (-1, rewards[1] - rewards[0], "worst"),
    ):
        places = [0.0, *(sign * (1 / alpha + far / float(gap)) for far in FAR)]
        pushes = [sign * push_along_rewards(subject, population, alpha, c) for c in places]
        if min(pushes) > 1e-6 * max(pushes):
            return (
                f"it pushes towards the {whom} answer all along pi_ref e^(cR), from c = 0 to "
                f"{places[-1]:.0f} "
                f"(pi* is c = {1 / alpha:g}){'; is a sign turned?' if sign < 0 else ''}"
            )
    return ""
