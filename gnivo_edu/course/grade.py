"""Grade notebooks: for every exercise passed, failed with a reason, or not attempted; a folder to
CSV.

Functions are graded, not cells. For each exercise a fresh process loads the student's function,
with the imports, helpers and constants that it reads, and calls it; the questions, the answers and
the comparison stay here, in the grader. So a submission that redefines `check`, patches numpy or
rewrites our modules changes its own process only, and whatever it writes into the pipe is taken as
a returned value: it earns the point if that is the right value. Crashing, looping, leaving the
interpreter, printing without end or asking for all memory costs that one exercise.

What this does not protect against: it is **not a sandbox**. The process runs with your rights: it
can read and write your files, use the network, and change the installed package for whoever is
graded next. It starts in an empty folder, without your environment variables, and (not on Windows)
with limits on memory, file size and processor time: that stops accidents, not intent. Grade
strangers in a container or under an account of its own. Nor does it know who wrote an answer: every
exercise prints its solution, and a function may compute it by our library."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gnivo_edu.course import exercises
from gnivo_edu.course.exercises.base import Exercise
from gnivo_edu.course.remote import Verdict, grade_exercise, one_line

LARGEST = 100 * 2**20  # bytes of a notebook


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


def seed_for(student: str, seed: int = 0) -> int:
    """A student's own seed, the same on every machine and in every year; `seed` deals anew.

    >>> seed_for("alice"), seed_for("bob"), seed_for("alice", seed=1)
    (220878527, 3687542526, 2355808324)
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{student}".encode()).digest()[:4])


def grade(
    path: Path | str,
    only: Iterable[str] | None = None,
    seed: int = 0,
    per_student: bool = False,
    timeout: float = 20.0,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Grade]:
    """Grade a notebook, or every submission in a folder; one Grade each, by student.

    In a folder, `NAME.ipynb` is the submission of NAME, and everything under `NAME/` together that
    of NAME. Graded are the exercises named in `only`; else all that any of the submissions checks
    with `check.NAME(...)`. `timeout` is in seconds, per exercise. `seed` draws the random cases;
    with `per_student` every student's own (`seed_for`). Raises ValueError if there is nothing to
    grade.
    """
    path = Path(path)
    if not 0 < timeout < math.inf:
        raise ValueError(f"the time limit must be positive, in seconds; got {timeout:g}")
    known = exercises.by_name()
    only = None if only is None else list(only)
    if unknown := [name for name in only or () if name not in known]:
        raise ValueError(f"no exercise named {', '.join(unknown)}; there are {', '.join(known)}")
    files = _submissions(path)
    if not files:
        raise ValueError(
            f"no notebook in {path}: give it a notebook, or a folder of NAME.ipynb or NAME/*.ipynb"
        )
    # Of each student: the code of the notebooks that can be read, and what is wrong with the
    # others.
    works = {
        student: [_code(file) for file in notebooks] for student, notebooks in sorted(files.items())
    }
    if not path.is_dir() and isinstance(problem := works[path.stem][0], str):
        raise ValueError(f"{path}: {problem}")
    asked = {
        name
        for work in works.values()
        for cells in work
        if isinstance(cells, list)
        for name in _checked(cells)
    }
    chosen = [known[name] for name in known if name in (asked if only is None else only)]
    if not chosen:
        raise ValueError(
            f"{path} holds no exercise: no cell calls check.NAME(...); name it with --exercise"
        )

    def one(student: str) -> Grade:
        drawn_from = seed_for(student, seed) if per_student else seed
        verdicts = {e.name: _grade_work(e, works[student], drawn_from, timeout) for e in chosen}
        return Grade(student, seed=drawn_from, verdicts=verdicts)

    grades = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(one, works):
            grades.append(result)
            progress(
                f"{len(grades)}/{len(works)} {result.student}: {result.points} of {len(chosen)}"
            )
    return grades


def report(grades: Sequence[Grade]) -> dict[str, Any]:
    """The grades as plain data, for JSON: whether all passed, the exercises, and one result per
    student.
    """
    names = list(grades[0].verdicts)
    return {
        "passed": all(one.points == len(names) for one in grades),
        "exercises": names,
        "results": [
            {
                "student": one.student,
                "seed": one.seed,
                "points": one.points,
                "exercises": {name: asdict(verdict) for name, verdict in one.verdicts.items()},
            }
            for one in grades
        ],
    }


def table(grades: Sequence[Grade]) -> list[dict[str, Any]]:
    """Rows to print: of one notebook a row per exercise, of several a row per student."""
    if len(grades) == 1:
        return [
            {"exercise": name, "": verdict.status, "reason": verdict.reason}
            for name, verdict in grades[0].verdicts.items()
        ]

    def named(one: Grade, status: str) -> str:
        return ", ".join(name for name, verdict in one.verdicts.items() if verdict.status == status)

    return [
        {
            "student": g.student,
            "points": g.points,
            "failed": named(g, "failed"),
            "not attempted": named(g, "not attempted"),
        }
        for g in grades
    ]


def write_csv(grades: Sequence[Grade], path: Path | str) -> None:
    """One row per student: student, seed, points, then for each exercise its point and the reason.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    names = list(grades[0].verdicts)
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        heads = [head for name in names for head in (name, f"{name} reason")]
        writer.writerow(["student", "seed", "points", *heads])
        for one in grades:
            marks = [
                mark
                for verdict in one.verdicts.values()
                for mark in (int(verdict.status == "passed"), _plain(verdict.reason))
            ]
            writer.writerow([_plain(one.student), one.seed, one.points, *marks])


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _submissions(path: Path) -> dict[str, list[Path]]:
    """The notebooks of each student."""
    if not path.exists():
        raise ValueError(f"there is no {path}: give a notebook, or a folder of submissions")
    if not path.is_dir():
        return {path.stem: [path]}
    submissions: dict[str, list[Path]] = {}
    for file in sorted(path.rglob("*.ipynb")):
        inner = file.relative_to(path)
        if not any(part.startswith(".") for part in inner.parts):  # such as .ipynb_checkpoints
            student = inner.parts[0] if len(inner.parts) > 1 else file.stem
            submissions.setdefault(student, []).append(file)
    return submissions


def _code(file: Path) -> list[str] | str:
    """A notebook's code cells; or, where it is none, what is wrong with it."""
    try:
        if file.stat().st_size > LARGEST:
            return f"{file.name} is larger than {LARGEST >> 20} MB"
        cells = json.loads(file.read_bytes())["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return one_line(f"{file.name} is not a notebook: {type(error).__name__}: {error}")


def _checked(cells: Iterable[str]) -> set[str]:
    return {name for source in cells for name in re.findall(r"\bcheck\.(\w+)\(", source)}


def _grade_work(
    exercise: Exercise, work: list[list[str] | str], seed: int, timeout: float
) -> Verdict:
    """From a student's notebooks, grade the one that asks for this exercise; else the first that
    defines it.
    """
    readable = [cells for cells in work if isinstance(cells, list)]
    mine = [cells for cells in readable if exercise.name in _checked(cells)]
    mine += [
        cells for cells in readable if re.search(rf"\bdef\s+{exercise.name}\b", "\n".join(cells))
    ]
    if mine:
        return grade_exercise(exercise, mine[0], seed, timeout)
    problems = [problem for problem in work if isinstance(problem, str)]
    if problems:
        return Verdict("failed", problems[0])
    return Verdict("not attempted", "no notebook of theirs asks for it")
