"""How far from a goal each method ends as one condition changes: lines over a share, labelled at
their ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnivo_edu.figures.lines import label_lines, label_width, styles
from gnivo_edu.figures.style import (
    NONE,
    Numbers,
    Shown,
    caption_below,
    conditions,
    number,
    one_panel,
)
from gnivo_edu.figures.tokens import in_text

PLOT = 5.6  # inches, the width of the axes
SAME = 0.012  # lines closer than this share of the height everywhere would hide one another


@dataclass(frozen=True)
class DistanceCurves(Shown):
    """`distances[name]`: distances from a goal, one for each of the `shares`, which lie in 0..1 and
    grow.

    Where lines lie on one another the earlier one is drawn wider, as a frame around the later ones.
    """

    shares: Numbers
    distances: Mapping[str, Numbers]
    caption: str
    x_label: str
    y_label: str

    def __post_init__(self) -> None:
        shares = np.asarray(self.shares, dtype=np.float64)
        if len(shares) < 2 or (np.diff(shares) <= 0).any() or shares[0] < 0 or shares[-1] > 1:
            raise ValueError(
                f"shares must be two or more growing numbers in 0..1, got {list(self.shares)}"
            )
        if not self.distances:
            raise ValueError(
                "no distances to draw: give a mapping of at least one name to one number per share"
            )
        for name, values in self.distances.items():
            if len(values) != len(shares) or not (np.isfinite(values).all() and min(values) >= 0):
                raise ValueError(
                    f"the distances of {name!r} must be {len(shares)} finite numbers >= 0, "
                    "one per share"
                )

    @property
    def top(self) -> float:
        """Upper end of the axis of distances."""
        return 1.08 * max(max(values) for values in self.distances.values()) or 1.0

    def covered(self, name: str) -> int:
        """How many later lines lie on this one all the way."""
        names = list(self.distances)
        line = np.asarray(self.distances[name])
        later = names[names.index(name) + 1 :]
        return sum(
            bool(np.abs(line - self.distances[other]).max() < SAME * self.top) for other in later
        )

    def _draw(self) -> Any:
        names = list(self.distances)
        figure, axes = one_panel((PLOT + label_width(names) + 0.8, 4.4))
        for rank, (name, look) in enumerate(zip(names, styles(len(names)), strict=True)):
            over = self.covered(name)
            axes.plot(
                self.shares,
                self.distances[name],
                color=look.colour,
                linestyle="-" if over else look.dashes,
                linewidth=1.7 + 3.5 * over,
                marker=look.marker,
                markersize=5.5 + 4.5 * over,
                markeredgecolor="white",
                zorder=3 + rank,
                clip_on=False,
            )
        axes.set(ylim=(-0.03 * self.top, self.top), xlim=(self.shares[0], self.shares[-1]))
        axes.set_xticks(self.shares, [f"{share:.0%}" for share in self.shares])
        axes.grid(axis="y", color="#ececec")
        axes.set(xlabel=self.x_label, ylabel=self.y_label)
        ends = [values[-1] for values in self.distances.values()]
        label_lines(axes, self.shares[-1], ends=ends, names=names)
        return caption_below(figure, self.caption)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row per line, one column per share."""
        return [self.x_label, *(f"{share:.0%}" for share in self.shares)], [
            [in_text(name), *map(_distance, values)] for name, values in self.distances.items()
        ]

    def alt(self) -> str:
        """Where every line starts and ends."""
        ends = [
            f"{in_text(name)} from {_distance(v[0])} to {_distance(v[-1])}"
            for name, v in self.distances.items()
        ]
        measure = self.y_label[:1].upper() + self.y_label[1:]
        return f"{measure} against {self.x_label}: {'; '.join(ends)}."


def distance_curves(
    shares: Numbers,
    distances: Mapping[str, Numbers],
    alpha: float,
    reference: str = "the initial model",
    x_label: str = "share of off-policy data",
    y_label: str = "distance from π*, total variation",
    note: str = "",
) -> DistanceCurves:
    """Where methods come to rest as the data come more and more from elsewhere; the caption ends
    with `note`.

    >>> distances = {"gvpo": [0, 0, 0], "gnivo": [0, 0.03, 0.07]}
    >>> print(distance_curves([0, 0.5, 1], distances, alpha=0.3).text())
    share of off-policy data  0%  50%   100%
    gvpo                      0   0     0
    gnivo                     0   0.03  0.07
    reference: the initial model; alpha = 0.3
    """
    return DistanceCurves(
        shares,
        distances,
        caption=conditions(reference, alpha, note=note),
        x_label=x_label,
        y_label=y_label,
    )


def _distance(value: float) -> str:
    return "0" if value < NONE else number(value)
