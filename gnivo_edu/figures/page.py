"""Whole pages from Jinja2 templates: all that is put into them is escaped, except figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, **parts: Any) -> str:
    """The page of a template. `{{ part }}` escapes text and shows a figure as its HTML;
    `{{ part|tojson }}` is safe inside a script element.
    """
    pages = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.policies["json.dumps_kwargs"] = {}  # in the order given: pages show keys in theirs
    return pages.get_template(template.name).render(parts)
