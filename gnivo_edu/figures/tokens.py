"""Readable tokens: whatever a token holds is shown, and none of it can change the page, the line or
the picture.
"""

from __future__ import annotations

import html
import re
import textwrap
import unicodedata
from functools import cache

Token = str | bytes

_SIGNS = {"\n": "⏎", "\t": "⇥"}
# First strong isolate, and pop: they keep the neighbours of right-to-left text in order.
_OPEN, _CLOSE = "\u2068", "\u2069"


def visible(token: Token) -> str:
    """A token with its white space, control characters and stray bytes shown.

    Spaces at either end, and runs of them, become ␣; one space between words stays. What does not
    print is given as an escape: bytes that are no UTF-8, control and direction marks, zero-width
    joiners, unpaired surrogates.

    >>> visible(" a\\n"), visible("two words"), visible(b"\\xe2\\x80"), visible("\\u202e")
    ('␣a⏎', 'two words', '\\\\xe2\\\\x80', '\\\\u202e')
    """
    text = token.decode("utf-8", "surrogateescape") if isinstance(token, bytes) else token
    text = re.sub("^ +| +$| {2,}", lambda spaces: "␣" * len(spaces[0]), text)
    shown = "".join(_SIGNS.get(c) or (c if c.isprintable() else _code(c)) for c in text) or "∅"
    needs_a_letter = unicodedata.category(shown[0]).startswith("M")  # a mark sits on one
    return "◌" + shown if needs_a_letter else shown


def escape(text: str) -> str:
    """Text that is safe inside HTML, in an attribute too."""
    return html.escape(text, quote=True)


def in_html(token: Token) -> str:
    """A visible token for HTML: escaped, and isolated so that right-to-left text does not move what
    follows it.

    >>> in_html("<b>")
    '<bdi>&lt;b&gt;</bdi>'
    """
    return f"<bdi>{escape(visible(token))}</bdi>"


def in_text(token: Token) -> str:
    """A visible token for a line of text; right-to-left ones stand between (invisible) isolating
    marks.
    """
    shown = visible(token)
    return f"{_OPEN}{shown}{_CLOSE}" if _right_to_left(shown) else shown


def in_picture(token: Token, most: int = 0) -> str:
    """A visible token for matplotlib: what its own fonts cannot draw is escaped; longer than `most`
    is cut with "…".

    Only these fonts are used, so that a picture is the same on every machine. Needs matplotlib.
    """
    import matplotlib

    shown = visible(token)
    if most and len(shown) > most:
        shown = shown[: most - 1] + "…"
    shaped = matplotlib.__version_info__ >= (3, 11)  # older ones draw right-to-left text backwards
    return "".join(
        c if _in_font(c) and (shaped or not _right_to_left(c)) else _code(c) for c in shown
    )


def wrapped(text: str, width: int) -> list[str]:
    """At least one line, each of at most `width` characters, cut between words; "log Z = 1.54"
    stays together.
    """
    held = re.sub(r" (?=[=→−] |Z\b|\d)|(?<= [=→−]) ", "\xa0", text)
    lines = textwrap.wrap(held, width, break_on_hyphens=False)
    return [line.replace("\xa0", " ") for line in lines] or [text]


def width_of(text: str) -> int:
    """Columns that a text takes in a terminal: wide characters two, marks none."""
    seen = [c for c in text if unicodedata.category(c) not in ("Mn", "Me", "Cf")]
    return len(seen) + sum(unicodedata.east_asian_width(c) in "WF" for c in seen)


def pad(text: str, width: int) -> str:
    """Spaces added on the right up to `width` columns."""
    return text + " " * (width - width_of(text))


def _code(c: str) -> str:
    number = ord(c)
    if 0xDC80 <= number <= 0xDCFF:  # how Python carries a byte that is no UTF-8
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text)


@cache
def _in_font(c: str) -> bool:
    from matplotlib.font_manager import findfont, get_font

    return get_font(findfont("DejaVu Sans")).get_char_index(ord(c)) > 0
