"""Shells of whole pages: one self-contained file each, whose content security policy allows its own
inline style and script, by their hashes, and nothing else. They ask for nothing from any network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gnivo_edu.figures.tokens import visible

SHELLS = Path(__file__).parent
_POLICY = "content-security-policy-goes-here"
_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


def render(template: Path, **parts: Any) -> str:
    """The page of a template, which may extend `base.html` and stand in any folder.

    All that is put in is escaped. `{{ text|seen }}` shows what does not print as an escape and
    isolates right-to-left text, `{{ text|visible }}` does where no markup may stand; `{{
    data|island }}` is JSON for a script element of the type application/json; `{{
    source("page.js") }}` is the text of a file beside the template.
    """
    pages = Environment(
        loader=FileSystemLoader([template.parent, SHELLS]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters |= {"seen": seen, "island": island, "visible": visible}
    pages.globals["source"] = lambda name: Markup(  # our own files: nothing of others is in them
        (template.parent / name).read_text(encoding="utf-8")
    )
    return with_policy(pages.get_template(template.name).render(parts, policy=_POLICY))


def with_policy(page: str) -> str:
    """The page, its policy written for the inline style and scripts that it holds: no style
    attribute, no handler, no script from elsewhere, not even one that somebody writes into it.
    """
    sources: dict[str, list[str]] = {"style": [], "script": []}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        sources[kind].append(f"'sha256-{digest}'")
    allowed = "; ".join(f"{kind}-src {' '.join(x)}" for kind, x in sources.items() if x)
    rest = "img-src data:; base-uri 'none'; form-action 'none'"
    return page.replace(_POLICY, f"default-src 'none'; {allowed}; {rest}", 1)


def seen(text: str) -> Any:
    """A text as it may stand on a page, line by line: nothing in it is hidden, or moves what stands
    beside it.

    >>> str(seen("a<b\\u202e"))
    '<bdi>a&lt;b\\\\u202e</bdi>'
    """
    lines = [Markup("<bdi>{}</bdi>").format(visible(line)) for line in text.split("\n")]
    return Markup("<br>").join(lines)


def island(data: Any) -> Any:
    """Data as JSON that no text in it can end: for `<script type="application/json">`.

    Raises ValueError on numbers that are not finite, which JSON does not have.

    >>> print(island({"a": "</script><!--"}))
    {"a":"\\u003c/script>\\u003c!--"}
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def finite(x: float) -> float | None:
    """A number for JSON; None where it is none.

    >>> finite(0.5), finite(float("nan"))
    (0.5, None)
    """
    return float(x) if math.isfinite(x) else None
