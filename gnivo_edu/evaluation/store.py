"""Completions on disk: a line each, a problem at a time, so that a run that was stopped goes on
where it was.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gnivo_edu.evaluation.report import Report, Row, report_of
from gnivo_edu.files import named, read_line, read_object, read_text
from gnivo_edu.names import home, output_folder, shown
from gnivo_edu.values import convert

SETTINGS, COMPLETIONS, REPORT = "settings.json", "completions.jsonl", "report.json"
# What a line of completions.jsonl holds; `counts` and what stands after it only of graded answers.
KINDS = {
    "problem": int,
    "sample": int,
    "tokens": list[int],
    "text": str,
    "reward": float,
    "length": int,
    "truncated": bool,
}
GRADED = {"answer": str | None, "gold": str | None, "status": str, "counts": bool}
NUMBERS = {"problems": int, "skipped": int, "ks": list[int], "solved_at": float, "reward": float}
ASKED = {"samples": int, "task": str, "model": str}


class CompletionStore:
    """The completions so far, `rows[problem]`: in memory, and in the folder `out` unless it is
    None.

    Raises ValueError where the folder holds completions under other settings, or lines that no
    evaluation wrote.
    """

    def __init__(self, out: str | Path | None, settings: dict[str, Any]) -> None:
        self.rows: dict[int, list[Row]] = {}
        self.folder = None if out is None else output_folder(out)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        noted = self.folder / SETTINGS
        path = self.folder / COMPLETIONS
        if path.exists():
            if not noted.exists():
                raise ValueError(f"{path} is not from an evaluation: choose another folder")
            before = _read(noted)
            if changed := [name for name in settings if before.get(name) != settings[name]]:
                was = ", ".join(
                    f"{name}: {before.get(name)!r}, now {settings[name]!r}" for name in changed
                )
                raise ValueError(
                    f"{path} is of another evaluation ({was}): choose another folder, or delete "
                    "this one"
                )
            self.rows = read_completions(path, settings)
        write_whole(noted, json.dumps(settings, indent=1) + "\n")
        write_whole(path, "".join(map(_lines, self.rows.values())))  # without what was half written

    def add(self, problems: Iterable[Sequence[Row]]) -> None:
        """Keep all completions to some problems."""
        new = {rows[0]["problem"]: list(rows) for rows in problems}
        self.rows |= new
        if self.folder is not None:
            with (self.folder / COMPLETIONS).open("a", encoding="utf-8") as file:
                file.write("".join(map(_lines, new.values())))
                file.flush()
                os.fsync(file.fileno())

    def finish(self, report: Report) -> None:
        """Write report.json: the numbers."""
        if self.folder is not None:
            numbers = report.to_json() | {"ks": report.ks}
            write_whole(self.folder / REPORT, json.dumps(numbers, indent=1) + "\n")


def read_completions(
    path: Path, settings: Mapping[str, Any], finished: bool = False
) -> dict[int, list[Row]]:
    """The problems of which all completions were written, in an evaluation with these settings.

    A line that cannot be read counts as not written, as where a run was killed while it wrote;
    where the evaluation is `finished`, there is none. Raises ValueError, in one line that names the
    file and the line, on a line that no evaluation writes.
    """
    rows: dict[int, list[Row]] = {}
    is_toy = str(settings["task"]).startswith("toy_envs/")
    text = read_text(path) if finished else path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.split("\n"), 1):
        where = f"line {number} of {named(path)}"
        if not line.strip():
            continue
        try:
            row = read_line(line, where)
        except ValueError:
            if finished:
                raise
            continue
        row = _checked(row, where, is_toy=is_toy)
        written = rows.setdefault(row["problem"], [])
        if row["sample"] != len(written):
            if finished:
                raise ValueError(f"{where}: sample {row['sample']} of its problem is out of turn")
            continue
        written.append(row)
    return {
        problem: written for problem, written in rows.items() if len(written) == settings["samples"]
    }


def _checked(row: Row, where: str, is_toy: bool) -> Row:
    """A line of completions.jsonl, if an evaluation may have written it; else ValueError."""
    kinds = KINDS | {name: kind for name, kind in GRADED.items() if name in row}
    row = row | _values(row, kinds, where=f"of {where}")
    if not math.isfinite(row["reward"]):
        raise ValueError(f"the reward of {where} must be finite, got {row['reward']}")
    # Verdicts and the toys that ship state this range; "scored" answers have a scale of their own.
    is_bounded = is_toy or row.get("status", "scored") != "scored"
    if is_bounded and not 0 <= row["reward"] <= 1:
        raise ValueError(f"the reward of {where} must lie in 0..1, got {row['reward']}")
    smallest = min(row["problem"], row["sample"], row["length"], *row["tokens"], 0)
    if smallest < 0:
        raise ValueError(f"{where} holds a negative number, {smallest}")
    if row["length"] != len(row["tokens"]):
        raise ValueError(
            f"the length of {where} is {row['length']}, but it holds {len(row['tokens'])} tokens"
        )
    return row


def _values(content: Mapping[str, Any], kinds: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of these names, each of its type: written by us, and so of that type already."""
    if missing := [name for name in kinds if name not in content]:
        raise ValueError(f"there is no {missing[0]} {where}: no evaluation wrote this")
    for name, kind in kinds.items():
        if kind in (int, float) and isinstance(content[name], str):
            raise ValueError(f"the {name} {where} must be a number, got {shown(content[name])}")
    return {
        name: convert(f"the {name} {where}", content[name], kind) for name, kind in kinds.items()
    }


def load_report(folder: str | Path) -> Report:
    """The report of an evaluation that has finished, from its folder.

    Raises ValueError, in one line that names file and line, where there is none, on files that no
    evaluation wrote, and where the completions do not give the numbers of report.json.
    """
    path = home(folder, what="the folder")
    if missing := [name for name in (SETTINGS, COMPLETIONS, REPORT) if not (path / name).is_file()]:
        raise ValueError(
            f"{named(path)} holds no finished evaluation (no {missing[0]}): give the folder of one"
        )
    settings, numbers = _read(path / SETTINGS), _read(path / REPORT)
    settings |= _values(settings, ASKED, where=f"of {named(path / SETTINGS)}")
    numbers |= _values(numbers, NUMBERS, where=f"of {named(path / REPORT)}")
    rows = read_completions(path / COMPLETIONS, settings, finished=True)
    expected = numbers["problems"] + numbers["skipped"]
    if len(rows) != expected:
        raise ValueError(
            f"completions are missing in {named(path / COMPLETIONS)}: it has all of "
            f"{len(rows)} problems, and the report is of {expected}; "
            "run the evaluation again, it goes on there"
        )
    report = report_of(
        list(rows.values()), settings, ks=tuple(numbers["ks"]), solved_at=numbers["solved_at"]
    )
    if not math.isclose(report.rewards.mean(), numbers["reward"], abs_tol=1e-9):
        raise ValueError(
            f"the rewards in {named(path / COMPLETIONS)} have the mean "
            f"{report.rewards.mean():.6g}, and {REPORT} says {numbers['reward']:.6g}: one of them "
            "was changed"
        )
    return report


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except ValueError as error:
        raise ValueError(
            f"{named(path)} is broken ({error}): delete its folder and evaluate again"
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    aside = path.with_name(f".{path.name}.writing")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _lines(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
