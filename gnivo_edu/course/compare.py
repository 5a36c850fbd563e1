"""How a committed notebook differs from the one its source builds: texts exactly, pictures by
presence and size.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

import nbformat

from gnivo_edu.course.tidy import parts, place_of

IMAGE_TOLERANCE = 0.2  # of the size in bytes: another platform's fonts move pixels, not the figure


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
    found = [f"{name}: the notebook's metadata changed"] if old.metadata != new.metadata else []
    if len(old.cells) != len(new.cells):
        found.append(
            f"{name}: {len(old.cells)} cells are committed, the source builds {len(new.cells)}"
        )
    for index, (before, after) in enumerate(zip(old.cells, new.cells, strict=False)):
        found += [f"{place_of(name, index, after)}: {change}" for change in _changes(before, after)]
    return found


def _changes(before: Any, after: Any) -> list[str]:
    found = []
    if (before.cell_type, before.source) != (after.cell_type, after.source):
        found.append(_first_change("source", before.source, after.source))
    if (before.get("id"), before.metadata) != (after.id, after.metadata):
        found.append("its id or metadata changed")
    if after.cell_type != "code":
        return found
    if before.get("execution_count") != after.execution_count:
        found.append(
            f"execution count {before.get('execution_count')} is now {after.execution_count}"
        )
    old = [part for output in before.get("outputs", []) for part in parts(output)]
    new = [part for output in after.outputs for part in parts(output)]
    if [kind for kind, _ in old] != [kind for kind, _ in new]:
        return [*found, f"outputs {_kinds(old)} are now {_kinds(new)}"]
    for (kind, was), (_, now) in zip(old, new, strict=True):
        if kind.startswith("image/"):
            if abs(len(was) - len(now)) > IMAGE_TOLERANCE * max(len(was), len(now)):
                found.append(
                    f"the picture's size went from {len(was):,} to {len(now):,} bytes in base64"
                )
        elif was != now:
            found.append(_first_change(f"{kind} output", was, now))
    return found


def _kinds(pairs: list[tuple[str, str]]) -> str:
    return "(" + (", ".join(kind for kind, _ in pairs) or "none") + ")"


def _first_change(what: str, was: str, now: str) -> str:
    lines = zip_longest(was.splitlines(), now.splitlines(), fillvalue="")
    old, new = next(((a, b) for a, b in lines if a != b), (was[-20:], now[-20:]))
    return f"the {what} {old.strip()!r} is now {new.strip()!r}"
