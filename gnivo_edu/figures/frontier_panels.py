"""The reward-KL plane of trained models: a panel a method, its runs as points below the most reward
that any policy of that KL can earn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnivo_edu.figures.lines import LINES, log_axis
from gnivo_edu.figures.plane import Point
from gnivo_edu.figures.style import INK, QUIET, Shown, blank, caption_below, number
from gnivo_edu.figures.tokens import in_picture, in_text, wrapped

ACROSS = 4  # panels beside one another


@dataclass(frozen=True)
class FrontierPanels(Shown):
    """`runs[method][label]`: points of a method, joined by a line in their order; `most`: the
    frontier, from the smallest KL on; `start`: the reward of the reference, whose KL is 0. The axis
    of KL is logarithmic. Grey lines are the other methods; points of `loose` panels are not joined.

    >>> runs = {"GRPO": {"1e-4": Point(1.0, 0.6), "1e-3": Point(10.0, 0.7)}}
    >>> most = [Point(0.1, 0.6), Point(10.0, 1.0)]
    >>> print(frontier_panels(runs, most, start=0.5, caption="an example"))
    method  run   KL to the reference, nats  mean reward
    GRPO    1e-4  1                          0.6
    GRPO    1e-3  10                         0.7
    an example
    """

    runs: Mapping[str, Mapping[str, Point]]
    most: Sequence[Point]
    start: float
    caption: str
    loose: Sequence[str] = ()

    def __post_init__(self) -> None:
        points = [point for runs in self.runs.values() for point in runs.values()]
        if not points or any(point.kl <= 0 for point in [*points, *self.most]):
            raise ValueError("every run and every point of the frontier needs a KL above 0")

    def _draw(self) -> Any:
        across = min(ACROSS, len(self.runs))
        down = -(-len(self.runs) // across)
        figure = blank((2.55 * across + 0.6, 2.1 * down + 0.8))
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
        curve = np.array(self.most)
        look = LINES[1]
        for axes, (method, runs) in zip(grid, self.runs.items(), strict=False):
            axes.fill_between(curve[:, 0], curve[:, 1], 1.05, color="#ececec", linewidth=0)
            axes.plot(*curve.T, color=INK, linewidth=1.5)
            axes.axhline(self.start, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
            for name, other in self.runs.items():
                if name not in self.loose:
                    grey = {"color": "#cfcfcf", "marker": ".", "linewidth": 0.9}
                    axes.plot(*zip(*other.values(), strict=True), **grey)
            axes.plot(
                *zip(*runs.values(), strict=True),
                color=look.colour,
                marker=look.marker,
                markersize=5,
                linewidth=0.0 if method in self.loose else 1.5,
                zorder=4,
            )
            for place, (label, point) in enumerate(runs.items()):
                # Points that are not joined may lie on one another: one label below the next.
                below = 11 + 9 * place * (method in self.loose)
                axes.annotate(
                    in_picture(label),
                    point,
                    xytext=(0, -below),
                    textcoords="offset points",
                    fontsize=8,
                    ha="center",
                )
            axes.set_title("\n".join(wrapped(in_picture(method), 26)), fontsize=10)
            log_axis(axes.xaxis, curve[:, 0].tolist())
            low = min(self.start, *(p.reward for runs in self.runs.values() for p in runs.values()))
            axes.set(xlim=(curve[0, 0], curve[-1, 0]), ylim=(low - 0.26 * (1 - low), 1.02))
        for axes in grid[len(self.runs) :]:
            axes.set_visible(False)
        for axes in grid[max(len(self.runs) - across, 0) : len(self.runs)]:
            axes.tick_params(labelbottom=True)  # the lowest of its column
        figure.supylabel("mean reward", fontsize=9.5)
        caption = f"KL(π ‖ reference), nats an answer, from left to right; {self.caption}"
        return caption_below(figure, caption)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row for each run."""
        return ["method", "run", "KL to the reference, nats", "mean reward"], [
            [in_text(method), in_text(label), number(point.kl), number(point.reward)]
            for method, runs in self.runs.items()
            for label, point in runs.items()
        ]

    def alt(self) -> str:
        """Where each method ends."""
        ends = [(method, list(runs.values())[-1]) for method, runs in self.runs.items()]
        said = "; ".join(
            f"{in_text(method)} to {number(end.reward)} at {number(end.kl)} nats"
            for method, end in ends
        )
        return f"Mean reward against KL below the frontier, a panel a method: {said}."


frontier_panels = FrontierPanels
