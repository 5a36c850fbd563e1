"""Grade notebooks: for every exercise passed, failed with a reason, or not attempted; a folder to
CSV.

Functions are graded, not cells. For each exercise a fresh process runs the part of the notebook
that the student's function needs (`gnivo_edu.course.flow`), and calls it; the questions, the
answers and the comparison stay here, in the grader. So a submission that redefines `check`, patches
numpy or rewrites our modules changes its own process only, and whatever it writes into the pipe is
taken as a returned value: it earns the point if that is the right value. Crashing, looping, leaving
the interpreter, printing without end or asking for all memory costs that one exercise.

What such a process can reach (`gnivo_edu.course.isolation`) depends on the machine, and the output
says which form ran. In the strong form, on Linux with unshare(1): its own processes, its own
student's files and read-only Python, no network, no answer key, and nothing of it is alive
afterwards. In the weak form, elsewhere, it runs with your rights: it can read and write your files,
use the network and stop the grader; what it started is killed at its end, and limits on memory,
file size and processor time (not on Windows) stop accidents. So grade strangers in the strong form.
Neither knows who wrote an answer: every exercise prints its solution, and a function may compute
it by our library.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gnivo_edu.course import exercises
from gnivo_edu.course.exercises.base import Exercise
from gnivo_edu.course.handed_in import Notebook, handed_in
from gnivo_edu.course.isolation import form
from gnivo_edu.course.marks import Grade as Grade
from gnivo_edu.course.marks import Marks
from gnivo_edu.course.marks import write_csv as write_csv
from gnivo_edu.course.remote import Verdict, grade_exercise
from gnivo_edu.names import home, visible

LONGEST = 1e6  # seconds for an exercise


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
    csv: Path | str | None = None,
) -> list[Grade]:
    """Grade a notebook, or every submission in a folder; one Grade each, by student.

    In a folder, `NAME.ipynb` is the submission of NAME, and everything under `NAME/` together that
    of NAME. Graded are the exercises named in `only`; else all that any of the submissions checks
    with `check.NAME(...)`. `timeout` is in seconds, per exercise. `seed` draws the random cases;
    with `per_student` every student's own (`seed_for`). With `csv` each student's row is written to
    that file as soon as it is known. Exercises of one's own are those of the current folder, and
    are run with your rights: never grade in a folder that was handed in. Raises ValueError if there
    is nothing to grade.
    """
    path = home(path)
    if not 0 < timeout <= LONGEST:
        raise ValueError(
            f"the time limit must be positive, in seconds, and at most {LONGEST:g}; got {timeout:g}"
        )
    known = exercises.names()
    if path.is_dir() and exercises.of_ones_own() and Path.cwd().is_relative_to(path.resolve()):
        raise ValueError(
            f"{path} holds the current folder, and exercises in it would run with your rights: "
            "grade from outside of what was handed in"
        )
    only = None if only is None else list(only)
    if unknown := [name for name in only or () if name not in known]:
        raise ValueError(f"no exercise named {', '.join(unknown)}; there are {', '.join(known)}")
    works = handed_in(path)
    if not path.is_dir() and (problem := works[path.stem][0].problem):
        raise ValueError(f"{path}: {problem}")
    asked = {name for work in works.values() for book in work for name in _checked(book.cells)}
    wanted = asked if only is None else only
    chosen = [exercises.get(name) for name in known if name in wanted]
    if not chosen:
        raise ValueError(
            f"{path} holds no exercise: no cell calls check.NAME(...); name it with --exercise, "
            "and grade one of your own in the folder that holds exercises/NAME.py"
        )

    def one(student: str) -> Grade:
        shown = visible(student)
        drawn_from = seed_for(shown, seed) if per_student else seed
        verdicts = {e.name: _grade_work(e, works[student], drawn_from, timeout) for e in chosen}
        return Grade(shown, seed=drawn_from, verdicts=verdicts)

    grades: dict[str, Grade] = {}
    with contextlib.ExitStack() as stack:
        marks = stack.enter_context(Marks(csv, [e.name for e in chosen])) if csv else None
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        running = {pool.submit(one, student): student for student in works}
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)  # where we are interrupted
        for done in as_completed(running):
            result = grades[running[done]] = done.result()
            if marks:
                marks.add(result)
            progress(
                f"{len(grades)}/{len(works)} {result.student}: {result.points} of {len(chosen)}"
            )
        ordered = [grades[student] for student in works]
        if marks:
            marks.sort(ordered)
    return ordered


def report(grades: Sequence[Grade]) -> dict[str, Any]:
    """The grades as plain data, for JSON: whether all passed, the exercises, and one result per
    student.
    """
    names = list(grades[0].verdicts)
    return {
        "passed": all(one.points == len(names) for one in grades),
        "isolation": form(),
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


def _checked(cells: Iterable[str]) -> set[str]:
    """What a notebook checks, under whatever name it has imported the checks, of all that may be
    the name of an exercise.
    """
    text = "\n".join(cells)
    modules = "|".join({"check", *re.findall(r"\bcheck\s+as\s+(\w+)", text)})
    asked = set(
        re.findall(
            rf"\b(?:{modules})\s*\.\s*(\w+)\b(?!\s*\.\s*(?:hint|solution|statement|stub))", text
        )
    )
    asked |= set(re.findall(rf"""\bgetattr\(\s*(?:{modules})\s*,\s*["'](\w+)""", text))
    for names in re.findall(r"\bcourse\.check\s+import\s+\(?([\w\s,]+)", text):
        asked |= set(re.findall(r"\w+", names))
    return asked


def _grade_work(exercise: Exercise, work: list[Notebook], seed: int, timeout: float) -> Verdict:
    """From a student's notebooks, grade the one that asks for this exercise; else the first that
    defines it.
    """
    mine = [book for book in work if exercise.name in _checked(book.cells)]
    mine += [
        book
        for book in work
        if re.search(rf"\bdef\s+{exercise.name}\b|\b{exercise.name}\s*=", "\n".join(book.cells))
    ]
    if mine:
        try:
            return grade_exercise(
                exercise, mine[0].cells, seed, timeout=timeout, place=mine[0].place
            )
        except Exception as error:  # nobody else is to lose a mark by it
            return Verdict("failed", f"it could not be graded: {type(error).__name__}: {error}")
    problems = [book.problem for book in work if book.problem]
    if problems:
        return Verdict("failed", problems[0])
    return Verdict("not attempted", "no notebook of theirs asks for it")
