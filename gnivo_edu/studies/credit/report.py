"""Tables and figures of the credit study, all from its runs.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gnivo_edu.figures.forest import ForestPlot, forest_plot
from gnivo_edu.figures.roc import RocCurve, RocPlot, roc_plot
from gnivo_edu.statistics import Interval, bootstrap_interval, rank_correlation
from gnivo_edu.studies.credit.exact import facts
from gnivo_edu.studies.credit.measures import AGAINST, Frozen, Scores, roc
from gnivo_edu.studies.credit.readings import last_missed_chances, measures
from gnivo_edu.studies.results import Results, Run
from gnivo_edu.studies.table1.rows import BASE, OURS, RIVAL, placebo
from gnivo_edu.studies.tables import write_table

COUNT = 16  # rollouts of each state
SURPRISE, ROLLED = "most surprising token", f"{COUNT} rollouts, chances"
RANDOM = placebo(OURS, "random")
# Of the signature figure.
SHOWN = (OURS, RIVAL, SURPRISE, ROLLED, "position", RANDOM)
PANELS = ("all", "alike", "wrong again")


def frozen(results: Results) -> Frozen:
    """The answers that all runs were asked about."""
    return Frozen(results.of(BASE)[0]["answers"])


def measured(results: Results) -> Results:
    """The same results, every run of a method with its `readings.measures`."""
    key = id(results)
    if key not in _MEASURED or _MEASURED[key][0] is not results:
        answers = frozen(results)
        runs: list[Run] = [
            {**run, **measures(answers, run["credits"], COUNT)} if "credits" in run else run
            for run in results.runs
        ]
        _MEASURED[key] = results, Results(results.folder, runs)
    return _MEASURED[key][1]


_MEASURED: dict[int, tuple[Results, Results]] = {}  # every prediction asks for them


def mean_credits(results: Results, row: str) -> list[np.ndarray]:
    """Implicit credits of a row, the mean over its seeds of every step."""
    seeds = [run["credits"] for run in results.of(row)]
    return [np.mean(steps, axis=0) for steps in zip(*seeds, strict=True)]


def report(results: Results) -> None:
    """Three tables and two figures."""
    told, answers, folder = measured(results), frozen(results), results.folder
    names = [row for row in told.rows if row != BASE]
    rows = [_control(answers, name, scores) for name, scores in answers.controls(COUNT).items()]
    rows.append(_control(answers, f"{OURS}, seeds averaged", mean_credits(results, OURS)))
    rows += [_found(told, row) for row in names]
    write_table(folder, rows, _head(answers))
    write_table(folder, [_said(told, row) for row in names], _more(answers), name="credits")
    write_table(folder, [_exact(told, row) for row in names], _of_exact(), name="exact")
    if len(results.of(OURS)) > 1:
        (folder / "roc.png").write_bytes(curves(results).png(dpi=96))
        (folder / "forest.png").write_bytes(forest(told).png())


def _head(answers: Frozen) -> str:
    steps = {name: [int(some.sum()) for some in answers.compared(name)] for name in AGAINST}
    counts = "; ".join(f"`{name}`, {AGAINST[name]}: {a} and {b}" for name, (a, b) in steps.items())
    return (
        "# Which step went wrong\n\n"
        f"{len(answers.rows)} answers of the base model, one to a test question; the "
        f"{len(answers.judged)} wrong ones are asked about. AUC: the chance that a first wrong "
        f"step has a lower number than another step, ties half. How many first wrong steps and "
        f"others: {counts}. top-1: how often the lowest number of an answer is that of its first "
        "wrong step, ties drawn; `alike`: among steps that carry or borrow, in answers that have "
        "two of them. Of methods the number is the implicit credit of the step, log pi/pi_base, "
        "nats: means over seeds with 95% intervals (Student), which carry the seed. Of controls, "
        "and of the mean over seeds, the intervals are over answers (bootstrap). `random`: paid by "
        "a coin."
    )


def _control(answers: Frozen, name: str, scores: Scores) -> dict[str, Any]:
    alike = answers.hits(scores, alike=True)
    return {
        "guess": name,
        **{f"AUC, {against}": answers.auc_interval(scores, against) for against in AGAINST},
        "top-1": bootstrap_interval(answers.hits(scores)),
        "top-1, alike": bootstrap_interval(alike[np.isfinite(alike)]),
    }


def _found(results: Results, row: str) -> dict[str, Any]:
    return {
        "guess": row,
        **{f"AUC, {against}": results.mean(row, f"auc.{against}") for against in AGAINST},
        "top-1": results.mean(row, "top1.all"),
        "top-1, alike": results.mean(row, "top1.alike"),
    }


def _more(answers: Frozen) -> str:
    missed = last_missed_chances(answers, COUNT)
    halves = [np.concatenate(answers.monte_carlo(COUNT, nats=True, half=half)) for half in (1, 2)]
    starts = [answers.chances(COUNT)[i][0] for i in answers.judged]
    return (
        "# What the credits say\n\n"
        "Means over seeds, with 95% intervals (Student). `learned`: share of first wrong steps "
        "whose credit is above 0, which training made likelier; `again`: share of later wrong "
        "steps whose credit is below 0, though nothing is left to lose; `first drop`: how often "
        "the first step with a credit below 0 is the first wrong one, beside `largest`; "
        f"`correlation`: Spearman's, with credits of {COUNT} rollouts (soft values at alpha "
        "0.2), over all steps of all answers; that of the first half of the rollouts with the "
        f"second is {rank_correlation(*halves):.3f}. `1/alpha`: mean log-ratio of right answers "
        "less that of wrong ones, as of a policy that is optimal at alpha; `error`: mean distance "
        "of the chance of ending right that the values then mean from that of the rollouts, at "
        "states between two steps, beside `of start`, that of the question's own chance; `after`: "
        "mean chance that they mean right after a first wrong step.\n\n"
        "The last missed chance of a wrong answer, by the rollouts: "
        + ", ".join(f"{name} {number}" for name, number in missed.items())
        + f". Mean chance at the start of these answers: {np.mean(starts):.3f}."
    )


# Columns and the measures that they show.
SAID = {
    "learned": "learned",
    "again": "again_negative",
    "first drop": "drops.first",
    "largest": "drops.lowest",
    "correlation": "correlation",
    "1/alpha": "calibration.inverse_alpha",
    "error": "calibration.error",
    "of start": "calibration.error_of_start",
    "after": "calibration.after_first_wrong",
    "KL": "kl_to_initial",
    "Pass@1": "pass@1.mean",
}


def _said(results: Results, row: str) -> dict[str, Any]:
    return {"method": row} | {name: results.mean(row, key) for name, key in SAID.items()}


def _of_exact() -> str:
    told = facts()
    return (
        "# Implicit credit beside exact credit\n\n"
        "Each method trains a table on the poster's problem, 128 answers, from the reference that "
        "the problem states, with the learning rate 0.05. Exact credits are those of soft values "
        "at alpha 0.2; every step is weighed by how likely the reference is to take it. Means over "
        "seeds with 95% intervals (Student). `correlation`: Pearson's; `with chances`: that with "
        "the exact changes of the chance of ending right; `1/alpha`: the slope of implicit on "
        "exact credits, over 0.2; `largest drop`: how often the lowest implicit credit "
        "of a wrong answer is at the step of the lowest exact one; `first mistake`: how often it "
        "is at the first mistake.\n\n"
        "Of the exact credits of the reference's wrong answers, the largest drop is that of the "
        f"first mistake in {told['drop_nats']:.3f} of them in nats and in "
        f"{told['drop_chances']:.3f} in chances of ending right; the first drop is in "
        f"{told['first_drop']:.3f}; the last missed chance is in {told['last_chance']:.3f}."
    )


def _exact(results: Results, row: str) -> dict[str, Any]:
    return {
        "method": row,
        "correlation": results.mean(row, "exact.correlation"),
        "with chances": results.mean(row, "exact.in_chances"),
        "1/alpha": results.mean(row, "exact.inverse_alpha"),
        "largest drop": results.mean(row, "exact.drop"),
        "first mistake": results.mean(row, "exact.first_mistake"),
    }


def curves(results: Results) -> RocPlot:
    """ROC of two methods, a placebo and three controls, against three kinds of other steps; of
    methods the mean curve over seeds.
    """
    answers = frozen(results)
    controls = answers.controls(COUNT)
    guesses = {
        name: [controls[name]] if name in controls else [run["credits"] for run in results.of(name)]
        for name in SHOWN
    }
    panels = {
        f"against {AGAINST[against]}": {
            name: _mean_curve(answers, runs, against) for name, runs in guesses.items()
        }
        for against in PANELS
    }
    seeds = len(results.of(OURS))
    return roc_plot(
        panels,
        f"{len(answers.judged)} wrong answers of the base model; log pi/pi_base of each step, mean "
        f"over {seeds} seeds; a step is flagged where the number is low; thin line: a coin",
    )


def _mean_curve(answers: Frozen, runs: Sequence[Scores], against: str) -> RocCurve:
    positive, negative = answers.compared(against)
    grid = np.linspace(0, 1, 201)
    true, areas = [], []
    for scores in runs:
        values = answers.flat(scores)
        share, hits = roc(values[positive], values[negative])
        true.append(np.interp(grid, share, hits))
        areas.append(answers.auc(scores, against))
    mean = np.mean(true, axis=0)
    return RocCurve(np.insert(grid, 0, 0.0), np.insert(mean, 0, 0.0), area=float(np.mean(areas)))


def forest(results: Results) -> ForestPlot:
    """AUC of every method less one half, against two kinds of other steps."""
    half = {
        "alike": "first wrong steps against others that carry",
        "wrong again": "against those that are wrong again",
    }
    panels = {
        title: {
            name: _less(results.mean(name, f"auc.{against}"), 0.5)
            for name in results.rows
            if name != BASE
        }
        for against, title in half.items()
    }
    return forest_plot(
        panels,
        "AUC less that of a coin",
        f"implicit credits; means over {len(results.of(OURS))} seeds, 95% intervals; random: paid "
        "by a coin",
        limits=(-0.5, 0.5),
    )


def _less(interval: Interval, number: float) -> Interval:
    return Interval(interval.mean - number, interval.low - number, interval.high - number)
