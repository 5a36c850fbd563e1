"""Results of benchmarks as they are kept: one JSON a benchmark, its figures, a page made from them;
and whether new ones have fallen behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from gnivo_edu.bench.ratio import Row
from gnivo_edu.figures.scaling import scaling_plot
from gnivo_edu.figures.style import number

TOLERANCE = 0.1  # by which a ratio may fall though the intervals have parted
_SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
}
_INTRODUCTION = """# Benchmarks

Ours and a peer in turn in one process, so that what slows the machine meets both. **Ratio**: the
median over the pairs, larger is better for us; in brackets an interval of 95% of that median (two
of the ratios, by their ranks). **At least**: what the low end of the interval is held to.

```sh
make bench                        # all; those below took {minutes} minutes; rewrites this folder
make bench-check                  # all again, against this folder: names what fell, exits with 1
make bench-check BENCH="exact sample"
gnivo-edu bench sample            # one, as a table; --json for the record
```

A ratio has fallen where its interval lies below the committed one and the ratio is more than
{tolerance:.0%} smaller. The rows against TRL need `pip install "gnivo-edu[trl]"`; `make bench
BENCH_PYTHON=/path/to/python` takes another environment, such as one that has it. This page is
written by `gnivo-edu bench all --into benchmarks`.
"""


def key_of(record: dict[str, Any]) -> str:
    """The name of a record's file."""
    device = record.get("device")
    return record["benchmark"] + (f"-{device}" if device else "")


def write(record: dict[str, Any], folder: Path, note: str = "") -> None:
    """Keep a record in a folder, with a figure for each curve, and make the folder's page anew.

    Where nothing could be measured, an older record that holds something stays. `note` stands above
    the table, such as that the machine was busy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = key_of(record)
    path = folder / f"{key}.json"
    measured = any(row["ours"] is not None for row in record["results"])
    if measured or not path.exists():
        kept = record | ({"note": note} if note else {})
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        for row, picture in _figures(key, record["results"]):
            plot = scaling_plot(**row["curve"], caption=f"{row['case']}; {record['machine']}")
            (folder / picture).write_bytes(plot.png())
    (folder / "README.md").write_text(page(folder), encoding="utf-8")


def read(folder: Path) -> list[dict[str, Any]]:
    """The records of a folder, by name."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]


def fallen(fresh: dict[str, Any], committed: dict[str, Any]) -> list[str]:
    """One line for each ratio of the committed record that is now lower: its interval wholly, and
    the ratio by more than `TOLERANCE`; and for each that is gone.
    """
    rows = {row["case"]: row for row in fresh["results"]}
    lines = []
    for old in committed["results"]:
        case = f"{key_of(committed)}: {old['case']}"
        new = rows.get(old["case"])
        if old["ratio"] is None:
            continue
        if new is None:
            lines.append(f"{case}: there is no such row any more")
        elif new["ratio"] is not None and _fell(new, old):
            was, now = (f"{_ratio(row)} {_interval(row)}" for row in (old, new))
            lines.append(f"{case}: fell from {was} to {now}")
    return lines


def _fell(new: Row, old: Row) -> bool:
    apart = new["interval"][1] < old["interval"][0]
    return bool(apart and new["ratio"] < (1 - TOLERANCE) * old["ratio"])


def not_compared(fresh: dict[str, Any], committed: dict[str, Any]) -> list[str]:
    """What a reader must know of a comparison: rows that could not be measured, another machine."""
    rows = {row["case"]: row for row in committed["results"]}
    lines = [
        f"{key_of(fresh)}: {row['case']}: {row['note']}"
        for row in fresh["results"]
        if row["ratio"] is None and (rows.get(row["case"]) or row)["ratio"] is not None
    ]
    if fresh["machine"] != committed["machine"]:
        lines.append(
            f"{key_of(fresh)}: measured on {fresh['machine']}; committed: {committed['machine']}"
        )
    return lines


def shown(rows: Iterable[Row]) -> list[dict[str, str]]:
    """Rows as they stand in a table: texts."""
    return [
        {
            "case": row["case"],
            "ours": quantity(row["ours"], row["unit"]),
            "peer": quantity(row["peer"], row["unit"]),
            "ratio": f"{_ratio(row)} {_interval(row)}".strip(),
            "at least": "" if row["bound"] is None else number(row["bound"]),
            "holds": {True: "yes", False: "NO", None: ""}[row["holds"]],
        }
        for row in rows
    ]


def quantity(value: float | None, unit: str | None) -> str:
    """A number with its unit, in thousands and thousandths.

    >>> quantity(0.0123, "s"), quantity(2.5e6, "bytes"), quantity(0.99, "share"), quantity(None, "")
    ('12.3 ms', '2.5 MB', '0.99', '')
    """
    if value is None or unit is None:
        return ""
    for scale, name in _SCALES.get(unit, ()):
        if value >= scale:
            return f"{number(value / scale)} {name}"
    bare = unit in ("share", "slope")
    return number(value) + ("" if bare else f" {unit}")


def _ratio(row: Row) -> str:
    return "" if row["ratio"] is None else number(row["ratio"])


def _interval(row: Row) -> str:
    """Its ends, where it is more than a point."""
    if row["ratio"] is None or row["pairs"] < 2:
        return ""
    return f"[{number(row['interval'][0])}, {number(row['interval'][1])}]"


def page(folder: Path) -> str:
    """The page of a folder of records, every number taken from them."""
    records = read(folder)
    minutes = sum(record.get("seconds", 0.0) for record in records) / 60
    parts = [_INTRODUCTION.format(minutes=f"{minutes:.0f}", tolerance=TOLERANCE)]
    parts += [_section(record) for record in records]
    return "\n".join(parts)


def _section(record: dict[str, Any]) -> str:
    key, rows = key_of(record), record["results"]
    lines = [f"## {key}", "", record["about"], ""]
    if note := record.get("note"):
        lines += [f"**{note}**", ""]
    table = shown(rows)
    lines += ["| " + " | ".join(table[0]) + " |", "|" + "---|" * len(table[0])]
    cells = ([cell.replace("|", "\\|") for cell in row.values()] for row in table)
    lines += [f"| {' | '.join(row)} |" for row in cells]
    lines.append("")
    lines += [f"{row['case']}: {row['note']}\n" for row in rows if row["note"]]
    lines += [f"![{row['case']}]({picture})\n" for row, picture in _figures(key, rows)]
    installed = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines += [f"`{record['command']}`, {record['date']}: {record['machine']}; {installed}.", ""]
    return "\n".join(lines)


def _figures(key: str, rows: Iterable[Row]) -> Iterator[tuple[Row, str]]:
    """Rows with a curve, and the names of their pictures."""
    curves = [row for row in rows if "curve" in row]
    for place, row in enumerate(curves, 1):
        yield row, f"{key}-{place}.png"


def measure(
    runs: Iterable[tuple[str, dict[str, Any]]],
    run: Callable[..., dict[str, Any]],
    into: Path | None = None,
    against: Path | None = None,
    note: str = "",
) -> dict[str, Any]:
    """Run some benchmarks, keep them in a folder, compare them with one: the record, or of several
    their list; and what `fell`, what was `not_compared`, and whether none fell (`passed`).
    """
    committed = {key_of(record): record for record in read(against)} if against else {}
    records, fell, left = [], [], []
    for name, options in runs:
        record = run(name, **options)
        records.append(record)
        if into is not None:
            write(record, into, note=note)
        if old := committed.get(key_of(record)):
            fell += fallen(record, old)
            left += not_compared(record, old)
    report: dict[str, Any] = records[0] if len(records) == 1 else {"benchmarks": records}
    if against is not None:
        report = report | {"fell": fell, "not_compared": left, "passed": not fell}
    return report
