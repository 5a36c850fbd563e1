"""Every key of a report."""

from __future__ import annotations

from typing import Any


def every_key(value: Any) -> set[str]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return set(value if isinstance(value, dict) else ()).union(*map(every_key, inside))
