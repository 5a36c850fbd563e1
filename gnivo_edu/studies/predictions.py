"""Predictions, written down before the runs; afterwards the number beside each, hit or miss.

`results/NAME/predictions.md` is made from the study's own list: before the runs without numbers, as
it is committed first, and afterwards with them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path

from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Prediction, Study

FILE = "predictions.md"
_HEAD = """# Predictions of `{name}`

{about}

Written before the runs, each with the interval that the number is to lie in; `gnivo-edu study
{name}` puts the number beside it, and that of a placebo, which is to lie outside.

| prediction | interval | came out | placebo | outcome |
|---|---|---|---|---|
"""


def write_predictions(study: Study, folder: Path, results: Results | None = None) -> None:
    """Write the predictions of a study into its folder, with outcomes where there are results."""
    if not study.predictions:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(page(study, results), encoding="utf-8")


def page(study: Study, results: Results | None = None) -> str:
    """The whole page."""
    text = _HEAD.format(name=study.name, about=study.about)
    for prediction in study.predictions:
        text += "| " + " | ".join(_row(prediction, results)) + " |\n"
    for prediction in study.predictions:
        text += (
            f"\n## {prediction.name}\n\n{prediction.says}\n\n"
            f"- Rests on `{prediction.command}`.\n"
            f"- Falsified by: {prediction.falsified}\n"
            f"- A placebo misses it: {prediction.placebo_misses}\n"
        )
    return text


def outcomes(study: Study, results: Results) -> dict[str, bool]:
    """Of each prediction whether it came true; of none whose runs are not there yet."""
    numbers = {one: _read(one.number, results) for one in study.predictions}
    return {one.name: _hit(one, x) for one, x in numbers.items() if x is not None}


def _read(number: Callable[[Results], float] | None, results: Results | None) -> float | None:
    """A number of the results; None where there is none to read, or its runs are not there."""
    if number is None or results is None:
        return None
    try:
        return number(results)
    except ValueError:  # of `t_interval`: it has no values
        return None


def _row(prediction: Prediction, results: Results | None) -> list[str]:
    interval = f"{_text(prediction.low)} to {_text(prediction.high)}"
    number = _read(prediction.number, results)
    if number is None:
        return [prediction.name, interval, "not run yet", "", ""]
    placebo = _read(prediction.placebo, results)
    outcome = "hit" if _hit(prediction, number) else "**miss**"
    return [prediction.name, interval, _text(number), _text(placebo), outcome]


def _hit(prediction: Prediction, number: float) -> bool:
    return isfinite(number) and prediction.low <= number <= prediction.high


def _text(x: float | None) -> str:
    """A number, or the end of an interval that is open; nothing where there is none.

    >>> _text(0.12345), _text(float("inf")), _text(-0.1)
    ('0.123', 'any above', '-0.100')
    """
    if x is None:
        return ""
    if isfinite(x):
        return f"{x:.3f}"
    return "any above" if x > 0 else "any below"
