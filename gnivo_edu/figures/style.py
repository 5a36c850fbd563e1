"""What every figure shares: colours, signs, and how one object shows itself as HTML, as a picture
and as text.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gnivo_edu import machine
from gnivo_edu.figures.tokens import escape, pad, visible, width_of, wrapped

__all__ = [
    "INK",
    "Numbers",
    "Shown",
    "called",
    "caption_below",
    "colour",
    "conditions",
    "drawing",
    "escape",
    "mark",
    "signed",
    "visible",
]

Numbers = Sequence[float] | NDArray[np.float64]

# Orange for a loss, sky blue for a gain: +v and -v stay 19 CAM02-UCS units apart or more from a
# quarter of the scale on, under every colour-vision deficiency, and the ink keeps a contrast above
# 7 on them (tested). The sign is always shown a second way.
LOSS, NEUTRAL, GAIN = (230, 159, 0), (255, 255, 255), (86, 180, 233)
INK, PAPER = "#1a1a1a", "#ffffff"
QUIET, EDGE = "#444444", "#777777"
# A path in a text: from its root, its home or a folder above, up to a comma or a semicolon.
_PATH = r"(?:(?<=\s)|^)(?:[A-Za-z]:[/\\]|~?/|\.{1,2}/)[^,;]+"
NONE = 1e-9  # what is smaller is rounding
_SETTINGS = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same picture everywhere
    "font.size": 9.5,
    "text.parse_math": False,  # a token may hold dollar signs
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": EDGE,
    "svg.hashsalt": "gnivo_edu",
    **dict.fromkeys(["text.color", "axes.labelcolor", "xtick.color", "ytick.color"], INK),
    **dict.fromkeys(["axes.labelsize", "xtick.labelsize", "ytick.labelsize"], 9.5),
}


def colour(value: float, scale: float) -> str:
    """Hex colour of a signed value; `scale` is the size at which the colour is full.

    >>> colour(1.0, 1.0), colour(0.0, 1.0), colour(-2.0, 1.0)
    ('#56b4e9', '#ffffff', '#e69f00')
    """
    share = min(1.0, abs(value) / scale) if scale > 0 else 0.0
    end = np.array(GAIN if value > 0 else LOSS)
    rgb = np.rint(np.array(NEUTRAL) + share * (end - np.array(NEUTRAL))).astype(int)
    return "#" + "".join(f"{channel:02x}" for channel in rgb)


def full_scale(values: Iterable[float], scale: float | None = None, floor: float = 0.0) -> float:
    """The value at which the colour is full: `scale` if given, else the largest size there is (1 if
    all are 0), but not below `floor`.
    """
    if scale is not None:
        return scale
    return max(max(map(abs, values)), floor) or 1.0


def signed(value: float) -> str:
    """A number with its sign, two decimals, and a real minus; what rounds to zero carries none.

    >>> signed(0.5), signed(-1.234), signed(-0.001)
    ('+0.50', '−1.23', '0.00')
    """
    text = f"{value:+.2f}"
    return "0.00" if text[1:] == "0.00" else text.replace("-", "−")


def nats(value: float) -> str:
    """A value in nats: two decimals, a real minus, and none on what rounds to zero.

    >>> nats(0.5), nats(-1.234), nats(-0.001)
    ('0.50', '−1.23', '0.00')
    """
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def mark(value: float) -> str:
    """The sign as a shape: ▲ gain, ▼ loss, · neither."""
    return {"+": "▲", "−": "▼"}.get(signed(value)[0], "·")


def number(value: float, digits: int = 3) -> str:
    """A plain number for tables and axes, with a real minus.

    >>> number(0.03125), number(-2), number(1.5e-5), number(2000)
    ('0.0312', '−2', '1.5e−05', '2000')
    """
    form = f".{digits}g"
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        form = f".{digits - 1}e"
    elif abs(value) >= 1000:
        form = ".0f"
    text = f"{value:{form}}"
    mantissa, e, exponent = text.partition("e")
    return (mantissa.rstrip("0").rstrip(".") + e + exponent if e else text).replace("-", "−")


def rounded(value: float) -> str:
    """A number as it stands at its bar or in its cell: two decimals, or two digits where it is
    smaller; what is rounding is 0.

    >>> rounded(0.123), rounded(0.0034), rounded(-1.5), rounded(1e-12)
    ('0.12', '0.0034', '−1.50', '0')
    """
    if abs(value) < NONE:
        return "0"
    return nats(value) if abs(value) >= 0.0095 else number(value, 2)


def percent(share: float) -> str:
    """A probability in percent: whole ones in the middle, finer towards both ends, and never a
    false 0% or 100%.

    >>> percent(0.25), percent(0.998), percent(0.002), percent(1e-9), percent(1.0)
    ('25%', '99.8%', '0.2%', '<0.1%', '100%')
    """
    if 0 < share < 5e-4:
        return "<0.1%"
    if 1 - 5e-4 < share < 1 - 1e-12:
        return ">99.9%"
    near_an_end = 0 < share < 0.0095 or 0.9905 < share < 1 - 1e-12
    return f"{share:.1%}" if near_an_end else f"{share:.0%}"


def called(model: str) -> str:
    """A model's name for a caption: of a path, also inside a text, its last part and not where it
    lies.

    >>> called("/home/ann/models/stories260k"), called("Qwen/Qwen2.5-0.5B"), called("the reference")
    ('stories260k', 'Qwen/Qwen2.5-0.5B', 'the reference')
    >>> called("~/a b/before, its 4 tokens; policy: ../runs/after/")
    'before, its 4 tokens; policy: after'
    """
    if os.path.isdir(model):
        return os.path.basename(os.path.abspath(model)) or model
    return re.sub(_PATH, lambda path: re.split(r"[/\\]", path[0].rstrip("/\\"))[-1], model)


def conditions(reference: str, alpha: float, log_z: float | None = None, note: str = "") -> str:
    """What every value depends on, for captions: the reference, alpha, log Z (nats) and a note if
    given.
    """
    pin = "" if log_z is None else f"; log Z = {log_z:.2f}"
    told = f"reference: {called(reference)}; alpha = {alpha:g}{pin}"
    return told + (f"; {note}" if note else "")


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the reader has set."""
    import matplotlib.style

    with matplotlib.style.context(["default", _SETTINGS]):
        yield


def blank(size: tuple[float, float], layout: Any = "constrained") -> Any:
    """An empty matplotlib Figure, width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout=layout)


def one_panel(size: tuple[float, float]) -> tuple[Any, Any]:
    """A Figure with one pair of axes, and these."""
    figure = blank(size)
    return figure, figure.add_subplot()


def caption_below(figure: Any, caption: str) -> Any:
    """The figure, with the caption at its lower left; for one that lays itself out."""
    if caption:
        lines = wrapped(caption, int(figure.get_size_inches()[0] * 15))
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=9, color=QUIET)
    return figure


class Shown(ABC):
    """A figure that shows itself as HTML where a kernel is live, as PNG in a static build, as text
    anywhere.

    Subclasses have a `caption` and give `_draw()` (matplotlib), `alt()` and `table()`; those that
    are chips rather than curves give their own `html()` and `text()`.
    """

    caption: str

    @abstractmethod
    def _draw(self) -> Any:
        """The matplotlib Figure."""

    @abstractmethod
    def table(self) -> tuple[list[str], list[list[str]]]:
        """The numbers behind the picture: headings and rows."""

    @abstractmethod
    def alt(self) -> str:
        """What the picture shows, in one sentence made from its numbers."""

    def figure(self) -> Any:
        """A matplotlib Figure, the same whatever the reader's matplotlib settings."""
        with drawing():
            return self._draw()

    def html(self) -> str:
        """A self-contained HTML fragment: the picture, its caption, its numbers in a fold. No
        script, no network.
        """
        summary, content = self._fold()
        bare = dataclasses.replace(cast(Any, self), caption="")  # every subclass is a dataclass
        picture = base64.b64encode(bare.svg().encode()).decode()
        return self._framed(
            f'<img alt="{escape(self.alt())}" src="data:image/svg+xml;base64,{picture}" '
            f'style="max-width:100%;height:auto;background:{PAPER}">',
            f"<details><summary>{summary}</summary>{content}</details>",
        )

    def _fold(self) -> tuple[str, str]:
        """What is folded under the picture: its summary, and the table of the numbers as HTML."""
        head, rows = self.table()
        title = '<th scope="col" style="text-align:left">{}</th>'
        titles = "".join(title.format(escape(name)) for name in head)
        cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        style = "border-collapse:separate;border-spacing:0.8em 0;text-align:left"
        return "The numbers", f'<table style="{style}"><tr>{titles}</tr>{body}</table>'

    def text(self) -> str:
        """The same numbers as plain text, for terminals and screen readers."""
        head, rows = self.table()
        widths = [max(map(width_of, column)) for column in zip(head, *rows, strict=True)]
        lines = ["  ".join(map(pad, row, widths)).rstrip() for row in [head, *rows]]
        return self._captioned(lines)

    def png(self, dpi: int = 144) -> bytes:
        """The figure as a PNG with an opaque background, `dpi` pixels an inch; the same bytes each
        time.
        """
        return self._saved(format="png", dpi=dpi, metadata={"Software": None})

    def svg(self) -> str:
        """The figure as an SVG with an opaque background, its letters as outlines; the same text
        each time.
        """
        return self._saved(format="svg", metadata={"Date": None, "Creator": None}).decode()

    def _saved(self, **options: Any) -> bytes:
        buffer = io.BytesIO()
        with drawing():
            self._draw().savefig(buffer, facecolor=PAPER, bbox_inches="tight", **options)
        return buffer.getvalue()

    def _captioned(self, lines: list[str]) -> str:
        """Lines of text with the caption under them, wrapped at 100 columns."""
        return "\n".join([*lines, *wrapped(self.caption, 100)])

    def _framed(self, content: str, below: str = "") -> str:
        """A labelled figure element around some HTML; it takes the page's colours."""
        return (
            f'<figure role="group" aria-label="{escape(self.alt())}" style="margin:0.5em 0">'
            f'<div style="overflow-x:auto">{content}</div>'
            f'<figcaption style="font-size:0.9em">{escape(self.caption)}</figcaption>'
            f"{below}</figure>"
        )

    def __str__(self) -> str:
        return self.text()

    def __html__(self) -> str:
        return self.html()  # how a Jinja2 template asks: it escapes what has no HTML of its own

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any] | tuple[dict[str, Any], dict[str, Any]]:
        if machine.is_static():
            return (
                {"image/png": self.png(), "text/plain": self.text()},
                {"image/png": {"alt": self.alt()}},
            )
        return {"text/html": self.html(), "text/plain": self.text()}
