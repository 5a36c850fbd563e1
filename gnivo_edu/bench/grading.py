r"""How often the grader is right: labelled pairs of gold and answer, for GSM8K and mathematics.

Right answers are other writings of a gold, wrong ones are mutations of it; each rule below says
what it does, and a committed seed chooses the golds and the rules. Golds come from the data sets
that GNIVO_SHARED names, and pairs of our own writing from `grading_pairs`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gnivo_edu.bench.grading_pairs import BOXED, MARKED
from gnivo_edu.bench.grading_rules import MADE
from gnivo_edu.bench.ratio import Progress, ratio_row
from gnivo_edu.tasks.benchmarks import problem_of
from gnivo_edu.tasks.data_sets import load_rows
from gnivo_edu.tasks.grading import (
    Grade,
    Problem,
    after_marker,
    grade_answers,
    last_box,
    marker_or_box,
)

SEED = 11
GOLDS = {"GSM8K": 60, "mathematics": 160}  # of the data sets
RULES = 2  # rewritings, and mutations, of one gold
LIMITS = {"right": 0.99, "wrong": 1.0}  # shares that must be graded so
TIMEOUT = 60.0  # seconds: the machine may be busy
SETS = ("aime24", "aime25", "amc23", "math500", "minerva_math", "olympiadbench")

Grader = Callable[[Sequence[str], Sequence[Problem]], list[Grade]]


@dataclass(frozen=True)
class Pair:
    """An answer's text, the problem it answers, whether it is right, and how it was made."""

    domain: str
    problem: Problem
    text: str
    right: bool
    rule: str


def bench_grading(
    progress: Progress = None,
    shared: Path | None = None,
    graders: dict[str, Grader] | None = None,
) -> list[dict[str, Any]]:
    """Shares of right answers that are graded right and of wrong ones that are graded wrong,
    against the shares that are asked for; each pair that is graded otherwise has a row of its own.

    `shared` is the folder of data sets, by default the one that GNIVO_SHARED names, else ../shared;
    without it the pairs of our own writing are used alone, and the rows say so. `graders` by domain
    take the place of the real ones.
    """
    shared = shared or Path(os.environ.get("GNIVO_SHARED", Path("..") / "shared"))
    graders = graders or {
        "GSM8K": partial(grade_answers, extract=marker_or_box, timeout=TIMEOUT),
        "mathematics": partial(grade_answers, extract=last_box, timeout=TIMEOUT),
    }
    rows, misgraded = [], []
    for domain, golds in real_golds(shared).items():
        pairs = [*own_pairs(domain), *made_pairs(domain, golds)]
        if progress:
            progress(f"grading {len(pairs)} pairs of {domain}, {len(golds)} golds of data sets")
        grades = graders[domain]([p.text for p in pairs], [p.problem for p in pairs])
        # A gold that cannot be read is reported and left out, as in training.
        counted = [(p, g) for p, g in zip(pairs, grades, strict=True) if g.counts]
        source = f"{len(golds)} golds of data sets" if golds else f"no data sets in {shared}"
        for label, limit in LIMITS.items():
            verdicts = [(p, g) for p, g in counted if p.right == (label == "right")]
            missed = [(p, g) for p, g in verdicts if (g.reward == 1) != p.right]
            share = 1 - len(missed) / len(verdicts)
            case = f"{domain}, {len(verdicts)} {label} answers graded {label} ({source})"
            rows.append(ratio_row(case, ours=[share], peer=[limit], unit="share"))
            misgraded += missed
        unread = len({p.problem.gold for p, g in zip(pairs, grades, strict=True) if not g.counts})
        read = 1 - unread / len({p.problem.gold for p in pairs})
        case = f"{domain}, golds that are read (all but {unread})"
        rows.append(ratio_row(case, ours=[read], peer=[0.98], unit="share"))
    return rows + [_misgraded(pair, grade) for pair, grade in misgraded]


def _misgraded(pair: Pair, grade: Grade) -> dict[str, Any]:
    kind = "false negative" if pair.right else "FALSE POSITIVE"
    case = f"{kind}, {pair.rule}: gold {pair.problem.gold!r}, answer {grade.answer!r}"
    return ratio_row(case, ours=[0.0], peer=[1.0], unit="share")


def real_golds(shared: Path) -> dict[str, list[Problem]]:
    """Problems of the data sets by domain, drawn with `SEED`; none where there are no data sets."""
    golds: dict[str, list[Problem]] = {"GSM8K": [], "mathematics": []}
    data = shared / "data"
    if not data.is_dir():
        return golds
    rows = load_rows(data / "gsm8k", "test")
    golds["GSM8K"] = [Problem(question="?", gold=after_marker(row["answer"]) or "") for row in rows]
    for name in SETS:
        rows = load_rows(data / "eval" / f"{name}.jsonl", "test")
        golds["mathematics"] += [problem_of(row, n, name) for n, row in enumerate(rows)]
    drawn = {}
    for domain, problems in golds.items():
        # One gold once, and none that allows an error: there a mutation may be right.
        distinct = list({p.gold: p for p in problems if p.tolerance is None}.values())
        drawn[domain] = random.Random(SEED).sample(distinct, GOLDS[domain])
    return drawn


def own_pairs(domain: str) -> Iterator[Pair]:
    """The pairs of our own writing."""
    tables = {"GSM8K": {"own text": MARKED}, "mathematics": BOXED}
    for rule, rows in tables[domain].items():
        for gold, right, wrong in rows:
            for answer in (*right, *wrong):
                text = answer if domain == "GSM8K" else f"So \\boxed{{{answer}}}."
                problem = Problem(question="?", gold=gold)
                yield Pair(domain, problem, text, answer in right, rule)


def made_pairs(domain: str, golds: Sequence[Problem]) -> Iterator[Pair]:
    """For each gold itself, and `RULES` other writings and mutations that its form allows."""
    rng = random.Random(SEED)
    rewritings, mutations, text = MADE[domain]
    for problem in golds:
        bare = problem.gold.strip().strip("$").strip().rstrip(".")
        yield Pair(domain, problem, text.format(problem.gold), right=True, rule="itself")
        for rules, right in ((rewritings, True), (mutations, False)):
            answers = {rule.__name__: rule(bare, rng) for rule in rules}
            known = [name for name, answer in answers.items() if answer is not None]
            for name in rng.sample(known, min(RULES, len(known))):
                answer = answers[name] or ""
                whole = answer if domain == "GSM8K" else text.format(answer)
                yield Pair(domain, problem, whole, right, rule=name.strip("_").replace("_", " "))
