"""Where the expected update leads: the flow of a field, and where it seems to come to rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.population.answers import Answers, total_variation
from gnivo_edu.population.groups import Point
from gnivo_edu.population.roots import Field, jacobian

ERROR = 0.02  # nats (or reward units) by which one step may err
WIDEST = 8.0  # by which it may move a coordinate
PUSH = 1e-10  # largest entry of the field below which nothing moves
# Log-probabilities of an action in a state, nats: below the first, how fast it is pushed further
# out does not matter; below the second it is as good as gone.
RARE, GONE = -6.0, -25.0
EDGE = 1e-8  # chance of all other rewards at which a flow to an edge is followed no further
NEAR_EDGE = 1e-3  # at which it is called one where time runs out
STILL = 5e-3  # total variation within `WINDOW` steps below which the flow seems to come to rest
WINDOW = 6
QUIET = 0.2  # of the largest push on the way: what is left of it near a rest
CLOSE = 0.05  # total variation from there to the rest that a root search finds
LONGEST = 1_000  # expectations that explicit steps may take
SLOW = 50  # implicit steps after them
HELD = 100  # expectations in which a flow that is still pushed has to get somewhere
PUSHED = 0.01  # of the largest push: what is no rest, however slow
Leaving = Callable[[Tensor, Tensor], Tensor]
Kind = Literal["slow", "rest", "edge", "held", "moving"]


class Pause(NamedTuple):
    """A place on the flow, the law of answers there, and the largest entry of the field.

    `kind`: "slow", it seems to come to rest; "rest", nothing moves; "edge", answers of one reward
    have all mass; "held", it is pushed as before and gets nowhere, since the field jumps there (a
    clip); "moving", time is up.
    """

    point: Point
    law: Float[Tensor, " n"]
    speed: float
    kind: Kind


def flow(
    field: Field, x: Float[Tensor, " p"], leaving: Leaving | None = None
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """dx/dt = -field(x), [p] -> [p]: the start and every step after it, each with the field there
    and the expectations so far.

    Heun's method with steps as long as its error estimate allows; it ends where the field vanishes,
    or where no step is short enough (a jump of the field, the edge of what float64 holds).
    `leaving`: which entries, of a point and its push, may err: they are on their way to minus
    infinity, some in finite time, and no step would be short enough for them.

    >>> start = torch.tensor([1.0], dtype=torch.float64)
    >>> places = [x for _, (x, _, _) in zip(range(40), flow(lambda x: x, start))]
    >>> float(places[-1]) < 0.02
    True
    """
    slope = field(x)
    calls, speed = 1, float(slope.abs().max())
    yield x, slope, calls
    step = ERROR / max(speed, PUSH)
    while speed > PUSH and step > 1e-9 * ERROR / speed:
        ahead = field(x - step * slope)
        calls += 1
        if leaving is not None:
            ahead = torch.where(leaving(x, slope), slope, ahead)
        error = float((step / 2 * (ahead - slope)).abs().max())
        # Written so that a number that is none is too large.
        if not error < ERROR:
            step *= max(0.2, 0.8 * (ERROR / error) ** 0.5) if error < torch.inf else 0.2
            continue
        x = x - step / 2 * (slope + ahead)
        slope = field(x)
        calls += 1
        speed = float(slope.abs().max())
        yield x, slope, calls
        longer = min(4.0, 0.8 * (ERROR / max(error, 1e-300)) ** 0.5)
        step = min(step * longer, WIDEST / max(speed, PUSH))


def slow_flow(
    field: Field, x: Float[Tensor, " p"], leaving: Leaving
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """The same flow by the implicit Euler method, linearised: dear, each step costs a Jacobian, and
    not held up by what has long come to rest while the remainder only fades.
    """
    slope, calls = field(x), 1
    step = 1 / max(float(slope.abs().max()), PUSH)
    for _ in range(SLOW):
        matrix = jacobian(field, x, slope) + torch.eye(len(x), dtype=x.dtype) / step
        move = -torch.linalg.solve(matrix, slope)
        calls += len(x) + 1
        longest = float(move.masked_fill(leaving(x, slope), 0.0).abs().max())
        # A long step against the push has passed by the saddle that it comes from.
        if not (longest < 2.0 and float(move @ slope) < 0):
            step /= 4
            continue
        x = x + move
        slope = field(x)
        yield x, slope, calls
        step *= 4 if longest < 1.0 else 1


def pauses(
    field: Field,
    start: Point,
    free: tuple[str, ...],
    law_of: Callable[[Point], Tensor],
    answers: Answers,
) -> Iterator[Pause]:
    """Follow the flow of the fields named by `free`; pause where it seems to come to rest, at the
    last place in any case.

    Whoever asks for the next pause says that there is no rest nearby: the flow then has to become
    ten times as slow. Where it is still under way after `LONGEST` expectations it goes on with
    implicit steps.
    """

    def rarer(nats: float, x: Tensor, push: Tensor) -> Tensor:
        rare = torch.zeros(len(x), dtype=torch.bool)
        if free[0] == "logits":
            policy = answers.policy(start.with_flat(free, x).logits).flatten()
            rare[: len(policy)] = (policy < nats) & (push[: len(policy)] > 0)
        return rare

    def held(x: Tensor) -> Tensor:
        # An action that is as good as gone, and is pushed further out, is left alone.
        push = field(x)
        return push.masked_fill(rarer(GONE, x, push), 0.0)

    recent: list[Tensor] = []
    still, fastest = STILL, 0.0
    marked, past, held_back = 0, None, False
    leaving = partial(rarer, RARE)

    def path() -> Iterator[tuple[Tensor, Tensor, int]]:
        for moment in flow(held, start.flat(free), leaving):
            yield moment
            if moment[2] > LONGEST:
                break
        yield from slow_flow(held, moment[0], leaving)

    for x, push, calls in path():
        point = start.with_flat(free, x)
        law = law_of(point)
        recent = [*recent[-WINDOW:], law]
        # What is leaving may be ever faster, and says nothing of what stays.
        pace = float(push.masked_fill(leaving(x, push), 0.0).abs().max())
        speed, fastest = float(push.abs().max()), max(fastest, pace)
        main, mass = likeliest(answers, law)
        left = 1 - mass
        # Beside a corner that it passes by, other answers fade for long while a better one grows.
        growing = (law > recent[-2 if len(recent) > 1 else -1]) & (answers.rewards != main)
        if speed < PUSH or (left < EDGE and not bool(growing.any())):
            break
        if calls > marked + HELD:
            held_back = past is not None and total_variation(past, law) < STILL
            if held_back and pace > PUSHED * fastest:
                break
            marked, past = calls, law
        held_back = False
        slow = len(recent) > WINDOW and total_variation(recent[0], law) < still
        if slow and pace < QUIET * fastest:
            yield Pause(point, law, speed, "slow")
            still /= 10
    kind: Kind = "held" if held_back else "moving"
    # A rest may be narrow, too; but nothing there is still pushed out.
    pushed_out = left < NEAR_EDGE and bool(rarer(GONE, x, field(x)).any())
    if left < EDGE or pushed_out or (left < NEAR_EDGE and speed > PUSH):
        kind = "edge"
    elif speed < PUSH:
        kind = "rest"
    yield Pause(point, law, speed, kind)


def likeliest(answers: Answers, law: Float[Tensor, " n"]) -> tuple[float, float]:
    """The reward that answers earn most often, and the mass of all answers that earn it; where all
    earn the same, the mass of the likeliest."""
    levels, index = answers.rewards.unique(return_inverse=True)
    if len(levels) == 1:
        return float(levels[0]), float(law.max())
    mass = index.bincount(law)
    return float(levels[mass.argmax()]), float(mass.max())
