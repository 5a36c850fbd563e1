"""Forest plot: differences from one method, each a point with its interval, a panel a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from gnivo_edu.figures.chips import text_width
from gnivo_edu.figures.panels import check_names
from gnivo_edu.figures.style import INK, Shown, blank, caption_below, signed
from gnivo_edu.figures.tokens import in_picture, in_text, wrapped
from gnivo_edu.statistics import Interval

ABOVE, BELOW, LEVEL = "#0099ee", "#dd7722", "#777777"


@dataclass(frozen=True)
class ForestPlot(Shown):
    """`panels[panel][name]`: the difference of a method from the one that the caption names, with
    its interval; the same names in every panel, from top to bottom. Intervals that hold 0 are grey
    with an open point, the others blue (above) or orange (below). `limits` of the axis: a point
    beyond them stands at the edge as an arrow.

    >>> panels = {"tier 4": {"a": Interval(0.1, 0.05, 0.15), "b": Interval(0.0, -0.1, 0.1)}}
    >>> print(forest_plot(panels, "difference", "less GRPO").text())
    difference  tier 4
    a           +0.10 (+0.05 to +0.15)
    b           0.00 (−0.10 to +0.10)
    less GRPO
    """

    panels: Mapping[str, Mapping[str, Interval]]
    x_label: str
    caption: str
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_names(self.panels, "forest plot")

    @property
    def names(self) -> list[str]:
        """What stands at the points, from top to bottom."""
        return list(next(iter(self.panels.values())))

    def _draw(self) -> Any:
        names = list(map(in_picture, self.names))
        count = len(self.panels)
        margin = max(map(text_width, names)) + 0.3
        figure = blank((min(11.0, margin + 2.4 * count + 0.3), 0.28 * len(names) + 1.4))
        grid = figure.subplots(1, count, squeeze=False, sharex=True, sharey=True)[0]
        for axes, (panel, values) in zip(grid, self.panels.items(), strict=True):
            for place, interval in enumerate(values.values()):
                tint = _colour(interval)
                if isfinite(interval.low):
                    axes.plot(interval.ends, [place, place], color=tint, linewidth=2.4, zorder=3)
                face = "white" if tint == LEVEL else tint
                at, sign = self._place(interval.mean)
                axes.plot(at, place, sign, color=tint, markerfacecolor=face, ms=6.5, zorder=4)
            axes.axvline(0, color=INK, linewidth=1.0, zorder=2)
            if self.limits is not None:
                axes.set_xlim(*self.limits)
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.set_yticks(range(len(names)), names)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.grid(axis="x", color="#ececec", zorder=0)
            axes.set_axisbelow(True)
            axes.set_title("\n".join(wrapped(in_picture(panel), 26)), fontsize=10)
        grid[count // 2].set_xlabel(self.x_label, x=0.5 if count % 2 else 0.0)
        return caption_below(figure, self.caption)

    def _place(self, mean: float) -> tuple[float, str]:
        """Where a mean stands, and with what sign: within the limits a point, else an arrow."""
        low, high = self.limits or (mean, mean)
        if low <= mean <= high:
            return mean, "o"
        margin = 0.02 * (high - low)
        return (low + margin, "<") if mean < low else (high - margin, ">")

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row for each name, one column for each panel."""
        return [self.x_label, *map(in_text, self.panels)], [
            [
                in_text(name),
                *(_said(values[name]) for values in self.panels.values()),
            ]
            for name in self.names
        ]

    def alt(self) -> str:
        """Which intervals lie apart from 0, in each panel."""
        parts = []
        for panel, values in self.panels.items():
            apart = {
                word: [in_text(name) for name, x in values.items() if _colour(x) == tint]
                for word, tint in (("above", ABOVE), ("below", BELOW))
            }
            said = "; ".join(
                f"{word} 0: {', '.join(them) or 'none'}" for word, them in apart.items()
            )
            parts.append(f"{in_text(panel)}: {said}")
        return f"Forest plot of {self.x_label}, with intervals. {'. '.join(parts)}."


forest_plot = ForestPlot


def _colour(interval: Interval) -> str:
    if interval.low > 0:
        return ABOVE
    return BELOW if interval.high < 0 else LEVEL


def _said(interval: Interval) -> str:
    mean, low, high = map(signed, (interval.mean, interval.low, interval.high))
    return f"{mean} ({low} to {high})" if isfinite(interval.low) else mean
