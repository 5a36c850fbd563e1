"""The exact expected gradient: every group once, against plain loops over groups."""

from __future__ import annotations

from dataclasses import replace
from time import process_time

import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.bench.ratio import Progress, Row, race, ratio_row
from gnivo_edu.machine import one_thread
from gnivo_edu.population import Point, Population, expect, point_at
from gnivo_edu.population.atlas import problem

ALPHA = 0.3


@one_thread()
def bench_population(group_size: int = 3, repeats: int = 9, progress: Progress = None) -> list[Row]:
    """`population.expect`, the expected loss and gradient of GVPO over all groups of K answers: as
    one record of all multisets, against one record of all K-tuples, and against a loop over
    multisets that differentiates one group at a time. All give the same numbers. Times are those of
    the processor, on one thread.

    >>> [row["case"] for row in bench_population(group_size=2, repeats=1)]
    ['expect, 120 groups of 2 / 225 tuples', 'expect / one group at a time']
    """
    answers = problem("tree")
    listed, ordered = (Population.of(answers, group_size, ordered=flag) for flag in (False, True))
    point = point_at(answers, ALPHA)

    def gradient(population: Population) -> Tensor:
        return expect(objectives.gvpo, population, point, alpha=ALPHA).gradient["logits"]

    calls = {
        "expect": lambda repeat: gradient(listed),
        "tuples": lambda repeat: gradient(ordered),
        "loop": lambda repeat: one_by_one(listed, point),
    }
    runs = race(calls, repeats, progress=progress, clock=process_time)
    for run in runs.values():
        torch.testing.assert_close(run.results[0], runs["expect"].results[0], rtol=0, atol=1e-10)
    ours = runs["expect"].seconds
    groups = f"expect, {len(listed.choice):,} groups of {group_size}"
    case = f"{groups} / {len(ordered.choice):,} tuples"
    return [
        ratio_row(case, ours, peer=runs["tuples"].seconds, unit="s"),
        ratio_row(
            "expect / one group at a time", ours, peer=runs["loop"].seconds, unit="s", bound=10.0
        ),
    ]


def one_by_one(population: Population, point: Point) -> Tensor:
    """The expected gradient by the policy's logits as one writes it down first."""
    leaves = point.detached()
    weights = population.weights(population.answers.reference)
    total = torch.zeros_like(leaves.logits)
    for number, weight in enumerate(weights):
        here = slice(number, number + 1)
        group = replace(
            population,
            choice=population.choice[here],
            multiplicity=population.multiplicity[here],
        )
        loss = objectives.gvpo(group.batch(leaves), alpha=ALPHA).loss
        total += weight * torch.autograd.grad(loss, leaves.logits)[0]
    return total
