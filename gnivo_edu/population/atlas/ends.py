"""Where a row of the atlas ends: the flow of its expected update, followed from several starts.

No end is written down: a rest is a root of the expected gradient to which the flow has come close,
polished by Newton's method; an edge is where the flow itself has left one reward alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gnivo_edu.population import Answers, Point, Population, laws, total_variation
from gnivo_edu.population.atlas.row import Row
from gnivo_edu.population.atlas.starts import starts_of
from gnivo_edu.population.flow import CLOSE, EDGE, STILL, Kind, likeliest, pauses
from gnivo_edu.population.laws import SAME, Law
from gnivo_edu.population.roots import Field, chord, jacobian, mass_field, newton

# Steps of Newton's method: none where the flow may only be passing.
NEWTON = {"slow": 0, "rest": 30}
Route = tuple[tuple[str, ...], Point, Population]  # names of starts, where they are, the groups
ZERO = 1e-9  # expected gradient per unit of mass


@dataclass(frozen=True, eq=False)
class End:
    """Where the searches from `starts` ended, all at one place.

    `kind`: "rest", a root; "edge", all mass on answers of one reward, with no rest; "held", at a
    jump of the field; "moving", still on its way. `attracts`: whether the flow leads back to a rest
    from nearby, None where that was not asked. `residual`: largest entry of the expected gradient
    per unit of mass. `inverse`: that of its Jacobian at a rest.
    """

    starts: tuple[str, ...]
    point: Point
    law: Law
    kind: Kind
    residual: float
    attracts: bool | None = None
    inverse: Tensor | None = None


def ends_of(
    row: Row, population: Population, starts: Mapping[str, Point] | None = None
) -> list[End]:
    """All ends of a row, each with the names of the starts (by default those of `starts_of`) that
    lead to it; as often as the reference is refreshed.

    Where a smaller search goes first (`warm`) the flow is the smaller one's, and here its ends are
    confirmed.
    """
    answers = population.answers
    starts = starts or starts_of(row, answers)
    routes: list[Route] = [((name,), point, population) for name, point in starts.items()]
    if row.warm:
        easy = replace(row, warm={}, **row.warm)
        smaller = Population.of(answers, easy.group_size, sampler=population.sampler)
        routes = [
            (end.starts, end.point, population) for end in ends_of(easy, smaller, starts=starts)
        ]
    for _ in range(row.refreshes):
        ends: list[End] = []
        for names, start, groups in routes:
            end = _end(row, groups, start, known=ends)
            ends = _joined(row, answers, ends, new=replace(end, starts=names))
        routes = [(end.starts, end.point, _refreshed(population, end)) for end in ends]
    return ends


def law_at(row: Row, answers: Answers, point: Point) -> Law:
    """Law of answers at a point; of an explicit V_theta, that of pi_ref e^{V_theta}."""
    if row.free == ("prefix_values",):
        return laws.tilt_by(answers, point.prefix_values[answers.ends[:, -1]])
    return answers.law(answers.policy(point.logits)).detach()


def seen(row: Row, answers: Answers, law: Law) -> Law:
    """What a row looks at of a law: the answers, or their prefixes of `depth` tokens."""
    return law if row.depth is None else laws.prefix_law(answers, law, depth=row.depth)


def anchor_of(row: Row, answers: Answers) -> Callable[[Point], Tensor] | None:
    """beta KL(pi || pi_0) of whole answers: the KL of each state, times the chance to pass it. Of
    the gradient by "states" that chance is a constant.
    """

    def loss(point: Point) -> Tensor:
        policy = answers.policy(point.logits)
        visits = answers.visits(policy)
        if row.anchor_gradient == "states":
            visits = visits.detach()
        return row.anchor * (visits * answers.kl(policy)).sum()

    return loss if row.anchor else None


def _end(row: Row, population: Population, start: Point, known: list[End]) -> End:
    """Follow the flow from one start until it comes to rest, to an edge, or to the end of its time.

    `known`: ends of other starts, whose Jacobians spare one here.
    """
    answers = population.answers
    extra = anchor_of(row, answers)
    field = mass_field(row.loss, population, start, free=row.free, extra=extra)

    law_of = partial(law_at, row, answers)
    for point, law, speed, kind in pauses(field, start, row.free, law_of=law_of, answers=answers):
        here = End((), point, law=law, kind=kind, residual=speed)
        if kind == "slow" or (kind == "rest" and population.parts == 1):
            root = _rest(row, answers, field, here, known=known)
            near = root.residual < ZERO and total_variation(root.law, law) < CLOSE
            # The flow may only be passing by a rest that repels; and where one answer is left, to
            # rounding, a field may vanish that pushes towards it from everywhere else.
            inside = 1 - likeliest(answers, root.law)[1] > EDGE
            if near and inside and (kind == "rest" or root.attracts):
                return root
    return here


def _rest(row: Row, answers: Answers, field: Field, here: End, known: Sequence[End]) -> End:
    """The root of the field nearby, by the inverse Jacobian of a known root, or of this place;
    where that does not settle, by Newton's method.
    """
    x = here.point.flat(row.free)

    def end(x: Tensor, residual: float, **more: Any) -> End:
        point = here.point.with_flat(row.free, x)
        law = law_at(row, answers, point)
        return End((), point, law=law, kind="rest", residual=residual, **more)

    for other in known:
        if other.inverse is not None and total_variation(other.law, here.law) < CLOSE:
            root, residual, _ = chord(field, x, other.inverse)
            if residual < ZERO:
                return end(root, residual, attracts=other.attracts, inverse=other.inverse)
    root, residual, _ = chord(field, x, inverse_of(jacobian(field, x, field(x))))
    if residual > ZERO:
        root, residual, _ = newton(field, x, limit=NEWTON[here.kind])
    if residual > ZERO:
        return end(root, residual)
    slope = jacobian(field, root, field(root))
    real = torch.linalg.eigvals(slope).real
    attracts = float(real.min()) >= -1e-4 * float(real.abs().max())
    return end(root, residual, attracts=attracts, inverse=inverse_of(slope))


def inverse_of(slope: Tensor) -> Tensor:
    """Of a Jacobian, but for the directions that the field does not see."""
    return torch.linalg.pinv(slope, rcond=1e-4)


def _joined(row: Row, answers: Answers, ends: list[End], new: End) -> list[End]:
    """The ends with one more, which may be one of them: to rounding at a rest, else to the mass
    that is on its way."""
    for i, end in enumerate(ends):
        apart = total_variation(*(seen(row, answers, law) for law in (end.law, new.law)))
        if end.kind == new.kind and apart < (SAME if end.kind == "rest" else STILL):
            joined = replace(end, starts=(*end.starts, *new.starts))
            return [*ends[:i], joined, *ends[i + 1 :]]
    return [*ends, new]


def _refreshed(population: Population, end: End) -> Population:
    """The next reference, on the same answers; where the objective ends is then told from the first
    one, which also stays the anchor's.
    """
    reference = population.answers.policy(end.point.logits).detach()
    return replace(population, answers=replace(population.answers, reference=reference))
