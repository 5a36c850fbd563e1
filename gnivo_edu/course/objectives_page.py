"""The page of objectives: equation, minimiser, source and departures, read off the docstrings."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gnivo_edu.names import home

if TYPE_CHECKING:  # the page's reader may be without torch
    from gnivo_edu.objectives.published import PublishedSetting

OPENING = """# Objectives

All objectives are pure functions of a `GroupBatch`, called as
`objectives.get("gvpo")(batch, alpha=0.1)`. This page is written by `gnivo-edu build-course` from
their docstrings. Where each of them ends, to machine precision: `gnivo-edu atlas`; how noisy they
are: notebook 08; a report card of your own loss: `gnivo-edu judge module:function`. A published
setting is what `gnivo-edu train --set setting=NAME` takes; a field is marked by where it was read,
and `--dry-run` says more.
"""
SECTIONS = ("Population minimiser", "Source:", "Departures:")


def objectives_page() -> str:
    """The page as Markdown; a new objective of the registry is on it by itself."""
    from gnivo_edu import objectives
    from gnivo_edu.objectives import published

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
        settings = [n for n in published.names() if published.setting(n).objective == name]
        parts += [_wrapped(_published(published.setting(n))) for n in settings]
    return "\n".join(parts)


def write_objectives_page(path: str | Path) -> None:
    """Write the page."""
    home(path).write_text(objectives_page(), encoding="utf-8")


def _published(setting: PublishedSetting) -> str:
    """A published setting in a paragraph: its fields by where they were read, and what holds it."""
    marks: dict[str, list[str]] = {}
    for name, field in setting.fields.items():
        said = f"{name.removeprefix('objective_options.')}={field.value}"
        marks.setdefault(field.mark, []).append(f"`{said}`")
    fields = "; ".join(f"{mark}: {', '.join(said)}" for mark, said in marks.items())
    held = (
        f"It is held by {setting.acts}." if setting.acts else f"Nothing holds it: {setting.none}."
    )
    return f"Published setting `{setting.name}` ({setting.source}). {fields}. {held}"


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
