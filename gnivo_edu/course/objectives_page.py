"""The page of objectives: equation, minimiser, source and departures, read off the docstrings."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

from gnivo_edu.names import home

OPENING = """# Objectives

All objectives are pure functions of a `GroupBatch`, called as
`objectives.get("gvpo")(batch, alpha=0.1)`. This page is written by `gnivo-edu build-course` from
their docstrings. Where each of them ends, to machine precision: `gnivo-edu atlas`; how noisy they
are: notebook 08; a report card of your own loss: `gnivo-edu judge module:function`.
"""
SECTIONS = ("Population minimiser", "Source:", "Departures:")


def objectives_page() -> str:
    """The page as Markdown; a new objective of the registry is on it by itself."""
    from gnivo_edu import objectives

    parts = [OPENING]
    for name in objectives.names():
        function = objectives.get(name)
        paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
        equations = [p for p in paragraphs if p.startswith("    ")]
        parts.append(f"## `{name}`\n\n{paragraphs[0]}\n")
        parts.append(f"```python\n{name}{_signature(function)}\n```\n")
        parts += [f"```text\n{inspect.cleandoc(e)}\n```\n" for e in equations[:1]]
        for p in paragraphs:
            if p.startswith(SECTIONS):
                # One paragraph of a docstring may hold both its source and its departures.
                text = " ".join(p.split()).replace(" Departures:", "\n\nDepartures:")
                parts += [_wrapped(part.replace("*", r"\*")) for part in text.split("\n\n")]
    return "\n".join(parts)


def write_objectives_page(path: str | Path) -> None:
    """Write the page."""
    home(path).write_text(objectives_page(), encoding="utf-8")


def _wrapped(paragraph: str) -> str:
    """The paragraph in lines of at most 100 columns, however its docstring was wrapped."""
    # No line may begin with a minus or a plus: Markdown would make it an item of a list.
    glued = re.sub(r" ([-+]) ", "\0\\1 ", paragraph)
    lines = textwrap.fill(glued, 100, break_on_hyphens=False, break_long_words=False)
    return lines.replace("\0", " ") + "\n"


def _signature(function: Callable[..., object]) -> str:
    """Arguments with their defaults, without types."""
    shown = [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}"
        for p in inspect.signature(function).parameters.values()
    ]
    return "(" + ", ".join(shown) + ")"
