"""A small heat map: numbers in the cells of a few tables side by side, the same rows and columns in
each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from gnivo_edu.figures.chips import text_width
from gnivo_edu.figures.style import EDGE, Shown, blank, caption_below, colour, full_scale, rounded
from gnivo_edu.figures.tokens import in_picture, in_text, wrapped

CELL = (0.72, 0.3)  # width and height of a cell, inches
LINE = 0.17  # height of a line of a heading, inches
Cells = Mapping[str, Mapping[str, float]]  # row -> column -> value


@dataclass(frozen=True)
class HeatMap(Shown):
    """Tables of numbers side by side, `panels[panel][row][column]`: finite numbers, the same rows
    and columns in every panel; `what` says what the numbers are.

    Positive cells are blue, negative ones orange, full colour at a size of `scale`, or at the
    largest there is.

    >>> cells = {"gvpo": {"K = 2": 0.25, "K = 8": 0.5}, "ppo": {"K = 2": 1.0, "K = 8": 0.0}}
    >>> print(heat_map({"dense": cells}, "signal to noise", "alpha = 0.5").text())
    signal to noise        K = 2  K = 8
    dense            gvpo  0.25   0.50
    dense            ppo   1.00   0
    alpha = 0.5
    """

    panels: Mapping[str, Cells]
    what: str
    caption: str
    scale: float | None = None

    def __post_init__(self) -> None:
        if not self.panels or not self.rows or not self.columns:
            raise ValueError("a heat map needs at least one panel, one row and one column")
        for panel, cells in self.panels.items():
            if list(cells) != self.rows:
                raise ValueError(
                    f"panel {panel!r} must hold the rows of the first one, in its order: "
                    f"{self.rows}"
                )
            for row, values in cells.items():
                if list(values) != self.columns:
                    raise ValueError(
                        f"row {row!r} of panel {panel!r} must hold the columns {self.columns}, "
                        "in order"
                    )
                if not all(map(isfinite, values.values())):
                    raise ValueError(f"row {row!r} of panel {panel!r} must hold finite numbers")

    @property
    def rows(self) -> list[str]:
        """Names of the rows, from top to bottom."""
        return list(next(iter(self.panels.values())))

    @property
    def columns(self) -> list[str]:
        """Names of the columns, from left to right."""
        return list(next(iter(next(iter(self.panels.values())).values()), {}))

    @property
    def full(self) -> float:
        """The size at which the colour is full."""
        rows = (row for cells in self.panels.values() for row in cells.values())
        return full_scale((x for row in rows for x in row.values()), self.scale)

    def _draw(self) -> Any:
        rows = [in_picture(row) for row in self.rows]
        heads = ["\n".join(wrapped(in_picture(column), 11)) for column in self.columns]
        wide, high = CELL[0] * len(heads), CELL[1] * len(rows)
        left = max(map(text_width, rows)) + 0.25
        lines = 1 + max(head.count("\n") for head in heads)
        top = LINE * lines + 0.4
        title = wrapped(in_picture(self.what), max(20, int(12 * (left + wide * len(self.panels)))))
        top += LINE * len(title) + 0.1
        size = (left + (wide + 0.3) * len(self.panels), top + high + 0.35)
        figure = blank(size, layout=None)
        figure.text(0.1 / size[0], 1 - 0.08 / size[1], "\n".join(title), va="top", fontsize=10)
        for n, (panel, cells) in enumerate(self.panels.items()):
            start = (left + n * (wide + 0.3)) / size[0]
            axes = figure.add_axes((start, 0.35 / size[1], wide / size[0], high / size[1]))
            axes.set(xlim=(0, len(heads)), ylim=(len(rows), 0))
            self._cells(axes, cells)
            axes.xaxis.tick_top()
            axes.set_xticks(np.arange(len(heads)) + 0.5, heads, fontsize=9)
            names = rows if n == 0 else []
            axes.set_yticks(np.arange(len(names)) + 0.5, names)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            axes.set_title(in_picture(panel), fontsize=10, loc="left", pad=6 + 12 * lines)
        return caption_below(figure, self.caption)

    def _cells(self, axes: Any, cells: Cells) -> None:
        """Coloured boxes with their numbers."""
        from matplotlib.patches import Rectangle

        for y, row in enumerate(self.rows):
            for x, column in enumerate(self.columns):
                value = cells[row][column]
                cell = Rectangle((x, y), 1, 1, color=colour(value, self.full), clip_on=False)
                axes.add_patch(cell).set(edgecolor=EDGE, linewidth=0.5)
                axes.text(x + 0.5, y + 0.5, rounded(value), ha="center", va="center", fontsize=9)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row for each row of each panel."""
        return [in_text(self.what), "", *map(in_text, self.columns)], [
            [in_text(panel), in_text(row), *(rounded(x) for x in cells[row].values())]
            for panel, cells in self.panels.items()
            for row in self.rows
        ]

    def alt(self) -> str:
        """The smallest and the largest number of each panel, and where they stand."""
        parts = []
        for panel, cells in self.panels.items():
            places = [
                (value, f"{rounded(value)} ({in_text(row)}, {in_text(column)})")
                for row, values in cells.items()
                for column, value in values.items()
            ]
            least = min(places, key=lambda place: place[0])
            most = max(places, key=lambda place: place[0])
            parts.append(f"{in_text(panel)}: from {least[1]} to {most[1]}")
        return f"Heat map of {self.what}. {'; '.join(parts)}."


heat_map = HeatMap
