"""What figures with lines share: six styles that nobody confuses, labels at the lines, and readable
log axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gnivo_edu.figures.chips import text_width
from gnivo_edu.figures.style import number
from gnivo_edu.figures.tokens import in_picture


class Line(NamedTuple):
    """How a line looks: colour, marker, and dashes (matplotlib's line style)."""

    colour: str
    marker: str
    dashes: Any


# Any two colours are 25 CAM02-UCS units apart or more under normal vision and every deficiency, and
# each has a contrast of 3 or more on white (tested); found by a search over sRGB for the largest
# least distance.
LINES = (
    Line("#1a1a1a", "o", "-"),
    Line("#0099ee", "s", (0, (5, 1.6))),
    Line("#dd7722", "^", (0, (1.6, 1.6))),
    Line("#0011bb", "D", (0, (7, 1.6, 1.6, 1.6))),
    Line("#883300", "v", (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2))),
    Line("#777777", "P", (0, (9, 3))),
)


def styles(count: int) -> tuple[Line, ...]:
    """Styles of `count` lines in one picture; ValueError if there are more than six."""
    if count > len(LINES):
        raise ValueError(
            f"a picture tells {len(LINES)} lines apart, got {count}: show them in two pictures"
        )
    return LINES[:count]


def apart(positions: Sequence[float], gap: float) -> list[float]:
    """The nearest places at least `gap` apart, in the same order (of equals, the first on top): no
    labels overlap.

    >>> apart([0.0, 0.1, 5.0], gap=1.0)
    [-0.45, 0.55, 5.0]
    """
    order = sorted(range(len(positions)), key=lambda i: (positions[i], -i))
    blocks: list[list[float]] = []  # [sum of targets, members], where target i = position - i gap
    for rank, i in enumerate(order):
        blocks.append([positions[i] - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, members = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + members]
    targets = [total / members for total, members in blocks for _ in range(int(members))]
    placed = [0.0] * len(positions)
    for rank, i in enumerate(order):
        placed[i] = targets[rank] + rank * gap
    return placed


def label_lines(
    axes: Any, x: float, ends: Sequence[float], names: Sequence[str], gap: float = 0.075
) -> None:
    """Direct labels right of x, each after a short sample of its line, moved apart where the ends
    lie together.

    They take `label_width(names)` inches. `gap` is a share of the height.
    """
    low, high = axes.get_ylim()
    gap *= high - low
    places = apart(ends, gap)
    up = max(0.0, low + 0.5 * gap - min(places)) - max(0.0, max(places) - high + 0.5 * gap)
    for name, end, place, look in zip(names, ends, places, styles(len(names)), strict=True):
        y = place + up
        at = _right_of(axes, 0.2)
        rule = {"arrowstyle": "-", "color": look.colour, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x, end), (x, y), textcoords=at, arrowprops={**rule, "linewidth": 0.7})
        line = {**rule, "linewidth": 1.8, "linestyle": look.dashes}
        axes.annotate(
            "",
            (x, y),
            (x, y),
            xycoords=_right_of(axes, 0.55),
            textcoords=at,
            arrowprops=line,
        )
        axes.plot(
            [x],
            [y],
            look.marker,
            color=look.colour,
            markersize=5,
            transform=_right_of(axes, 0.375),
            clip_on=False,
        )
        axes.text(x, y, in_picture(name), va="center", transform=_right_of(axes, 0.62))


def _right_of(axes: Any, inches: float) -> Any:
    """Data coordinates, moved to the right."""
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(inches, 0, axes.figure.dpi_scale_trans)


def label_width(names: Sequence[str]) -> float:
    """Width that `label_lines` takes, inches."""
    return 0.75 + max(text_width(in_picture(name)) for name in names)


def log_axis(axis: Any, values: Sequence[float], zero: bool = False) -> None:
    """Make an axis logarithmic over `values`, labelled in plain numbers; `zero` leaves a place for
    0 at its start.
    """
    from matplotlib.ticker import (
        FixedLocator,
        FuncFormatter,
        LogLocator,
        NullFormatter,
        NullLocator,
    )

    positive = [value for value in values if value > 0]
    name = axis.axis_name
    if zero:
        getattr(axis.axes, f"set_{name}scale")("symlog", linthresh=min(positive), linscale=0.5)
        powers = [10.0**n for n in range(-12, 13) if min(positive) <= 10.0**n <= max(positive)]
        if len(powers) < 2:
            powers = [min(positive), max(positive)]
        axis.set_major_locator(FixedLocator([0.0, *powers[:: 1 + len(powers) // 6]]))
        axis.set_minor_locator(NullLocator())
    else:
        getattr(axis.axes, f"set_{name}scale")("log")
        axis.set_major_locator(LogLocator(numticks=7))
        if max(positive) < 30 * min(positive):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
