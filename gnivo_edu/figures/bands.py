"""Curves with bands: means over seeds with what lies around them, one panel a measure, sets of
methods below one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

from gnivo_edu.figures.lines import log_axis, styles
from gnivo_edu.figures.style import Shown, blank, caption_below, number
from gnivo_edu.figures.tokens import in_picture, in_text, wrapped
from gnivo_edu.statistics import Interval


class Band(NamedTuple):
    """A line with its band: places on the x-axis, and the mean and both ends at each."""

    x: Sequence[float]
    y: Sequence[Interval]


@dataclass(frozen=True)
class BandCurves(Shown):
    """`bands[method][measure]`; `sets` of at most six methods, a row of panels each; `measures`
    names each measure with its unit; those in `log` have a logarithmic axis.
    """

    bands: Mapping[str, Mapping[str, Band]]
    sets: Sequence[Sequence[str]]
    measures: Mapping[str, str]
    x_label: str
    caption: str
    log: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.sets or not self.measures:
            raise ValueError("curves need at least one set of methods and one measure")
        missing = [m for one in self.sets for m in one if m not in self.bands]
        if missing:
            raise ValueError(f"there are no curves of {missing[0]!r}")

    def _draw(self) -> Any:
        shape = (len(self.sets), len(self.measures))
        figure = blank((min(2.3 * shape[1] + 0.5, 12.0), 2.3 * shape[0] + 1.0))
        grid = figure.subplots(*shape, squeeze=False, sharex=True, sharey="col")
        for row, methods in enumerate(self.sets):
            for column, (measure, label) in enumerate(self.measures.items()):
                axes = grid[row, column]
                for method, look in zip(methods, styles(len(methods)), strict=True):
                    band = self.bands[method].get(measure)
                    if band is None:
                        continue
                    mean = [one.mean for one in band.y]
                    axes.plot(
                        band.x, mean, color=look.colour, linestyle=look.dashes, linewidth=1.5,
                        label=in_picture(method),
                    )  # fmt: skip
                    if all(isfinite(one.low) for one in band.y):
                        low, high = zip(*(one.ends for one in band.y), strict=True)
                        axes.fill_between(band.x, low, high, color=look.colour, alpha=0.15, lw=0)
                axes.grid(color="#ececec")
                if measure in self.log:
                    log_axis(axes.yaxis, self._all(measure))
                if row == 0:
                    axes.set_title("\n".join(wrapped(label, 24)), fontsize=10)
                if row == shape[0] - 1:
                    axes.set_xlabel(self.x_label)
            grid[row, -1].legend(
                *grid[row, 0].get_legend_handles_labels(), loc="center left",
                bbox_to_anchor=(1.02, 0.5), frameon=False, handlelength=2.6,
            )  # fmt: skip
        return caption_below(figure, self.caption)

    def _all(self, measure: str) -> list[float]:
        """Every mean and end of a measure."""
        known = [band[measure] for band in self.bands.values() if measure in band]
        return [x for band in known for one in band.y for x in (one.mean, *one.ends)]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The last mean of every measure, a row for each method."""
        methods = dict.fromkeys(method for one in self.sets for method in one)
        return ["method", *self.measures.values()], [
            [in_text(method), *(self._last(method, measure) for measure in self.measures)]
            for method in methods
        ]

    def _last(self, method: str, measure: str) -> str:
        band = self.bands[method].get(measure)
        return "" if band is None else number(band.y[-1].mean)

    def alt(self) -> str:
        """Where every method ends in the first measure."""
        first, label = next(iter(self.measures.items()))
        ends = ", ".join(f"{in_text(m)} {self._last(m, first)}" for one in self.sets for m in one)
        return f"Curves against {self.x_label}, with bands. {label} ends at: {ends}."


band_curves = BandCurves
