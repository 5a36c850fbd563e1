"""Training as small multiples: one column per method, one row per measure, the same axes along each
row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from gnivo_edu.figures.lines import log_axis, styles
from gnivo_edu.figures.style import Shown, blank, caption_below, conditions, number
from gnivo_edu.figures.tokens import in_picture, in_text, wrapped

Record = Mapping[str, Any]
WIDE = 30.0  # largest over smallest value from which an axis is logarithmic


@dataclass(frozen=True)
class TrainingCurves(Shown):
    """Records of training runs: `runs[method]` is a list of dicts, `measures[key]` the label (with
    unit) of a measure.

    `x` is the key of the horizontal axis, called `x_label`. Records may carry a "seed": then there
    is one line per seed. What is missing or not finite (a loss before the first step) is left out.
    """

    runs: Mapping[str, Sequence[Record]]
    measures: Mapping[str, str]
    caption: str
    x: str = "groups"
    x_label: str = "groups seen"

    def __post_init__(self) -> None:
        for method in self.runs:
            for measure in self.measures:
                if not any(self.curves(method, measure).values()):
                    raise ValueError(
                        f"the records of {method!r} have no finite {measure!r} beside {self.x!r}"
                    )

    def curves(self, method: str, measure: str) -> dict[Any, list[tuple[float, float]]]:
        """Points (x, value) of a measure by seed (None if the records carry none), in the order of
        x.
        """
        by_seed: dict[Any, list[tuple[float, float]]] = {}
        for record in self.runs[method]:
            value = record.get(measure)
            if value is not None and isfinite(value) and self.x in record:
                point = (float(record[self.x]), float(value))
                by_seed.setdefault(record.get("seed"), []).append(point)
        return {seed: sorted(points) for seed, points in by_seed.items()}

    def _points(self, measure: str) -> list[tuple[float, float]]:
        lines = (line for method in self.runs for line in self.curves(method, measure).values())
        return [point for line in lines for point in line]

    def is_log(self, measure: str) -> bool:
        """Whether a measure has a logarithmic axis: all its values are positive and span a factor
        of 30 or more.
        """
        values = [value for _, value in self._points(measure)]
        return min(values) > 0 and max(values) >= WIDE * min(values)

    def _draw(self) -> Any:
        methods, measures = list(self.runs), list(self.measures)
        one = len(methods) == 1  # then the measures stand side by side
        shape = (1, len(measures)) if one else (len(measures), len(methods))
        figure = blank((max(5.0, min(2.9 * shape[1] + 0.7, 10.5)), 2.1 * shape[0] + 0.9))
        grid = figure.subplots(*shape, squeeze=False, sharex=True, sharey=False if one else "row")
        looks = styles(len(methods))
        for row, measure in enumerate(measures):
            for column, (method, look) in enumerate(zip(methods, looks, strict=True)):
                axes = grid[0, row] if one else grid[row, column]
                for other in methods:
                    if other != method:  # the other methods, faintly: the panels can be compared
                        self._lines(axes, other, measure, color="#cfcfcf", linewidth=1.0, zorder=1)
                marks = {
                    "marker": look.marker,
                    "markersize": 3.8,
                    "color": look.colour,
                    "linestyle": look.dashes,
                    "linewidth": 1.5,
                }
                self._lines(axes, method, measure, zorder=3, **marks)
                axes.grid(color="#ececec")
                if one or column == 0:
                    axes.set_ylabel("\n".join(wrapped(self.measures[measure], 24)))
                if one or row == len(measures) - 1:
                    axes.set_xlabel(self.x_label)
                if row == 0 and not one:
                    axes.set_title("\n".join(wrapped(in_picture(method), 26)), fontsize=10)
                self._scales(axes, measure)
        return caption_below(figure, self.caption)

    def _lines(self, axes: Any, method: str, measure: str, **looks: Any) -> None:
        for points in self.curves(method, measure).values():
            axes.plot(*zip(*points, strict=True), **looks)

    def _scales(self, axes: Any, measure: str) -> None:
        places = [x for name in self.measures for x, _ in self._points(name)]
        positive = [x for x in places if x > 0]
        if positive and max(positive) >= WIDE * min(positive) and min(places) >= 0:
            log_axis(axes.xaxis, positive, zero=min(places) == 0)
        if self.is_log(measure):
            log_axis(axes.yaxis, [value for _, value in self._points(measure)])

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Where every method starts and ends, per measure; of several seeds, their range."""
        rows = []
        for method in self.runs:
            for measure, label in self.measures.items():
                curves = list(self.curves(method, measure).values())
                first, last = ([points[end][1] for points in curves] for end in (0, -1))
                span = _range([points[-1][0] for points in curves])
                rows.append([in_text(method), label, _range(first), _range(last), span])
        return ["method", "measure", "first", "last", self.x_label], rows

    def alt(self) -> str:
        """The last value of the first measure for every method."""
        firsts = self.table()[1][:: len(self.measures)]
        ends = ", ".join(f"{last} for {method}" for method, _, _, last, _ in firsts)
        return (
            f"Training curves of {len(self.measures)} measures against {self.x_label}; "
            f"{firsts[0][1]} ends at {ends}."
        )


def training_curves(
    runs: Mapping[str, Sequence[Record]],
    measures: Mapping[str, str],
    alpha: float,
    reference: str = "the initial model",
    x: str = "groups",
    x_label: str = "groups seen",
    note: str = "",
) -> TrainingCurves:
    """Small multiples of training runs: method -> list of records, measure -> label; the caption
    ends with `note`.

    >>> records = [{"groups": n, "kl": 1 / n} for n in (1, 10, 100)]
    >>> curves = training_curves({"gnivo": records}, {"kl": "KL to pi*, nats"}, alpha=0.5)
    >>> print(curves.text())
    method  measure          first  last  groups seen
    gnivo   KL to pi*, nats  1      0.01  100
    reference: the initial model; alpha = 0.5
    """
    caption = conditions(reference, alpha, note=note)
    if len(runs) > 1:
        caption += "; grey: the other methods"
    return TrainingCurves(runs, measures, caption=caption, x=x, x_label=x_label)


def _range(values: Sequence[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"
