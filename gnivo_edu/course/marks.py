"""Marks as a table for spreadsheets: each row is on the disk as soon as it is known."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from gnivo_edu.course.remote import Verdict, one_line
from gnivo_edu.names import home

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # how a formula begins, wide signs too


@dataclass(frozen=True)
class Grade:
    """One student's verdicts, by exercise, and the seed of their random cases."""

    student: str
    seed: int
    verdicts: dict[str, Verdict]

    @property
    def points(self) -> int:
        """One for each exercise passed."""
        return sum(verdict.status == "passed" for verdict in self.verdicts.values())


def write_csv(grades: Sequence[Grade], path: Path | str) -> None:
    """One row per student: student, seed, points, then for each exercise its point and the reason.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    with Marks(path, grades[0].verdicts) as marks:
        for one in grades:
            marks.add(one)


class Marks:
    """The same, row by row: what has been added is not lost, whatever happens next."""

    def __init__(self, path: Path | str, exercises: Iterable[str]) -> None:
        self.path = home(path, what="csv")
        self.heads = ["student", "seed", "points"]
        self.heads += [head for name in exercises for head in (name, f"{name} reason")]
        self._file = self.path.open("w", newline="", encoding="utf-8")
        self._write([self.heads])

    def add(self, one: Grade) -> None:
        """Write a student's row."""
        self._write([_row(one)])

    def sort(self, grades: Sequence[Grade]) -> None:
        """Put the rows, added as they came, in the order of `grades`; of a file, not of a pipe."""
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            return
        whole = self.path.with_name(f"{self.path.name}.{os.getpid()}.sorted")
        with Marks(whole, ()) as marks:
            marks._file.truncate(0)
            marks._file.seek(0)
            marks._write([self.heads, *map(_row, grades)])
        os.replace(whole, self.path)

    def __enter__(self) -> Marks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        except OSError:
            if kind is None:  # else what could not be written has been told
                raise

    def _write(self, rows: Iterable[Sequence[object]]) -> None:
        try:
            csv.writer(self._file, lineterminator="\n").writerows(rows)
            self._file.flush()
        except OSError as error:  # a full disk names no file
            raise OSError(error.errno, error.strerror, str(self.path)) from error


def _row(one: Grade) -> list[object]:
    marks = [
        mark
        for verdict in one.verdicts.values()
        for mark in (int(verdict.status == "passed"), defused(verdict.reason))
    ]
    return [defused(one.student), one.seed, one.points, *marks]


def defused(text: str) -> str:
    """A text in one line that no spreadsheet takes for a formula.

    >>> defused("=1+1"), defused(" @sum"), defused("x = 1")
    ("'=1+1", "'@sum", 'x = 1')
    """
    text = one_line(text)
    return f"'{text}" if text.startswith(FORMULA) else text
