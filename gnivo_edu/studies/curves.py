"""The curves of GN-IVO's Figure 1, from the runs of Table 1: against answers drawn and against wall
time, with bands from the smallest to the largest seed.
"""

from __future__ import annotations

from math import isnan, nan
from typing import Any

import numpy as np

from gnivo_edu.figures.bands import Band, BandCurves, band_curves
from gnivo_edu.statistics import Interval
from gnivo_edu.studies.arithmetic import POINTS, train_and_test
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Prediction, Study
from gnivo_edu.studies.table1.search import METHODS
from gnivo_edu.studies.table1.study import cells
from gnivo_edu.studies.tables import write_table

MEASURES = {
    "reward": "reward = accuracy, on the questions trained on",
    "kl_to_initial": "KL to the start, nats an answer",
    "grad_norm": "norm of the gradient",
    "entropy": "entropy, nats a token",
    "residual": "residual RMS over target RMS",
}
LOG = ("kl_to_initial", "grad_norm")
SETS = (
    ("GN-IVO", "GRPO", "RLOO", "PPO", "SFT-winning", "VIMPO"),
    ("GN-IVO", "Dr. GRPO", "GVPO", "DRO", "OREO", "Online DPO"),
)
X = {"responses": "answers drawn", "seconds": "seconds of training"}


def bands(results: Results, row: str, x: str) -> dict[str, Band]:
    """The bands of a row: its measures at the mean x of each window; windows that lack a number are
    left out, and measures that lack all.
    """
    runs = results.of(row)
    places = np.mean([run["curve"][x] for run in runs], axis=0)
    lines: dict[str, Band] = {}
    for measure in MEASURES:
        values = np.array([[_number(y) for y in run["curve"][measure]] for run in runs])
        known = ~np.isnan(values).any(axis=0)
        if measure in LOG:
            known &= (values > 0).all(axis=0)
        if known.any():
            columns = values.T[known]
            y = [Interval(float(c.mean()), float(c.min()), float(c.max())) for c in columns]
            lines[measure] = Band(places[known].tolist(), y)
    return lines


def _number(y: float | None) -> float:
    return nan if y is None else y


def first_half(results: Results, row: str) -> float:
    """The reward half-way to the end, as a share of the way from the first window to the last."""
    y = [one.mean for one in bands(results, row, "responses")["reward"].y]
    return (y[POINTS // 2 - 1] - y[0]) / (y[-1] - y[0])


def figure(results: Results, x: str) -> BandCurves:
    """Every measure of every method against "responses" or "seconds", GN-IVO in each row of panels
    beside some others.
    """
    sets = [[name for name in one if name in results.rows] for one in SETS]
    rows = [name for name in METHODS if name in results.rows]
    caption = (
        f"mean over {len(results.of(rows[0]))} seeds of the runs of Table 1; bands: smallest to "
        "largest seed. DRO and OREO learn from answers of the base, whose reward stays. The "
        "residual is 1 where the reference is the policy itself"
    )
    drawn = {row: bands(results, row, x) for row in rows}
    kept = [one for one in sets if one]
    return band_curves(drawn, kept, MEASURES, x_label=X[x], caption=caption, log=LOG)


def report(results: Results) -> None:
    """Two figures, and the numbers at the start, in the middle and at the end."""
    rows = [name for name in METHODS if name in results.rows]
    seeds = len(results.of(rows[0]))
    for x in X:
        (results.folder / f"against_{x}.png").write_bytes(figure(results, x).png())
    table = [_row(results, row) for row in rows]
    text = (
        "# Curves of Table 1's runs\n\n"
        f"Windows of a twentieth of a run, means over {seeds} seeds: the first window, the tenth, "
        "the last. Residual: RMS of R - alpha h, each less its group mean, over that of R; 1 where "
        "the reference is the policy itself."
    )
    write_table(results.folder, table, text)


def _row(results: Results, row: str) -> dict[str, Any]:
    cells: dict[str, Any] = {"method": row}
    lines = bands(results, row, "responses")
    for measure in MEASURES:
        band = lines.get(measure)
        for name, place in (("first", 0), ("middle", 0.5), ("last", 1)):
            at = None if band is None else band.y[round(place * (len(band.y) - 1))].mean
            cells[f"{measure}, {name}"] = "" if at is None or isnan(at) else at
    return cells


STUDY = Study(
    name="curves",
    about="The curves of Figure 1, from Table 1's runs: reward, KL, gradient, entropy, residual.",
    cells=cells,
    run=train_and_test,
    report=report,
    runs_of="table1",
    predictions=(
        Prediction(
            "most is learned in the first half",
            "A logistic curve of the chance of a right answer: the push of a group is largest "
            "where half of its answers are right, and fades as groups become all right; the share "
            "of GN-IVO's way that lies in the first half of its answers.",
            0.55,
            0.95,
            command="gnivo-edu claims --only equal-rewards-grpo",
            falsified="less than 55% or more than 95% of the way",
            placebo_misses="it goes no way, and the share is noise",
            number=lambda results: first_half(results, "GN-IVO"),
        ),
        Prediction(
            "GN-IVO's residual stays 1",
            "The reference is the policy that drew the answers, so that h = 0 at every update: the "
            "residual over the target is exactly 1.",
            1.0,
            1.0,
            command="gnivo-edu claims --only gnivo-letter",
            falsified="any other number",
            placebo_misses="for a method with a frozen reference, such as GVPO's theorem, it falls",
            number=lambda results: bands(results, "GN-IVO", "responses")["residual"].y[-1].mean,
        ),
        Prediction(
            "DRO stays close",
            "DRO's alpha of 1 asks for pi_ref e^R/Z: the KL of a coin of chance p tilted by one "
            "nat is at most 0.12 nats, whatever p.",
            0.0,
            0.25,
            command="gnivo-edu claims --only dro-optimum",
            falsified="a KL above 0.25 nats at the end, twice that of the tilt",
            placebo_misses="GRPO, at 0.04 a nat, goes farther",
            number=lambda results: bands(results, "DRO", "responses")["kl_to_initial"].y[-1].mean,
            placebo=lambda results: bands(results, "GRPO", "responses")["kl_to_initial"].y[-1].mean,
        ),
    ),
)
