"""Where the searches of the atlas begin: the reference, its opposite, and random policies."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gnivo_edu.population import Answers, Point, point_at
from gnivo_edu.population.atlas.row import Row

SPREAD = 2.0  # nats (or reward units): the deviation of a random start


def start_at(row: Row, answers: Answers, policy: Tensor | None = None) -> Point:
    """The reference (or a given policy), with critics and values exact up to the row's shift."""
    point = point_at(answers, row.alpha, policy=policy)
    return replace(
        point,
        values=point.values + row.shift * (1 + answers.depths),
        log_z=point.log_z + row.shift / row.alpha,
    )


def starts_of(row: Row, answers: Answers) -> dict[str, Point]:
    """The starts by name. Critics that are learnt start at 0, or at random as the policy does; of
    an explicit V_theta the opposite is minus the exact values.
    """
    exact = start_at(row, answers)
    learnt = [name for name in row.free if name != "logits"]
    first = replace(exact, **{name: torch.zeros_like(getattr(exact, name)) for name in learnt})
    opposite = replace(first, prefix_values=-exact.prefix_values)
    if "logits" in row.free:
        away = answers.tilted(-answers.rewards / row.alpha)
        opposite = replace(first, logits=away.masked_fill(~answers.legal, 0.0))
    starts = {"reference": first, "opposite tilt": opposite}
    flat = first.flat(row.free)
    for seed in range(1, row.random_starts + 1):
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(len(flat), generator=generator, dtype=flat.dtype)
        starts[f"random {seed}"] = first.with_flat(row.free, SPREAD * drawn)
    return starts
