"""Horizontal bars side by side: the same names in every panel, one axis, each value written at its
bar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from gnivo_edu.figures.chips import text_width
from gnivo_edu.figures.lines import LINES
from gnivo_edu.figures.panels import check_names
from gnivo_edu.figures.style import INK, NONE, QUIET, Shown, blank, caption_below, rounded
from gnivo_edu.figures.tokens import in_picture, in_text, wrapped


@dataclass(frozen=True)
class BarPanels(Shown):
    """Panels of horizontal bars, `panels[panel][name]` >= 0: the same names in every panel, drawn
    from top to bottom; the caption names the reference and alpha.

    >>> panels = {"start": {"a": 0.0, "b": 0.5}, "end": {"a": 1.0, "b": 0.25}}
    >>> print(bar_panels(panels, "share", "an example").text())
    share  start  end
    a      0      1.00
    b      0.50   0.25
    an example
    """

    panels: Mapping[str, Mapping[str, float]]
    x_label: str
    caption: str

    def __post_init__(self) -> None:
        check_names(self.panels, "bars")
        for panel, values in self.panels.items():
            if not all(isfinite(value) and value >= 0 for value in values.values()):
                raise ValueError(f"panel {panel!r} must hold finite values >= 0")

    @property
    def names(self) -> list[str]:
        """What stands at the bars, from top to bottom."""
        return list(next(iter(self.panels.values())))

    def _draw(self) -> Any:
        names = list(map(in_picture, self.names))
        count = len(self.panels)
        margin = max(map(text_width, names)) + 0.3
        figure = blank((min(11.0, margin + 2.3 * count + 0.3), 0.27 * len(names) + 1.35))
        grid = figure.subplots(1, count, squeeze=False, sharex=True, sharey=True)[0]
        widest = max(max(values.values()) for values in self.panels.values()) or 1.0
        places = range(len(names))
        for axes, (panel, values) in zip(grid, self.panels.items(), strict=True):
            bars = list(values.values())
            axes.barh(places, bars, height=0.62, color=LINES[1].colour, zorder=2)
            for place, value in zip(places, bars, strict=True):
                axes.text(
                    value + 0.03 * widest,
                    place,
                    rounded(value),
                    va="center",
                    fontsize=9,
                    color=QUIET if value < NONE else INK,
                )
            axes.axvline(0, color=QUIET, linewidth=0.8, zorder=3)
            axes.set(xlim=(0, 1.28 * widest), ylim=(len(names) - 0.4, -0.6))
            axes.set_yticks(places, names)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.grid(axis="x", color="#ececec", zorder=0)
            axes.set_axisbelow(True)
            axes.set_title("\n".join(wrapped(in_picture(panel), 26)), fontsize=10)
        # One label, in the middle of the picture.
        grid[count // 2].set_xlabel(self.x_label, x=0.5 if count % 2 else 0.0)
        return caption_below(figure, self.caption)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row for each name, one column for each panel."""
        return [self.x_label, *map(in_text, self.panels)], [
            [in_text(name), *(rounded(values[name]) for values in self.panels.values())]
            for name in self.names
        ]

    def alt(self) -> str:
        """Which bars are 0 in each panel, and which is the longest."""
        parts = []
        for panel, values in self.panels.items():
            none = sum(value < NONE for value in values.values())
            longest = max(values, key=lambda name: values[name])
            parts.append(
                f"{in_text(panel)}: {none} of {len(values)} are 0, "
                f"{in_text(longest)} is the longest"
            )
        return f"Bars of {self.x_label}. {'; '.join(parts)}."


bar_panels = BarPanels
