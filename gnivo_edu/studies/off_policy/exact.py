"""What the exact laboratory says of `off-policy`: where each method ends as more of its answers are
old, and whether its loss asks who wrote them.

The fifteen answers of the atlas, groups of two, a reference that stays. An old answer is one of the
reference, a new one is of the policy itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gnivo_edu import exact, objectives
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import Population, Sampler, expect, point_at, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.roots import rest
from gnivo_edu.training import load_config
from gnivo_edu.training.settings import reads_writers

ALPHA = 0.3
SHARES = (0.0, 0.25, 0.5, 1.0)  # of old answers
# How far the policy has gone since it wrote an old answer, as the reference: of the way to pi*.
STEPS = {"near": 0.1, "far": 0.25}
STRANGER = 7  # seed of another writer's habits
SAME = 1e-9  # what is nearer to the optimum ends there
Loss = Callable[..., LossOutput]
# Those that have an end in the laboratory, with what they solve for; of VIMPO its value loss. The
# published forms of the others run off, or rest where a clip jumps.
LOSSES: dict[str, tuple[Loss, tuple[str, ...]]] = {
    "GVPO": (objectives.gvpo, ("logits",)),
    "GN-IVO": (partial(objectives.gnivo, weights="softmax"), ("logits",)),
    "GN-IVO, raw weights": (objectives.gnivo, ("logits",)),
    "GN-IVO, completion weights": (partial(objectives.gnivo, weights="completion"), ("logits",)),
    "GN-IVO, last depth": (
        partial(objectives.gnivo, weights="softmax", prefixes="last"),
        ("logits",),
    ),
    "VIMPO": (partial(objectives.vimpo, actor=0.0), ("logits",)),
    "DRO": (objectives.dro, ("logits", "values")),
    "OREO": (objectives.oreo, ("logits", "values")),
}


def laboratory(method: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """`asks_writer`: whether the gradient of a method with these settings depends on who wrote an
    answer. `old`, by the share of old answers in hundredths: where it ends, total variation from
    pi*; `stranger`: the same where a stranger writes all answers.
    """
    config = load_config(**asked)
    loss = objectives.get(config.objective)
    asks = reads_writers(loss, config.objective_options, group_size=config.group_size)
    return {"asks_writer": int(asks)} | (ends(method) if method in LOSSES else {})


def ends(method: str) -> dict[str, Any]:
    """`old` and `stranger`, see `laboratory`."""
    old = {
        f"{share:.0%}".removesuffix("%"): distance(
            method, {"current": 1 - share, "reference": share}
        )
        for share in SHARES
    }
    return {"old": old, "stranger": distance(method, exact.random_reference(3, 3, seed=STRANGER))}


def distance(method: str, writer: Sampler) -> float:
    """Total variation from pi* of where a method ends on answers of some writer. RuntimeError where
    no end is found.
    """
    answers = problem("tree")
    optimum = answers.tilted(answers.rewards / ALPHA)
    loss, free = LOSSES[method]
    # One answer tells all where a value stands for the others.
    population = Population.of(answers, 1 if "values" in free else 2, sampler=writer)
    start = point_at(answers, ALPHA, policy=optimum)
    ended = rest(loss, population, start, free=free, alpha=ALPHA)
    if not ended.converged:
        raise RuntimeError(f"{method} has no end in the laboratory")
    law = answers.law(answers.policy(ended.point.logits))
    away = total_variation(law, answers.law(optimum))
    return away if away > SAME else 0.0


def pulls(asked: Mapping[str, Any]) -> dict[str, float]:
    """The pull of an old answer, by how far the policy has gone since it was written (`STEPS`): of
    the step that new answers make, how much old ones make of it,

        <g_old, g_new> / <g_new, g_new>,

    g the expected gradient, by the policy's logits, of the loss with these settings, as published.
    1: as much as a new answer; 0: an old answer teaches nothing of what a new one does.

    >>> pulls({"setting": "gvpo/initial"})["far"].__round__(2)
    0.99
    """
    config = load_config(**asked)
    loss = partial(objectives.get(config.objective), **config.objective_options)
    answers = problem("tree")
    pulled = {}
    for name, way in STEPS.items():
        point = point_at(answers, ALPHA, policy=answers.tilted(way * answers.rewards / ALPHA))
        new, old = (
            expect(loss, Population.of(answers, 2, sampler=writer), point).gradient["logits"]
            for writer in ("current", "reference")
        )
        pulled[name] = float((old * new).sum() / (new * new).sum())
    return pulled
