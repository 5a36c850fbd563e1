"""What pictures of panels side by side have in common: the same names in each panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_names(panels: Mapping[str, Mapping[str, Any]], picture: str) -> None:
    """Raise ValueError, in one line that begins with the kind of `picture`, where there is no panel
    or no name, or where a panel holds other names than the first one or another order of them.

    >>> check_names({"tier 2": {"a": 1}, "tier 3": {"b": 2}}, "bars")
    Traceback (most recent call last):
    ValueError: bars: panel 'tier 3' must hold the names of the first one, in its order: ['a']
    """
    names = list(next(iter(panels.values()), {}))
    if not names:
        raise ValueError(f"{picture}: there must be at least one panel and one name")
    for panel, values in panels.items():
        if list(values) != names:
            raise ValueError(
                f"{picture}: panel {panel!r} must hold the names of the first one, in its order: "
                f"{names}"
            )
