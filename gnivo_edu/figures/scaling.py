"""A theory check: a quantity on log-log axes, the predicted slope drawn, the fitted slope computed
and printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gnivo_edu.figures.chips import text_width
from gnivo_edu.figures.lines import apart, log_axis, styles
from gnivo_edu.figures.style import Numbers, Shown, caption_below, number, one_panel, signed
from gnivo_edu.figures.tokens import in_picture, in_text


class Fit(NamedTuple):
    """A power law y = e^intercept x^slope fitted by least squares in logarithms; `error`: standard
    error of the slope.

    The error is nan where there are only two points.
    """

    slope: float
    intercept: float
    error: float


@dataclass(frozen=True)
class ScalingPlot(Shown):
    """A log-log plot of `series[name]`, positive values at positive `x`, with fitted slopes and
    with those that theory says, `predicted[name]`.

    `caption` names the reference and alpha where the quantity depends on them.

    >>> errors = {"error": [3, 0.3, 0.03]}
    >>> labels = {"x_label": "samples", "y_label": "nats", "caption": "three points"}
    >>> print(scaling_plot([1, 10, 100], errors, predicted={"error": -1}, **labels).text())
    samples          error
    1                3
    10               0.3
    100              0.03
    fitted slope     −1.00 ± ...
    predicted slope  −1.00
    three points
    """

    x: Numbers
    series: Mapping[str, Numbers]
    predicted: Mapping[str, float]
    x_label: str
    y_label: str
    caption: str

    def __post_init__(self) -> None:
        if len(set(self.x)) < 2 or min(self.x) <= 0:
            raise ValueError("a slope needs at least two different positive x")
        for name, values in self.series.items():
            if len(values) != len(self.x) or not (np.isfinite(values).all() and min(values) > 0):
                raise ValueError(
                    f"series {name!r} needs {len(self.x)} positive values for log-log axes"
                )
        if unknown := set(self.predicted) - set(self.series):
            raise ValueError(f"a slope is predicted for {sorted(unknown)}, which is no series")

    def fit(self, name: str) -> Fit:
        """The power law through one series."""
        u, v = np.log(self.x), np.log(self.series[name])
        centred = u - u.mean()
        slope = float(centred @ v / (centred @ centred))
        residuals = v - v.mean() - slope * centred
        error = np.nan
        if len(u) > 2:
            error = float(np.sqrt(residuals @ residuals / (len(u) - 2) / (centred @ centred)))
        return Fit(slope, float(v.mean() - slope * u.mean()), error=error)

    def _draw(self) -> Any:
        figure, axes = one_panel((8.2, 4.6))
        x = np.asarray(self.x, dtype=np.float64)
        middle = np.exp(np.log(x).mean())
        ends, labels = [], []
        looks = styles(len(self.series))
        for (name, values), look in zip(self.series.items(), looks, strict=True):
            fit = self.fit(name)
            axes.plot(
                x,
                values,
                look.marker,
                zorder=3,
                color=look.colour,
                markersize=7,
                markeredgecolor="white",
            )
            axes.plot(x, np.exp(fit.intercept) * x**fit.slope, color=look.colour, linewidth=1.6)
            label = f"{in_picture(name)}\nfitted slope {_slope(fit)}"
            if name in self.predicted:
                # Only the slope is predicted: the guide crosses the fitted line half-way.
                height = np.exp(fit.intercept) * middle**fit.slope
                guide = height * (x / middle) ** self.predicted[name]
                axes.plot(
                    x,
                    guide,
                    color=look.colour,
                    linestyle=(0, (2, 2)),
                    linewidth=1.4,
                    alpha=0.75,
                )
                label += f"\npredicted {signed(self.predicted[name])} (dashed)"
            ends.append(float(np.log(np.exp(fit.intercept) * x.max() ** fit.slope)))
            labels.append(label)
        log_axis(axes.xaxis, x.tolist())
        log_axis(axes.yaxis, [value for values in self.series.values() for value in values])
        axes.grid(color="#ececec")
        if len(x) <= 10:
            axes.set_xticks(x, [number(value) for value in self.x])
            axes.minorticks_off()
        axes.set(xlabel=self.x_label, ylabel=self.y_label)
        self._labels(axes, float(x.max()), ends=ends, labels=labels)
        return caption_below(figure, self.caption)

    @staticmethod
    def _labels(axes: Any, x: float, ends: Sequence[float], labels: Sequence[str]) -> None:
        """Labels right of the last points, in the axes: the axis is stretched to make room for
        them.
        """
        low, high = np.log(axes.get_xlim())
        room = max(text_width(line) for label in labels for line in label.split("\n")) + 0.25
        axes.set_xlim(np.exp(low), np.exp(low + (high - low) * 7.2 / (7.2 - room)))
        bottom, top = np.log(axes.get_ylim())
        places = apart(ends, 0.17 * (top - bottom))
        margin = 0.1 * (top - bottom)
        up = max(0.0, bottom + margin - min(places)) - max(0.0, max(places) - top + margin)
        for label, place in zip(labels, places, strict=True):
            axes.annotate(
                label,
                (x, np.exp(place + up)),
                linespacing=1.35,
                xytext=(10, 0),
                textcoords="offset points",
                va="center",
            )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The points, then the fitted and the predicted slope of every series."""
        points = zip(self.x, *self.series.values(), strict=True)
        slopes = {name: signed(slope) for name, slope in self.predicted.items()}
        return [self.x_label, *map(in_text, self.series)], [
            *(list(map(number, point)) for point in points),
            ["fitted slope", *(_slope(self.fit(name)) for name in self.series)],
            ["predicted slope", *(slopes.get(name, "") for name in self.series)],
        ]

    def alt(self) -> str:
        """Fitted against predicted slopes."""
        parts = [
            f"{in_text(name)} has slope {signed(self.fit(name).slope)}"
            + (f", predicted {signed(self.predicted[name])}" if name in self.predicted else "")
            for name in self.series
        ]
        return f"Log-log plot of {self.y_label} against {self.x_label}: {'; '.join(parts)}."


scaling_plot = ScalingPlot


def _slope(fit: Fit) -> str:
    return signed(fit.slope) + (f" ± {number(fit.error, 1)}" if np.isfinite(fit.error) else "")
