"""One chip: a token or step on the colour of its number, with the number, its sign shown twice,
under the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import Any

from gnivo_edu.figures.style import EDGE, INK, QUIET, blank, colour, mark, signed
from gnivo_edu.figures.tokens import Token, in_html, in_picture, in_text, visible, wrapped

LINE, GAP = 0.19, 0.08  # height of a line and space around it, inches
SIZE = 9.5  # of letters, points


@dataclass(frozen=True)
class Chip:
    """A token with its value, nats; a special token (end of sequence, and the like) is boxed."""

    token: Token
    value: float
    special: bool = False

    def __post_init__(self) -> None:
        if not isfinite(self.value):
            raise ValueError(
                f"the value of {visible(self.token)!r} is {self.value}: leave out what cannot be "
                "reached"
            )

    def text(self) -> str:
        """The chip in a line of text, its token in brackets if special.

        >>> print(Chip("cat", 0.5).text(), Chip("<eos>", -0.25, special=True).text())
        cat ▲+0.50 [<eos>] ▼−0.25
        """
        token = in_text(self.token)
        shown = f"[{token}]" if self.special else token
        return f"{shown} {mark(self.value)}{signed(self.value)}"

    def html(self, scale: float, tag: str = "td", style: str = "", one_line: bool = False) -> str:
        """The chip as an HTML element with its own background and black text: the same on light and
        dark pages.

        `style`: declarations added to its own; `one_line`: the number beside the token, not under
        it.
        """
        border = f"3px double {INK}" if self.special else f"1px solid {EDGE}"
        display = "table-cell" if tag == "td" else "inline-block"
        padding, between = ("0 6px", " ") if one_line else ("4px 8px", "<br>")
        looks = (
            f"background:{colour(self.value, scale)};color:{INK};border:{border};border-radius:6px;"
            f"text-align:center;padding:{padding};display:{display};{style}"
        )
        shown = f"{in_html(self.token)}{between}{mark(self.value)}&nbsp;{signed(self.value)}"
        return f'<{tag} style="{looks}">{shown}</{tag}>'

    def lines(self, most: int = 60) -> list[str]:
        """The lines that the picture of the chip holds: its token, wrapped, then its number."""
        return [*wrapped(in_picture(self.token), most), f"{mark(self.value)} {signed(self.value)}"]

    def size(self, most: int = 60) -> tuple[float, float]:
        """Width and height of the picture of the chip, inches."""
        lines = self.lines(most)
        return max(map(text_width, lines)) + 2.5 * GAP, LINE * len(lines) + 2 * GAP

    def draw(
        self,
        axes: Any,
        x: float,
        y: float,
        width: float,
        height: float,
        scale: float,
        most: int = 60,
    ) -> None:
        """Draw the chip with its upper left corner at (x, y) of a sheet, inches."""
        from matplotlib.patches import FancyBboxPatch

        def box(inset: float, face: str, edge: str) -> None:
            frame = FancyBboxPatch(
                (x + inset, y + inset),
                width=width - 2 * inset,
                height=height - 2 * inset,
                boxstyle=f"round,pad=0,rounding_size={0.08 - inset}",
                facecolor=face,
                edgecolor=edge,
                linewidth=0.8,
            )
            axes.add_patch(frame)

        box(0, face=colour(self.value, scale), edge=INK if self.special else EDGE)
        if self.special:
            box(0.035, face="none", edge=INK)
        lines = self.lines(most)
        top = y + (height - LINE * (len(lines) - 1)) / 2
        for n, line in enumerate(lines):
            axes.text(x + width / 2, top + n * LINE, line, ha="center", va="center", fontsize=SIZE)


class NumberChip(Chip):
    """A chip without its token, which stands elsewhere in its column."""

    def lines(self, most: int = 60) -> list[str]:
        """The number alone."""
        return super().lines(most)[-1:]


def draw_row(
    axes: Any,
    chips: Sequence[Chip],
    x: float,
    y: float,
    widths: Sequence[float],
    height: float,
    scale: float,
    most: int = 60,
    gap: float = GAP,
) -> None:
    """Chips side by side, the upper left corner of the first at (x, y)."""
    for chip, width in zip(chips, widths, strict=True):
        chip.draw(axes, x, y=y, width=width, height=height, scale=scale, most=most)
        x += width + gap


def draw_columns(
    axes: Any,
    heads: Sequence[Sequence[str]],
    rows: Sequence[tuple[float, Sequence[Chip]]],
    x: float,
    y: float,
    widths: Sequence[float],
    height: float,
    scale: float,
    most: int = 60,
    gap: float = GAP,
) -> None:
    """Columns from x on: the lines of a head, which end at y, and below it the chips of every row;
    `rows`: where each starts from above, and its chips, which may be fewer than the columns.
    """
    for t, (head, width) in enumerate(zip(heads, widths, strict=True)):
        axes.text(x + width / 2, y, "\n".join(head), ha="center", va="bottom", fontsize=9.5)
        for top, chips in rows:
            if t < len(chips):
                chips[t].draw(axes, x, y=top, width=width, height=height, scale=scale, most=most)
        x += width + gap


def sheet(width: float, height: float, caption: str, margin: float = 0.0) -> Any:
    """Axes of a matplotlib Figure whose coordinates are inches, from the upper left corner, with
    room for the caption below what is `height` inches high, and a `margin` on the right.
    """
    below = 0.17 * len(wrapped(caption, int(15 * width)))
    axes = blank((width + margin, height + below), layout=None).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width + margin), ylim=(height + below, 0))
    axes.axis("off")
    return axes


def captioned(axes: Any, caption: str, x: float, y: float, width: float) -> Any:
    """The Figure of a sheet, its caption written with the upper left corner at (x, y)."""
    lines = wrapped(caption, int(15 * width))
    axes.text(x, y, "\n".join(lines), va="top", fontsize=9, color=QUIET)
    return axes.figure


@cache
def text_width(text: str, size: float = SIZE) -> float:
    """Width of a line of text, inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72
