"""Completions on disk: a line each, a problem at a time, so that a run that was stopped goes on
where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gnivo_edu.evaluation.report import Report, Row, report_of

SETTINGS, COMPLETIONS, REPORT = "settings.json", "completions.jsonl", "report.json"


class CompletionStore:
    """The completions so far, `rows[problem]`: in memory, and in the folder `out` unless it is
    None.

    Raises ValueError where the folder holds completions under other settings.
    """

    def __init__(self, out: str | Path | None, settings: dict[str, Any]) -> None:
        self.rows: dict[int, list[Row]] = {}
        self.folder = None if out is None else Path(out)
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
            self.rows = read_completions(path, settings["samples"])
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


def read_completions(path: Path, samples: int) -> dict[int, list[Row]]:
    """The problems of which all completions were written; a line that cannot be read counts as not
    written.
    """
    rows: dict[int, list[Row]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            samples_so_far = rows.setdefault(row["problem"], [])
            if row["sample"] == len(samples_so_far):
                samples_so_far.append(row)
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    return {problem: written for problem, written in rows.items() if len(written) == samples}


def load_report(folder: str | Path) -> Report:
    """The report of an evaluation that has finished, from its folder; ValueError where there is
    none.
    """
    path = Path(folder)
    if missing := [name for name in (SETTINGS, COMPLETIONS, REPORT) if not (path / name).is_file()]:
        raise ValueError(
            f"{str(folder)!r} holds no finished evaluation (no {missing[0]}): give the folder of "
            "one"
        )
    settings, report = _read(path / SETTINGS), _read(path / REPORT)
    try:
        rows = read_completions(path / COMPLETIONS, settings["samples"])
        expected = report["problems"] + report["skipped"]
        if len(rows) != expected:
            raise ValueError(
                f"completions are missing in {str(path / COMPLETIONS)!r}: it has all of "
                f"{len(rows)} problems, and the report is of {expected}; "
                "run the evaluation again, it goes on there"
            )
        return report_of(
            list(rows.values()), settings, ks=tuple(report["ks"]), solved_at=report["solved_at"]
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{str(folder)!r} holds files that no evaluation wrote, or other versions of them"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{str(path)!r} is broken ({error}): delete its folder and evaluate again"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{str(path)!r} is broken (it holds no settings): delete its folder and evaluate again"
        )
    return content


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
