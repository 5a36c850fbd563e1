"""Where an objective comes to rest: Newton's method, against steps along the expected gradient."""

from __future__ import annotations

from time import process_time
from typing import Any

import torch

from gnivo_edu import objectives
from gnivo_edu.bench.ratio import Progress, Row, race, ratio_row
from gnivo_edu.machine import one_thread
from gnivo_edu.population import Population, point_at, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.roots import Objective, mass_field, rest

ALPHA = 0.3
TOLERANCE = 1e-9  # of the expected gradient per unit of mass, for both
RATE, LIMIT = 0.5, 20_000  # of the plain steps: twice the rate diverges
CASES: dict[str, tuple[Objective, dict[str, Any]]] = {
    "GVPO": (objectives.gvpo, {"alpha": ALPHA}),
    "GN-IVO": (objectives.gnivo, {"alpha": ALPHA, "reward_max": 1.0}),
}


@one_thread()
def bench_atlas(group_size: int = 2, repeats: int = 9, progress: Progress = None) -> list[Row]:
    """`roots.rest`, by which rows of the atlas are solved, from the reference to where the expected
    gradient over all groups vanishes: against plain steps along that gradient, each divided by how
    often the sampler takes the action, to the same tolerance. Both end at the same law. Times are
    those of the processor, on one thread.
    """
    return [
        _case(name, objective, settings, group_size=group_size, repeats=repeats, progress=progress)
        for name, (objective, settings) in CASES.items()
    ]


def _case(
    name: str,
    objective: Objective,
    settings: dict[str, Any],
    group_size: int,
    repeats: int,
    progress: Progress,
) -> Row:
    answers = problem("tree")
    population = Population.of(answers, group_size)
    start = point_at(answers, ALPHA)
    field = mass_field(objective, population, start, **settings)

    def newton(repeat: int) -> torch.Tensor:
        return rest(objective, population, start, tolerance=TOLERANCE, **settings).point.logits

    def plain_steps(repeat: int) -> torch.Tensor:
        x = start.flat(("logits",))
        for _ in range(LIMIT):
            slope = field(x)
            if float(slope.abs().max()) < TOLERANCE:
                break
            x = x - RATE * slope
        return start.with_flat(("logits",), x).logits

    calls = {"Newton": newton, "plain steps": plain_steps}
    runs = race(calls, repeats, progress=progress, label=f"{name}, ", clock=process_time)
    laws = [answers.law(answers.policy(run.results[0])) for run in runs.values()]
    assert float(total_variation(*laws)) < 1e-6
    ours, peer = (run.seconds for run in runs.values())
    return ratio_row(f"{name}: rest / plain steps", ours, peer=peer, unit="s")
