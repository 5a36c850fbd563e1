"""Predictions: a page before the runs, and the number beside each after them."""

from dataclasses import replace
from math import inf, nan
from pathlib import Path

from gnivo_edu.studies.predictions import outcomes, page, write_predictions
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Prediction, Study


def predicted(name: str, low: float, high: float, number: float) -> Prediction:
    return Prediction(
        name, "Because.", low, high, command="gnivo-edu claims", falsified="Another number.",
        placebo_misses="it is 0", number=lambda results: number, placebo=lambda results: 0.0,
    )  # fmt: skip


STUDY = Study(
    "fake",
    "A study.",
    cells=lambda size, seeds: [],
    run=lambda cell, folder: {},
    report=lambda results: None,
    predictions=(
        predicted("inside", 0.1, 0.3, 0.2),
        predicted("outside", 0.1, 0.3, 0.31),
        predicted("open", 0.1, inf, 99.0),
        predicted("no number", 0.1, inf, nan),
    ),
)
RESULTS = Results(Path("nowhere"), [])


def test_outcomes() -> None:
    assert outcomes(STUDY, RESULTS) == {
        "inside": True,
        "outside": False,
        "open": True,
        "no number": False,
    }


def test_the_page_before_and_after(tmp_path: Path) -> None:
    before, after = page(STUDY), page(STUDY, RESULTS)
    assert before.count("not run yet") == 4
    assert "| inside | 0.100 to 0.300 | 0.200 | 0.000 | hit |" in after
    assert "| outside | 0.100 to 0.300 | 0.310 | 0.000 | **miss** |" in after
    # What was said before stands there afterwards, word for word.
    told = [line for line in before.splitlines() if not line.startswith("| ")]
    assert told == [line for line in after.splitlines() if not line.startswith("| ")]
    write_predictions(STUDY, tmp_path / "new")
    assert (tmp_path / "new" / "predictions.md").read_text() == before


def test_of_runs_that_are_missing_nothing_is_said() -> None:
    waiting = Study(
        "fake",
        "A study.",
        cells=STUDY.cells,
        run=STUDY.run,
        report=STUDY.report,
        predictions=(
            replace(STUDY.predictions[0], number=lambda results: results.mean("no", "x").mean),
            replace(STUDY.predictions[1], placebo=lambda results: results.mean("no", "x").mean),
        ),
    )
    assert outcomes(waiting, RESULTS) == {"outside": False}
    text = page(waiting, RESULTS)
    assert "| inside | 0.100 to 0.300 | not run yet |" in text
    assert "| outside | 0.100 to 0.300 | 0.310 |  | **miss** |" in text
