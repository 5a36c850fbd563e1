"""The fixed-point atlas: where each objective comes to rest, how far that is from pi*, and what
theory says.
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
from gnivo_edu.population import laws
from gnivo_edu.population.answers import Answers, divergence, total_variation
from gnivo_edu.population.atlas import baselines, implicit
from gnivo_edu.population.atlas.row import Case, Row, Verdict
from gnivo_edu.population.expectation import expect, point_at
from gnivo_edu.population.groups import Point, Population, sampling_policy
from gnivo_edu.population.roots import Rest, rest
from toy_envs import TokenMDP

SAME = 1e-6  # total variation below which two laws are the same
GRID = tuple(
    2.0**k for k in range(-3, 5)
)  # nats between the worst and the best answer, on the path of tilts
REWARDS = (
    0.3,
    0.9,
    0.6,
    0.1,
    0.4,
    0.7,
    0.2,
    0.4,
    0.5,
    0.4,
    0.6,
    1.0,
    0.8,
    0.0,
    0.5,
)  # of the 15 answers; some tie


@dataclass(frozen=True)
class Entry:
    """A row as found. `verdict` is computed from the numbers alone; `agrees`: it is the one that
    theory expects, and the law found is the theory's to within 1e-6 where theory has one. `law`:
    where it ends, by answer."""

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
    0..1, some tie, one is the best."""
    if name == "tree":
        rewards = iter(REWARDS)
        table = {answer: next(rewards) for answer in sorted(_ended_answers())}

        def reward(tokens: Any, lengths: Any) -> Any:
            return np.array(
                [
                    table[tuple(t[:n])]
                    for t, n in zip(tokens.tolist(), lengths.tolist(), strict=True)
                ]
            )

        mdp, reference = (
            TokenMDP(3, 3, reward=reward, eos_token_id=2),
            exact.random_reference(3, 3, seed=1),
        )
        return Answers.of(exact.enumerate_tree(mdp, reference))
    if name == "one step":
        return Answers.of(
            exact.enumerate_tree_from_rewards(
                [0.0, 0.3, 0.3, 0.7, 1.0], 5, exact.random_reference(5, 1, seed=1)
            )
        )
    scores = np.random.default_rng(0).permutation(16) / 15
    return Answers.of(
        exact.enumerate_tree_from_rewards(scores, 2, exact.random_reference(2, 4, seed=1))
    )


def _ended_answers() -> list[tuple[int, ...]]:
    """Answers over a = 0, b = 1, end = 2 of at most three tokens."""
    inner = [()] + [(a,) for a in (0, 1)] + [(a, b) for a in (0, 1) for b in (0, 1)]
    return [(*x, 2) for x in inner] + [(*x, a) for x in inner if len(x) == 2 for a in (0, 1)]


@one_thread()
def find(row: Row) -> Entry:
    """Solve one row: where its objective ends, by Newton's method, and the evidence where it has no
    interior rest.
    """
    answers = problem(row.problem)
    sampler = row.sampling(answers) if callable(row.sampling) else row.sampling
    population = replace(Population.of(answers, row.group_size, sampler), parts=row.parts)
    optimum = laws.tilt(answers, row.alpha)
    gradient = expect(
        row.loss, population, _start(row, answers, answers.from_law(optimum))
    ).gradient
    norm = float(_with_anchor(row, answers, gradient, answers.from_law(optimum)).norm())

    evidence = (
        _push(row, population) if row.law is None and row.free == ("logits",) else {"uphill": 0.0}
    )
    if evidence["uphill"] == 1.0:
        end, found = laws.argmax(answers), None
    else:
        found = _settle(row, population)
        end = _law(row, answers, found.point)
        evidence = {
            "kind": "root",
            "residual": found.residual,
            "iterations": found.iterations,
            "text": f"Newton's method: expected gradient {found.residual:.0e} after {found.iterations} steps",
        }
    seen, best = (
        x if row.depth is None else laws.prefix_law(answers, x, row.depth) for x in (end, optimum)
    )
    tv = total_variation(seen, best)
    error = None
    if row.law is not None:
        law = answers.law(sampling_policy(answers, sampler, answers.from_law(end)))
        error = total_variation(
            seen, row.law(Case(answers, row.alpha, row.group_size, law, row.shift))
        )
    return Entry(
        row, end, _verdict(found, tv, error), norm, tv, divergence(seen, best), error, evidence
    )


def rows_of(only: str | None = None) -> list[Row]:
    """All rows, or those of one objective; an objective without rows of its own gets three, with no
    theory to match.
    """
    if only is not None:
        objectives.get(only)  # says which name is nearest if there is none
    names = objectives.names() if only is None else (only,)
    found: list[Row] = []
    for name in names:
        own = [row for row in (*implicit.ROWS, *baselines.ROWS) if row.objective == name]
        found += own or [
            Row(
                name,
                "defaults",
                None,
                "none stated",
                sampling=sampler,
                source="registry",
                read_in="code",
            )
            for sampler in ("reference", "current", "uniform")
        ]
    return found


def atlas(
    only: str | None = None, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """The whole atlas, or the rows of one objective, as the report that `gnivo-edu atlas --json`
    prints.

    >>> report = atlas("gvpo")
    >>> report["passed"], {row["verdict"] for row in report["rows"]} >= {"exact", "other optimum", "collapses"}
    (True, True)
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
    """The rows as found, with their laws, for figures and tests."""
    entries = []
    for row in rows_of(only):
        progress(f"{row.objective}: {row.variant}")
        entries.append(find(row))
    return entries


def _verdict(found: Rest | None, tv: float, error: float | None) -> Verdict:
    if found is None or not found.converged:
        return "collapses"
    if tv < SAME:
        return "exact"
    return "other optimum" if error is not None and error < SAME else "biased"


def _start(row: Row, answers: Answers, policy: Tensor | None = None) -> Point:
    """The reference (or a given policy), with critics and explicit values exact up to the row's
    shift.
    """
    point = point_at(answers, row.alpha, policy)
    return replace(
        point,
        values=point.values + row.shift * (1 + answers.depths),
        log_z=point.log_z + row.shift / row.alpha,
    )


def _settle(row: Row, population: Population) -> Rest:
    """Where the search ends, from the reference; as often as the reference is refreshed."""
    start = _start(row, population.answers)
    start = replace(
        start,
        **{name: torch.zeros_like(getattr(start, name)) for name in row.free if name != "logits"},
    )
    answers = population.answers

    def anchor(point: Point) -> Tensor:
        policy = answers.policy(point.logits)
        return (
            row.anchor
            * (answers.law(policy) * (answers.token_logps(policy - _finite(answers)).sum(-1))).sum()
        )

    if row.warm:
        easy = replace(row, warm={}, **row.warm)
        start = _settle(easy, Population.of(answers, easy.group_size, population.sampler)).point
    for _ in range(row.refreshes):
        found = rest(row.loss, population, start, row.free, extra=anchor if row.anchor else None)
        policy = answers.policy(found.point.logits)
        # The next reference, on the same answers; where the objective ends is then told from the
        # first one.
        population = replace(
            population, answers=replace(population.answers, reference=policy.detach())
        )
    return found


def _finite(answers: Answers) -> Tensor:
    return answers.reference.masked_fill(~answers.legal, 0.0)


def _with_anchor(row: Row, answers: Answers, gradient: dict[str, Tensor], policy: Tensor) -> Tensor:
    """The expected gradient of everything that is solved for, with that of beta KL(pi || pi_0)."""
    parts = dict(gradient)
    if row.anchor:
        logits = policy.masked_fill(~answers.legal, 0.0).requires_grad_()
        now = answers.policy(logits)
        cost = row.anchor * (answers.visits(now) * answers.kl(now)).sum()
        parts["logits"] = parts["logits"] + torch.autograd.grad(cost, logits)[0]
    return torch.cat([parts[name].flatten() for name in row.free])


def _law(row: Row, answers: Answers, point: Point) -> Tensor:
    """Law of answers at a point; for an explicit V_theta, the policy it induces, pi_ref
    e^{V_theta}.
    """
    if row.free == ("prefix_values",):
        return laws.tilt_by(answers, point.prefix_values[answers.ends[:, -1]])
    return answers.law(answers.policy(point.logits)).detach()


def _push(row: Row, population: Population) -> dict[str, Any]:
    """Slope of minus the expected gradient along the path pi_ref e^{cR} towards the best answers,
    at each c of a grid.

    If it is positive throughout, no policy on the path is a rest, and mass keeps moving to the best
    answers."""
    answers = population.answers
    scaled = answers.rewards / (answers.rewards.max() - answers.rewards.min())
    pushes = []
    for c in GRID:
        policy, ahead, behind = (answers.tilted((c + e) * scaled) for e in (0.0, 1e-4, -1e-4))
        direction = ((ahead - behind) / 2e-4).masked_fill(~answers.legal, 0.0)
        gradient = expect(row.loss, population, _start(row, answers, policy)).gradient["logits"]
        pushes.append(-float((gradient * direction).sum()))
    uphill = sum(push > 0 for push in pushes) / len(pushes)
    text = (
        f"the expected update moves mass to the best answers at {sum(p > 0 for p in pushes)} of "
        f"{len(GRID)} policies "
        f"pi_ref e^(cR), {GRID[0]:g} to {GRID[-1]:g} nats from worst to best (ties keep the "
        "reference's shares)"
    )
    return {"kind": "push", "uphill": uphill, "nats": list(GRID), "push": pushes, "text": text}
