"""One chip: a token or step on the colour of its number, with the number, its sign shown twice,
under the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import Any

from gnivo_edu.figures.style import EDGE, INK, blank, colour, mark, signed
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
            size = width - 2 * inset, height - 2 * inset
            style = f"round,pad=0,rounding_size={0.08 - inset}"
            corner = x + inset, y + inset
            axes.add_patch(
                FancyBboxPatch(
                    corner, *size, boxstyle=style, facecolor=face, edgecolor=edge, linewidth=0.8
                )
            )

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


def sheet(width: float, height: float) -> tuple[Any, Any]:
    """A matplotlib Figure and axes whose coordinates are inches, from the upper left corner."""
    figure = blank((width, height), layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    return figure, axes


@cache
def text_width(text: str, size: float = SIZE) -> float:
    """Width of a line of text, inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72
