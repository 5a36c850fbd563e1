"""What every figure shares: colours, signs, readable tokens, and how one object shows itself in three ways."""

from __future__ import annotations

import html
import os
from typing import Any

import numpy as np

# Orange for a loss, sky blue for a gain: 51 CAM02-UCS units apart or more under every colour-vision deficiency, and
# black text on them keeps a contrast above 9 (research/edu_anchors.md 5.3). The sign is always shown a second way.
LOSS, NEUTRAL, GAIN = (230, 159, 0), (255, 255, 255), (86, 180, 233)
INK, PAPER = "#1a1a1a", "#ffffff"
DPI = 120


def colour(value: float, scale: float) -> str:
    """Hex colour of a signed value; `scale` is the size at which the colour is full.

    >>> colour(1.0, 1.0), colour(0.0, 1.0), colour(-2.0, 1.0)
    ('#56b4e9', '#ffffff', '#e69f00')
    """
    share = min(1.0, abs(value) / scale) if scale > 0 else 0.0
    end = np.array(GAIN if value > 0 else LOSS)
    rgb = np.rint(np.array(NEUTRAL) + share * (end - np.array(NEUTRAL))).astype(int)
    return "#" + "".join(f"{channel:02x}" for channel in rgb)


def signed(value: float) -> str:
    """A number with its sign, two decimals, and a real minus; what rounds to zero carries none.

    >>> signed(0.5), signed(-1.234), signed(-0.001)
    ('+0.50', '−1.23', '0.00')
    """
    text = f"{value:+.2f}"
    return "0.00" if text[1:] == "0.00" else text.replace("-", "−")


def mark(value: float) -> str:
    """The sign as a shape: ▲ gain, ▼ loss, · neither."""
    return {"+": "▲", "−": "▼"}.get(signed(value)[0], "·")


def visible(token: str) -> str:
    """A token with its white space and control characters shown.

    >>> visible(" a\\n")
    '␣a⏎'
    """
    shown = token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)


def escape(text: str) -> str:
    """Text that is safe inside HTML."""
    return html.escape(text, quote=True)


class Shown:
    """A figure that shows itself as HTML where a kernel is live, as PNG in a static build, as text anywhere.

    Subclasses give `figure()` (matplotlib), `html()` and `text()`.
    """

    def figure(self) -> Any:
        """A matplotlib Figure."""
        raise NotImplementedError

    def html(self) -> str:
        """A self-contained HTML fragment."""
        raise NotImplementedError

    def text(self) -> str:
        """The same numbers as plain text, for terminals and screen readers."""
        raise NotImplementedError

    def png(self) -> bytes:
        """The figure as a PNG with an opaque background; the same bytes each time."""
        import io

        buffer = io.BytesIO()
        self.figure().savefig(
            buffer, format="png", dpi=DPI, facecolor=PAPER, bbox_inches="tight", metadata={"Software": None}
        )
        return buffer.getvalue()

    def __str__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        if os.environ.get("GNIVO_STATIC"):
            return {"image/png": self.png(), "text/plain": self.text()}
        return {"text/html": self.html(), "text/plain": self.text()}
