"""What a check leaves behind: a table that prints, renders in a notebook and serialises to JSON."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


def below(x: float, bound: float) -> str:
    """A number as text that rounding cannot move: "below 1e-12" where it is, else two digits of it.

    `bound` belongs well above what rounding makes on any machine, and far below what would matter.

    >>> below(3.6e-14, 1e-9), below(0.25, 1e-9)
    ('below 1e-9', '0.25')
    """
    return f"below {bound:.0e}".replace("e-0", "e-") if x < bound else f"{x:.2g}"


@dataclass(frozen=True)
class Certificate:
    """The outcome of one numerical check, with the numbers it rests on.

    `claim`: what was checked, in one sentence. `max_abs_error`: the number it is judged by, nats.
    `limit`: the bound on it. `measures`: further numbers by name. `table`: one row per depth.
    `prefixes`: how many were compared. `undecided`: what float64 could not decide, and why; it is
    neither held for true nor for false.

    >>> rows = [{"t": 0, "error": 0.0}]
    >>> print(Certificate("1 + 1 = 2", True, 0.0, limit=1e-10, prefixes=1, table=rows))
    HOLDS  1 + 1 = 2
           largest error 0.0e+00 nats over 1 prefixes (limit 1e-10)
           t  error
           0  0
    """

    claim: str
    passed: bool
    max_abs_error: float
    limit: float
    prefixes: int
    table: list[Row] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    undecided: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> float:
        """A measure by name."""
        return self.measures[name]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain Python values."""
        return {
            "claim": self.claim,
            "passed": self.passed,
            "max_abs_error": self.max_abs_error,
            "limit": self.limit,
            "prefixes": self.prefixes,
            "measures": self.measures,
            "table": self.table,
        }

    def to_json(self) -> str:
        """Everything, as one JSON object."""
        return json.dumps(self.to_dict())

    def __str__(self) -> str:
        rows = [list(self.table[0]), *self._cells] if self.table else []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        padded = [[c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in rows]
        lines = [
            f"{self._verdict}  {self.claim}",
            self._largest_error,
            *(f"{name.replace('_', ' ')}: {_cell(value)}" for name, value in self.measures.items()),
            *("  ".join(row).rstrip() for row in padded),
            *(f"not decided: {reason}" for reason in self.undecided),
        ]
        return "\n       ".join(lines)

    def _repr_html_(self) -> str:
        def tr(cells: list[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

        head = tr(list(self.table[0]), "th") if self.table else ""
        body = "".join(tr(cells, "td") for cells in self._cells)
        measures = "".join(
            f"<br>{html.escape(name.replace('_', ' '))}: {_cell(value)}"
            for name, value in self.measures.items()
        )
        measures += "".join(f"<br>not decided: {html.escape(why)}" for why in self.undecided)
        return (
            f"<div><b>{self._verdict}</b> {html.escape(self.claim)}<br>{self._largest_error}"
            f"{measures}<table>{head}{body}</table></div>"
        )

    @property
    def _verdict(self) -> str:
        return "HOLDS" if self.passed else "FAILS"

    @property
    def _largest_error(self) -> str:
        return (
            f"largest error {self.max_abs_error:.1e} nats over {self.prefixes:,} prefixes "
            f"(limit {self.limit:.0e})"
        )

    @property
    def _cells(self) -> list[list[str]]:
        return [[_cell(value) for value in row.values()] for row in self.table]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        plain = value == 0 or 1e-3 <= abs(value) < 1e5
        return f"{value:.4g}" if plain else f"{value:.1e}"
    return f"{value:,}" if isinstance(value, int) else str(value)
