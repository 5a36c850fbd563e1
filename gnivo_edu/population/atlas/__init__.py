"""The fixed-point atlas: where each objective comes to rest, how far from pi*, what theory says.

Here are the solver and the report; `row` says what a row is; `implicit`, `vimpo` and `baselines`
hold them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnivo_edu import exact, objectives
from gnivo_edu.machine import one_thread
from gnivo_edu.population import (
    Answers,
    Point,
    Population,
    divergence,
    ended_answers,
    expect,
    laws,
    point_at,
    sampling_policy,
    total_variation,
)
from gnivo_edu.population.atlas import baselines, implicit, vimpo
from gnivo_edu.population.atlas.row import Case, Row
from gnivo_edu.population.laws import SAME, Verdict
from gnivo_edu.population.roots import Rest, rest, slopes

GRID = tuple(2.0**k for k in range(-3, 5))  # nats from the worst to the best answer, on the path
# Of the 15 answers of "tree"; some tie.
REWARDS = (0.3, 0.9, 0.6, 0.1, 0.4, 0.7, 0.2, 0.4, 0.5, 0.4, 0.6, 1.0, 0.8, 0.0, 0.5)


@dataclass(frozen=True)
class Entry:
    """A row, solved. `verdict` is computed from the numbers alone; `law`: where it ends, by answer.

    `agrees`: the verdict is the one that theory expects, and the law is the theory's to within 1e-6
    where theory has one.
    """

    row: Row
    law: Tensor
    verdict: Verdict
    gradient_norm_at_optimum: float
    tv_from_optimum: float
    kl_from_optimum: float
    theory_error: float | None
    evidence: dict[str, Any]

    @property
    def agrees(self) -> bool:
        """Whether theory and computation agree."""
        right = self.row.expected in (None, self.verdict)
        return right and (self.theory_error is None or self.theory_error < SAME)

    def to_json(self) -> dict[str, Any]:
        """The row of `atlas --json`."""
        row = self.row
        return {
            "objective": row.objective,
            "variant": row.variant,
            "sampling": row.samples,
            "gradient_norm_at_optimum": self.gradient_norm_at_optimum,
            "tv_from_optimum": self.tv_from_optimum,
            "kl_from_optimum": self.kl_from_optimum,
            "theory": row.theory,
            "theory_error": self.theory_error,
            "evidence": self.evidence,
            "verdict": self.verdict,
            "source": row.source,
            "read_in": row.read_in,
            "command": f"gnivo-edu atlas --only {row.objective}",
            "problem": row.problem,
            "alpha": row.alpha,
            "group_size": row.group_size,
            "agrees": self.agrees,
        }


@cache
def problem(name: str) -> Answers:
    """The small problems of the atlas, each with a random reference.

    "tree": three tokens, one of which ends the answer, at most three long: 15 answers of unequal
    length. "one step": five answers of one token. "16 answers": four binary tokens. Rewards lie in
    0..1, some tie, one is the best.
    """
    if name == "tree":
        return ended_answers(3, REWARDS)
    if name == "one step":
        reference = exact.random_reference(5, 1, seed=1)
        rewards = np.array([0.0, 0.3, 0.3, 0.7, 1.0])
    else:
        reference = exact.random_reference(2, 4, seed=1)
        rewards = np.random.default_rng(0).permutation(16) / 15
    vocab_size = reference[0].shape[1]
    return Answers.of(exact.enumerate_tree_from_rewards(rewards, vocab_size, reference=reference))


@one_thread()
def find(row: Row) -> Entry:
    """Solve one row by Newton's method; evidence where its objective has no interior rest."""
    answers = problem(row.problem)
    sampler = row.sampling(answers) if callable(row.sampling) else row.sampling
    population = replace(Population.of(answers, row.group_size, sampler=sampler), parts=row.parts)
    optimum = laws.tilt(answers, row.alpha)
    at_optimum = _start(row, answers, policy=answers.from_law(optimum))
    gradient = slopes(row.loss, population, point=at_optimum, extra=_anchor(row, answers))
    norm = float(torch.cat([gradient[name].flatten() for name in row.free]).norm())

    # Where theory knows a law there is a root to look for. Otherwise the objective may run off:
    # first see whether it pushes mass to the best answers all along a path.
    search = None
    evidence: dict[str, Any] = {"uphill": 0.0}
    if row.law is None and row.free == ("logits",):
        evidence = _push(row, population)
    if evidence["uphill"] == 1.0:
        end = laws.argmax(answers)
    else:
        search = _settle(row, population)
        end = _law(row, answers, point=search.point)
        evidence = {
            "kind": "root",
            "residual": search.residual,
            "iterations": search.iterations,
            "text": f"Newton's method: expected gradient {search.residual:.0e} after "
            f"{search.iterations} steps",
        }
    end_law, best_law = (
        law if row.depth is None else laws.prefix_law(answers, law, depth=row.depth)
        for law in (end, optimum)
    )
    tv = total_variation(end_law, best_law)
    error = None
    if row.law is not None:
        drawn = answers.law(sampling_policy(answers, sampler, current=answers.from_law(end)))
        value = row.alpha * float(at_optimum.log_z)
        case = Case(answers, row.alpha, K=row.group_size, sampler=drawn, value=value)
        error = total_variation(end_law, row.law(case))
    return Entry(
        row,
        end,
        verdict=_verdict(search, tv, error=error),
        gradient_norm_at_optimum=norm,
        tv_from_optimum=tv,
        kl_from_optimum=divergence(end_law, best_law),
        theory_error=error,
        evidence=evidence,
    )


def rows_of(only: str | None = None) -> list[Row]:
    """All rows, or those of one objective; one without rows gets three, with no theory to match."""
    if only is not None:
        objectives.get(only)  # says which name is nearest if there is none
    stated = (*implicit.ROWS, *vimpo.ROWS, *baselines.ROWS)
    rows: list[Row] = []
    for name in objectives.names() if only is None else (only,):
        unknown = Row(name, "defaults", expected=None, theory="none stated", source="registry")
        rows += [row for row in stated if row.objective == name] or [
            replace(unknown, sampling=sampler, read_in="code")
            for sampler in ("reference", "current", "uniform")
        ]
    return rows


def atlas(
    only: str | None = None, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """The whole atlas, or the rows of one objective: the report of `gnivo-edu atlas --json`.

    >>> report = atlas("dr_grpo")
    >>> report["passed"], [row["verdict"] for row in report["rows"]]
    (True, ['collapses', 'other optimum', 'other optimum', 'other optimum'])
    """
    start = time.perf_counter()
    entries = entries_of(only, progress)
    return {
        "passed": all(entry.agrees for entry in entries),
        "rows": [entry.to_json() for entry in entries],
        "seconds": time.perf_counter() - start,
    }


def entries_of(
    only: str | None = None, progress: Callable[[str], None] = lambda line: None
) -> list[Entry]:
    """The solved rows, with their laws, for figures and tests."""
    entries = []
    for row in rows_of(only):
        progress(f"{row.objective}: {row.variant}")
        entries.append(find(row))
    return entries


def _verdict(search: Rest | None, tv: float, error: float | None) -> Verdict:
    if search is None or not search.converged:
        return "collapses"
    if tv < SAME:
        return "exact"
    return "other optimum" if error is not None and error < SAME else "biased"


def _start(row: Row, answers: Answers, policy: Tensor | None = None) -> Point:
    """The reference (or a given policy), with critics and values exact up to the row's shift."""
    point = point_at(answers, row.alpha, policy=policy)
    return replace(
        point,
        values=point.values + row.shift * (1 + answers.depths),
        log_z=point.log_z + row.shift / row.alpha,
    )


def _settle(row: Row, population: Population) -> Rest:
    """Where the search ends, from the reference; as often as the reference is refreshed."""
    answers = population.answers
    start = _start(row, answers)
    learnt = [name for name in row.free if name != "logits"]
    start = replace(start, **{name: torch.zeros_like(getattr(start, name)) for name in learnt})
    if row.warm:
        easy = replace(row, warm={}, **row.warm)
        smaller = Population.of(answers, easy.group_size, sampler=population.sampler)
        start = _settle(easy, smaller).point
    anchor = _anchor(row, answers)
    for _ in range(row.refreshes):
        search = rest(row.loss, population, start=start, free=row.free, extra=anchor)
        # The next reference, on the same answers; where the objective ends is then told from the
        # first one, which also stays the anchor's.
        reference = answers.policy(search.point.logits).detach()
        moved = replace(population.answers, reference=reference)
        population = replace(population, answers=moved)
    return search


def _anchor(row: Row, answers: Answers) -> Callable[[Point], Tensor] | None:
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


def _law(row: Row, answers: Answers, point: Point) -> Tensor:
    """Law of answers at a point; of an explicit V_theta, that of pi_ref e^{V_theta}."""
    if row.free == ("prefix_values",):
        return laws.tilt_by(answers, point.prefix_values[answers.ends[:, -1]])
    return answers.law(answers.policy(point.logits)).detach()


def _push(row: Row, population: Population) -> dict[str, Any]:
    """Slope of minus the expected loss along the path pi_ref e^{cR}, at each c of a grid.

    If it is positive throughout, no policy on the path is a rest: mass keeps moving to the best
    answers.
    """
    answers = population.answers
    scaled = answers.rewards / (answers.rewards.max() - answers.rewards.min())
    pushes = []
    for c in GRID:
        policy, ahead, behind = (answers.tilted((c + e) * scaled) for e in (0.0, 1e-4, -1e-4))
        direction = ((ahead - behind) / 2e-4).masked_fill(~answers.legal, 0.0)
        point = _start(row, answers, policy=policy)
        gradient = expect(row.loss, population, point=point).gradient["logits"]
        pushes.append(-float((gradient * direction).sum()))
    count = sum(push > 0 for push in pushes)
    text = (
        f"the expected update moves mass to the best answers at {count} of {len(GRID)} policies "
        f"pi_ref e^(cR), {GRID[0]:g} to {GRID[-1]:g} nats from worst to best (ties keep the "
        "reference's shares)"
    )
    uphill = count / len(pushes)
    return {"kind": "push", "uphill": uphill, "nats": list(GRID), "push": pushes, "text": text}
