"""The fixed-point atlas: where each objective comes to rest, how far from pi*, what theory says.

Here are the problems and the report; `row` says what a row is, `ends` how its ends are found, from
`starts`, and `entry` how they are written down; `implicit`, `vimpo` and `baselines` hold the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.machine import one_thread
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import (
    Answers,
    Population,
    divergence,
    ended_answers,
    laws,
    sampling_policy,
    total_variation,
)
from gnivo_edu.population.atlas import baselines, implicit, vimpo
from gnivo_edu.population.atlas.ends import End, anchor_of, ends_of, seen
from gnivo_edu.population.atlas.entry import Entry, Outcome
from gnivo_edu.population.atlas.row import Case, Row
from gnivo_edu.population.atlas.starts import start_at
from gnivo_edu.population.flow import likeliest
from gnivo_edu.population.judge.contract import examine
from gnivo_edu.population.laws import SAME, Verdict
from gnivo_edu.population.roots import slopes

# Of the 15 answers of "tree"; some tie.
REWARDS = (0.3, 0.9, 0.6, 0.1, 0.4, 0.7, 0.2, 0.4, 0.5, 0.4, 0.6, 1.0, 0.8, 0.0, 0.5)


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
    """Solve one row: follow its expected update from several starts, and judge where they end.

    A row that states nothing (`expected` is None) is a loss that nobody has looked at: it is called
    as the judge calls it, with alpha only if it takes one, and reweighted if it ignores
    `batch.group_weight`, which the evidence then says. Raises ValueError, in one line, on one whose
    prompts cannot be told apart.
    """
    note = ""
    if row.expected is None:
        row, note = _unread(row)
    answers = problem(row.problem)
    sampler = row.sampling(answers) if callable(row.sampling) else row.sampling
    population = replace(Population.of(answers, row.group_size, sampler=sampler), parts=row.parts)
    optimum = laws.tilt(answers, row.alpha)
    at_optimum = start_at(row, answers, policy=answers.from_law(optimum))
    gradient = slopes(row.loss, population, point=at_optimum, extra=anchor_of(row, answers))
    norm = float(torch.cat([gradient[name].flatten() for name in row.free]).norm())
    value = row.alpha * float(at_optimum.log_z)

    def judged(end: End) -> Outcome:
        law, best = (seen(row, answers, x) for x in (end.law, optimum))
        error = None
        if row.law is not None and end.kind != "edge":
            policy = sampling_policy(answers, sampler, current=answers.from_law(end.law))
            drawn = answers.law(policy)
            case = Case(answers, row.alpha, K=row.group_size, sampler=drawn, value=value)
            error = total_variation(law, row.law(case))
        tv = total_variation(law, best)
        main, mass = likeliest(answers, end.law)
        return Outcome(
            end,
            _verdict(end, tv, error=error),
            tv=tv,
            kl=divergence(law, best),
            error=error,
            reward=float(end.law @ answers.rewards),
            main=main,
            left=1 - mass,
        )

    return Entry.of(row, [judged(end) for end in ends_of(row, population)], norm=norm, note=note)


def _unread(row: Row) -> tuple[Row, str]:
    """A row whose loss is called as the judge calls it, and what to say of its prompts."""
    function = row.function or objectives.get(row.objective)
    subject, _ = examine(function, row.objective, alpha=row.alpha, settings=row.settings)
    if subject.prompts == "one":
        raise ValueError(
            f"{row.objective} mixes prompts and ignores batch.group_weight: average over them with "
            "batch.group_mean, or ask `gnivo-edu judge`, which calls it prompt by prompt"
        )

    def loss(batch: GroupBatch, alpha: float, **settings: Any) -> LossOutput:
        return subject(batch, alpha=alpha)

    says = "it ignores batch.group_weight: its plain mean over prompts is reweighted; "
    return replace(row, function=loss), says if subject.prompts == "mean" else ""


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


def _verdict(end: End, tv: float, error: float | None) -> Verdict:
    if end.kind == "edge":
        return "collapses"
    if tv < SAME and end.kind == "rest":
        return "exact"
    return "other optimum" if error is not None and error < SAME else "biased"
