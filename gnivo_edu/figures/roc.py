"""ROC curves side by side: the same guesses, held against other steps in each panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gnivo_edu.figures.lines import styles
from gnivo_edu.figures.panels import check_names
from gnivo_edu.figures.style import EDGE, Numbers, Shown, blank, caption_below
from gnivo_edu.figures.tokens import in_picture, in_text, wrapped

SIDE = 3.9  # inches of a panel


class RocCurve(NamedTuple):
    """Shares of the other steps and of the wrong ones at or below each threshold, from 0 to 1, and
    the area under them.
    """

    false: Numbers
    true: Numbers
    area: float


@dataclass(frozen=True)
class RocPlot(Shown):
    """`panels[panel][name]`: the curve of a guess; the same names in every panel, at most six.

    >>> perfect = RocCurve([0, 0, 1], [0, 1, 1], area=1.0)
    >>> print(roc_plot({"steps that look alike": {"rollouts": perfect}}, "an example").text())
    area under the curve  steps that look alike
    rollouts              1.000
    an example
    """

    panels: Mapping[str, Mapping[str, RocCurve]]
    caption: str

    def __post_init__(self) -> None:
        check_names(self.panels, "ROC curves")

    @property
    def names(self) -> list[str]:
        """The guesses, in the order of the first panel."""
        return list(next(iter(self.panels.values())))

    def _draw(self) -> Any:
        figure = blank(
            (min(11.0, SIDE * len(self.panels) + 0.6), SIDE + 1.7 + 0.22 * len(self.names))
        )
        grid = figure.subplots(1, len(self.panels), squeeze=False, sharex=True, sharey=True)[0]
        looks = styles(len(self.names))
        for axes, (panel, curves) in zip(grid, self.panels.items(), strict=True):
            axes.plot([0, 1], [0, 1], color=EDGE, linewidth=1, zorder=1)
            for look, (name, curve) in zip(looks, curves.items(), strict=True):
                axes.plot(
                    curve.false, curve.true, color=look.colour, linestyle=look.dashes,
                    linewidth=1.8, label=f"{in_picture(name)}: {curve.area:.2f}", zorder=3,
                )  # fmt: skip
            axes.set_title("\n".join(wrapped(in_picture(panel), 40)), fontsize=10, loc="left")
            axes.set(xlabel="share of other steps flagged", box_aspect=1)
            axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=9, frameon=False,
                handlelength=2.6, title="area under the curve", title_fontsize=9,
            )  # fmt: skip
        grid[0].set_ylabel("share of first wrong steps flagged")
        return caption_below(figure, self.caption)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The area under every curve."""
        rows = [
            [in_text(name), *(f"{curves[name].area:.3f}" for curves in self.panels.values())]
            for name in self.names
        ]
        return ["area under the curve", *map(in_text, self.panels)], rows

    def alt(self) -> str:
        """The areas of every panel."""
        parts = [
            f"{in_text(panel)}: "
            + ", ".join(f"{in_text(name)} {curve.area:.2f}" for name, curve in curves.items())
            for panel, curves in self.panels.items()
        ]
        return f"ROC curves, areas under them. {'. '.join(parts)}."


roc_plot = RocPlot
