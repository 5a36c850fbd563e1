"""Words beside the points of a panel: at the nearest place where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gnivo_edu.figures.chips import text_width
from gnivo_edu.figures.plane import Point
from gnivo_edu.figures.style import EDGE


class Box(NamedTuple):
    """A rectangle of a picture, inches."""

    left: float
    right: float
    bottom: float
    top: float

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        return (
            self.left <= other.right
            and other.left <= self.right
            and self.bottom <= other.top
            and other.bottom <= self.top
        )

    def holds(self, other: Box) -> bool:
        """Whether the other lies inside, away from the sides."""
        return (
            self.left < other.left < other.right < self.right
            and self.bottom < other.bottom < other.top < self.top
        )


def label_points(axes: Any, labels: Sequence[tuple[str, Point]], curve: Any) -> None:
    """Words beside points, each at the nearest free place: off the curve (points [n, 2] of the
    axes), the markers, and the words before. Raises ValueError where there is no room.
    """
    to_inches = axes.transData + axes.figure.dpi_scale_trans.inverted()
    left, right = axes.get_xlim()
    kl = np.linspace(left, right, 400)[1:]
    frontier = to_inches.transform(np.column_stack([kl, np.interp(kl, *curve.T)]))
    panel = axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())
    inside = Box(left=panel.x0, right=panel.x1, bottom=panel.y0, top=panel.y1)
    spots = to_inches.transform(np.array([point for _, point in labels]))
    covered = [Box(x - 0.07, x + 0.07, bottom=y - 0.07, top=y + 0.07) for x, y in spots]
    covered += [Box(x, x, bottom=y - 0.03, top=y + 0.03) for x, y in frontier]
    leaders = {"arrowstyle": "-", "color": EDGE, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3}
    style = {"ha": "center", "va": "center", "zorder": 6, "textcoords": "offset points"}
    for (words, point), (x, y) in zip(labels, spots, strict=True):
        far, box = _free_place(x, y, width=text_width(words) + 0.06, panel=inside, covered=covered)
        covered.append(box)
        # From the point to the middle of the box, in points, 72 to the inch.
        offset = 36 * (box.left + box.right) - 72 * x, 36 * (box.bottom + box.top) - 72 * y
        leader = leaders if far > 0.25 else None
        axes.annotate(words, point, xytext=offset, arrowprops=leader, **style)


def _free_place(
    x: float, y: float, width: float, panel: Box, covered: Sequence[Box]
) -> tuple[float, Box]:
    """The nearest box around (x, y), inches, that meets nothing, and its distance."""
    for far in np.arange(0.16, 2.0, 0.06):
        for angle in np.radians([-20, 160, -45, 135, -70, 110, 20, 45, 70, 90, -90, 200, 0, 180]):
            across, up = np.cos(angle), y + np.sin(angle) * far
            middle = x + across * far + np.sign(round(across, 6)) * width / 2
            left, right = middle - width / 2, middle + width / 2
            box = Box(left, right, bottom=up - 0.085, top=up + 0.085)
            if panel.holds(box) and not any(box.meets(other) for other in covered):
                return float(far), box
    raise ValueError("there is no room for so many labels: show them in two pictures")
