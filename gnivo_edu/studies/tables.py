"""Tables of studies, as Markdown and as CSV from one list of rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from gnivo_edu.statistics import Interval

Rows = Sequence[Mapping[str, "str | float | Interval"]]


def write_table(folder: Path, rows: Rows, text: str = "", name: str = "table") -> None:
    """Write rows to NAME.md, with `text` above them, and to NAME.csv. A cell is a word, a number or
    an interval, of which the CSV has the mean and both ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(f"{text}\n\n{markdown(rows)}".lstrip(), encoding="utf-8")
    (folder / f"{name}.csv").write_text(as_csv(rows), encoding="utf-8")


def markdown(rows: Rows) -> str:
    """A table in Markdown.

    >>> print(markdown([{"row": "grpo", "gain": Interval(0.5, 0.25, 0.75), "steps": 3.0}]), end="")
    | row | gain | steps |
    |---|---|---|
    | grpo | +0.500 (+0.250 to +0.750) | 3 |
    """
    if not rows:
        return ""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        signed = [name.startswith(("gain", "against")) for name in row]
        cells = [shown(cell, sign) for cell, sign in zip(row.values(), signed, strict=True)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def shown(cell: str | float | Interval, signed: bool = False) -> str:
    """A cell as it is read: three decimals below 10, whole numbers above 100; differences `signed`.

    >>> shown(Interval(0.5, 0.25, 0.75)), shown(12.34), shown(1234.5), shown(float("nan"))
    ('0.500 (0.250 to 0.750)', '12.3', '1,234', '')
    """
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Interval):
        if not isfinite(cell.mean):
            return ""
        mean, low, high = (_number(x, signed) for x in (cell.mean, cell.low, cell.high))
        return f"{mean} ({low} to {high})" if isfinite(cell.low) else mean
    return _number(cell, signed) if isfinite(cell) else ""


def _number(x: float, signed: bool) -> str:
    if abs(x) >= 100 or (float(x).is_integer() and abs(x) >= 2):
        return f"{x:,.0f}"
    digits = 3 if abs(x) < 10 else 1
    return f"{x:+.{digits}f}" if signed else f"{x:.{digits}f}"


def as_csv(rows: Rows) -> str:
    """The same as comma-separated values."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header: list[str] = []
    body = []
    for row in rows:
        names, cells = [], []
        for name, cell in row.items():
            if isinstance(cell, Interval):
                names += [name, f"{name} low", f"{name} high"]
                cells += [f"{x:.6g}" for x in (cell.mean, cell.low, cell.high)]
            else:
                names.append(name)
                cells.append(cell if isinstance(cell, str) else f"{cell:.6g}")
        header = header or names
        body.append(cells)
    writer.writerows([header, *body])
    return out.getvalue()
