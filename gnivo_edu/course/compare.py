"""How one notebook differs from another in meaning: cells, kinds of output, words and numbers.

Two processors round differently, so what two runs print differs in digits that say nothing. Of two
texts the words must be the same; white space and the length of a ruled line are layout. Numbers:

- Whole numbers, written without a point or an exponent, are counts and must be equal.
- Other numbers may differ by `RELATIVE` of the larger, or by one unit of the last digit printed. So
  a changed third digit is a difference wherever a fourth is printed, and a changed sign always is.
- Numbers of at most `FLOOR` in size are rounding errors, and equal to each other.
- In HTML, the numbers of a drawing (coordinates, widths, the channels of a colour) are rounded, not
  counted: whole ones may move by one unit too.

A cell that trains or samples says by how much its numbers may move: the tag `tolerance=0.3` puts
0.3 in the place of `RELATIVE`, and lets counts move as well, by that part or by one. Its words are
compared like all others. The relative tolerance is no absolute one: 0.001 and 0.002 differ, even
if the quantity could have been 100.

Pictures are compared by presence and size. That is enough for what is drawn from numbers that the
tests of the figures and of the notebooks compute: it finds the empty, the missing and the redrawn
picture, and other fonts or a line moved by rounding do not change it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import nbformat

from gnivo_edu.course.tidy import parts, place_of, tolerance_of

RELATIVE = 5e-4  # half a unit of the third digit of 9.99, the finest third digit there is
FLOOR = 1e-9
IMAGE_TOLERANCE = 0.2  # of the size in bytes: another platform's fonts move pixels, not the figure
MARKUP = ("text/html", "image/svg+xml")

_UNSIGNED = (
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+\u2212]?[0-9]+)?"
)
# In prose a digit belongs to the word before it (E5, x2, 1.16.0), and in 3-4 the minus is a dash.
_PROSE = re.compile(
    rf"(?P<number>(?:(?<![\w.)\]])[-+\u2212])?(?<![\w.]){_UNSIGNED})|(?P<rule>[-=─━]{{3,}})|\w+|\S"
)
# In a drawing it does not: M12.5,3L7-2 are two letters and four numbers.
_DRAWN = re.compile(rf"(?P<colour>#[0-9a-fA-F]{{6}}\b)|(?P<number>[-+]?{_UNSIGNED})|[^\W\d]+|\S")
_MEASURES = "d|points|transform|style|viewBox|[cr]?[xy][12]?|d[xy]|r|width|height|fill|stroke"
_DRAWING = re.compile(rf"""#[0-9a-fA-F]{{6}}\b|\b(?:{_MEASURES})=(?:"[^"]*"|'[^']*')""")


@dataclass(frozen=True)
class _Token:
    """A word, or a number with the unit of its last printed digit; and where it stands."""

    text: str
    start: int
    value: float | None = None
    unit: float = 0.0
    is_count: bool = False


def differences(committed: Path, built: Path) -> list[str]:
    """One line per difference between two notebook files, the empty list if there is none."""
    name = committed.stem
    if not committed.exists():
        return [f"{name}: {committed.name} is missing"]
    try:
        old = nbformat.read(committed, as_version=4)
    except Exception as error:
        return [f"{name}: {committed.name} is not a notebook ({' '.join(str(error).split())[:80]})"]
    new = nbformat.read(built, as_version=4)
    lines = [f"{name}: the notebook's metadata changed"] if old.metadata != new.metadata else []
    if len(old.cells) != len(new.cells):
        lines.append(
            f"{name}: {len(old.cells)} cells are committed, the source builds {len(new.cells)}"
        )
    for index, (before, after) in enumerate(zip(old.cells, new.cells, strict=False)):
        place = place_of(name, index, after)
        lines += [f"{place}: {change}" for change in _cell_changes(before, after, place)]
    return lines


def _cell_changes(before: Any, after: Any, place: str) -> list[str]:
    changes = []
    if (before.cell_type, before.source) != (after.cell_type, after.source):
        pairs = zip_longest(before.source.splitlines(), after.source.splitlines(), fillvalue="")
        lines = next(((a, b) for a, b in pairs if a != b), (before.source, after.source))
        changes.append(_became("source", *lines))
    if (before.get("id"), before.metadata) != (after.id, after.metadata):
        changes.append("its id or metadata changed")
    if before.get("execution_count") != after.get("execution_count"):
        changes.append(
            f"execution count {before.get('execution_count')} is now {after.get('execution_count')}"
        )
    return changes + output_changes(before, after, place)


def output_changes(before: Any, after: Any, place: str = "cell") -> list[str]:
    """One line per difference between the outputs of two cells; the tolerance is that of `after`.

    Raises BuildError, in one line that begins with `place`, where its tag cannot be read."""
    tolerance = tolerance_of(after, place)
    old = [part for output in before.get("outputs", []) for part in parts(output)]
    new = [part for output in after.get("outputs", []) for part in parts(output)]
    kinds = [", ".join(kind for kind, _ in pairs) or "none" for pairs in (old, new)]
    if kinds[0] != kinds[1]:
        return [f"outputs ({kinds[0]}) are now ({kinds[1]})"]
    changes = []
    for (kind, was), (_, now) in zip(old, new, strict=True):
        if kind == "image/png":
            if abs(len(was) - len(now)) > IMAGE_TOLERANCE * max(len(was), len(now)):
                changes.append(
                    f"the picture's size went from {len(was):,} to {len(now):,} bytes in base64"
                )
        elif lines := text_change(was, now, tolerance=tolerance, markup=kind in MARKUP):
            changes.append(_became(f"{kind} output", *lines))
    return changes


def text_change(
    was: str, now: str, *, tolerance: float | None = None, markup: bool = False
) -> tuple[str, str] | None:
    """The first line of each of two texts where they differ in meaning; None if they do not.

    >>> text_change("spread 3.6e-14 in 128 runs", "spread 1.4e-14 in 128 runs")
    >>> text_change("credit 0.1234 of 3", "credit -0.1234 of 3")
    ('credit 0.1234 of 3', 'credit -0.1234 of 3')
    >>> text_change("reward 0.52, 31 right", "reward 0.61, 27 right", tolerance=0.3)
    """
    if was == now:
        return None
    for old, new in zip_longest(_tokens(was, markup), _tokens(now, markup)):
        if old is None or new is None or not _same(old, new, tolerance):
            return _line(was, old), _line(now, new)
    return None


def _tokens(text: str, markup: bool) -> Iterator[_Token]:
    """Words, numbers and signs in their order; white space is left out."""
    position = 0
    for drawing in _DRAWING.finditer(text) if markup else ():
        yield from _read(_PROSE.finditer(text, position, drawing.start()))
        yield from _read(_DRAWN.finditer(text, drawing.start(), drawing.end()))
        position = drawing.end()
    yield from _read(_PROSE.finditer(text, position))


def _read(matches: Iterator[re.Match[str]]) -> Iterator[_Token]:
    for match in matches:
        if match.lastgroup == "number":
            yield _number(match)
        elif match.lastgroup == "colour":
            channels = bytes.fromhex(match[0][1:])
            yield from (_Token(match[0], match.start(), channel, 1.0) for channel in channels)
        else:
            yield _Token("---" if match.lastgroup == "rule" else match[0], match.start())


def _number(match: re.Match[str]) -> _Token:
    text = match[0].replace(",", "").replace("\u2212", "-")
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    is_count = match.re is _PROSE and decimals == 0 and not exponent
    unit = float(f"1e{int(exponent or 0) - decimals}")
    return _Token(match[0], match.start(), float(text), unit, is_count)


def _same(old: _Token, new: _Token, tolerance: float | None) -> bool:
    if old.value is None or new.value is None:
        return old.text == new.text
    if old.is_count and new.is_count and tolerance is None:
        return old.value == new.value
    larger = max(abs(old.value), abs(new.value))
    # Of 1 and 0.999, both printed with %.3g, the finer unit is that of the rounding.
    allowed = max((tolerance or RELATIVE) * larger, min(old.unit, new.unit))
    # The difference of two decimals is itself rounded: 0.13 - 0.12 > 0.01.
    return larger <= FLOOR or abs(old.value - new.value) <= allowed + 1e-12 * larger


def _line(text: str, token: _Token | None) -> str:
    """The line in which a token stands, or the text's last."""
    position = len(text.rstrip()) if token is None else token.start
    start = text.rfind("\n", 0, position) + 1
    return text[start:].partition("\n")[0].strip()


def _became(what: str, was: str, now: str) -> str:
    return f"the {what} {was.strip()!r} is now {now.strip()!r}"
