"""What a teacher hands out: the student's notebooks, the solutions, and the source of an nbgrader
assignment.

All three come from the same notebooks/src/NAME.py as the full notebook, always the same bytes. A
cell that holds a solution region and its `check.NAME(NAME)` becomes three: the answer, the check
(locked, one point, for whoever grades with nbgrader; nobody needs it installed) and a folded ladder
of hints. The three kinds differ in the answer, which has a docstring that says what it returns but
in the solution, and in the outputs below a **Predict**, which only the solution shows unfolded:

- **student**: each region is a stub that raises NotImplementedError. A cell *depends on an
  exercise* if it is an answer or a check, or reads a name that a depending cell was the last to
  bind. Depending cells are delivered without outputs; all others with theirs, so figures that need
  no exercise are there. A line of a solution anywhere in the file ends the build.
- **solution**: the regions without their markers, and all outputs.
- **nbgrader**: the regions with their markers, no outputs: what `nbgrader generate_assignment`
  reads.

A course is released without running anything: the outputs are those of the committed notebooks,
which are what their sources print (`gnivo-edu build-course --check`). `release` can run a copy
instead, a student's past what stops. Then what also ends it: a check that does not pass (solution);
a cell that stops without depending on an exercise, and a check that does not say of the stub that
there is nothing to check yet (student).
"""

from __future__ import annotations

import ast
import copy
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

from gnivo_edu.course.build import (
    BuildError,
    course_sources,
    finished,
    name_cells,
    read_source,
    run_cells,
    with_each,
)
from gnivo_edu.course.names import names
from gnivo_edu.course.regions import (
    BEGIN,
    STUB,
    Kind,
    answer,
    documented,
    graded,
    ladder,
    solution_lines,
    split,
)
from gnivo_edu.course.tidy import place_of
from gnivo_edu.names import home, output_folder

# Where the full notebook says how to get a hint; the handout has a ladder of them below.
HINTED = re.compile(r"\s+Stuck\?\s+`check\.\w+\.hint\(\)`[\w\s]*\.")
NOT_YET = "nothing to check yet"  # what a check says of a stub
CONFIG = f"""\
c = get_config()
c.CourseDirectory.course_id = "gnivo_edu"
c.ClearSolutions.code_stub = {{"python": {STUB!r}}}
"""


def release_course(
    folder: Path | str, root: Path | str | None = None, only: str | Iterable[str] | None = None
) -> list[Path]:
    """Write `folder`/student, `folder`/solution and `folder`/nbgrader; returns the notebooks.

    Of every notebook of `root`/notebooks/src, or of those named in `only`, with the outputs that
    are committed in `root`/notebooks. Exercises of one's own, in `root`/notebooks/exercises, go
    with them. Progress goes to standard error. All are tried; then BuildError carries one line for
    each that failed.
    """
    folder = output_folder(folder, what="the folder")
    notebooks, sources = course_sources(root, only)
    if folder.resolve() == notebooks.resolve():
        raise ValueError(f"{folder} holds the full notebooks: release into a folder of its own")
    written: list[Path] = []

    def release_one(name: str) -> str:
        places: dict[Kind, Path] = {
            "student": folder / "student",
            "solution": folder / "solution",
            "nbgrader": folder / "nbgrader" / "source" / name,
        }
        committed = notebooks / f"{name}.ipynb"
        for kind, place in places.items():
            written.append(
                release(
                    sources[name], place / committed.name, kind, cwd=notebooks, committed=committed
                )
            )
            if (own := notebooks / "exercises").is_dir():  # `check` looks for them beside it
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(own, place / own.name, ignore=ignored, dirs_exist_ok=True)
        return "released"

    with_each(sources, release_one)
    (folder / "nbgrader" / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    return written


def release(
    source: Path | str,
    out: Path | str,
    kind: Kind,
    execute: bool = True,
    timeout: int = 600,
    cwd: Path | str | None = None,
    committed: Path | str | None = None,
) -> Path:
    """Build one notebook of one kind from its text; returns `out`, written only if all went well.

    With `committed`, the full notebook as it was built, the outputs are taken from there and
    nothing is run; nor is it without `execute`. `timeout` is in seconds, per cell; `cwd`, where the
    kernel runs, is the folder of `out` unless given. Raises BuildError, in one line, on whatever
    `gnivo_edu.course.build.build` refuses, on a region without its check or without its end, on an
    answer that does not pass, on a solution that leaks, and where `committed` is another text."""
    source, out = home(source), home(out)
    folder = home(cwd or out.parent).resolve()
    notebook = read_source(source)
    secrets = solution_lines(cell.source for cell in notebook.cells if cell.cell_type == "code")
    if committed is not None and kind != "nbgrader":
        _take_outputs(notebook, source.stem, home(committed))
    notebook.cells = _taken_apart(notebook, source.stem, kind)
    name_cells(notebook, f"{source.stem}/released")
    out.parent.mkdir(parents=True, exist_ok=True)
    if committed is None and execute and kind == "student":
        _run_past_stubs(notebook, source.stem, timeout=timeout, cwd=folder)
    elif committed is None and execute and kind == "solution":
        run_cells(notebook, source.stem, timeout=timeout, cwd=folder)
    if committed is not None or execute:
        _number_cells(notebook, kind)
    text = finished(notebook, source, folder)
    if kind == "student":
        for line in secrets:
            if json.dumps(line, ensure_ascii=False)[1:-1] in text:
                raise BuildError(
                    f"{source.stem}: the student's notebook shows a line of a solution: {line}"
                )
    out.write_text(text, encoding="utf-8", newline="\n")
    return out


def _take_outputs(notebook: Any, name: str, committed: Path) -> None:
    """Give the cells of a source the outputs of the notebook that was built from it."""
    remedy = f"run `gnivo-edu build-course --only {name}` first"
    if not committed.exists():
        raise BuildError(f"{name}: {committed.name} is missing: {remedy}")
    built = nbformat.read(committed, as_version=4)
    texts = [(cell.cell_type, cell.source) for cell in built.cells]
    if texts != [(cell.cell_type, cell.source) for cell in notebook.cells]:
        raise BuildError(f"{name}: {committed.name} is not what its source builds: {remedy}")
    for cell, done in zip(notebook.cells, built.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs = done.outputs


def _number_cells(notebook: Any, kind: Kind) -> None:
    """Number the code cells as a run would; a student's keep no output that needs an exercise."""
    if kind == "nbgrader":
        return
    depends = depending(notebook.cells)
    code = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    for count, index in enumerate(code, 1):
        cell = notebook.cells[index]
        cell.execution_count = count
        if kind == "student" and depends[index]:
            cell.outputs, cell.execution_count = [], None


def _taken_apart(notebook: Any, name: str, kind: Kind) -> list[Any]:
    cells: list[Any] = []
    taken: set[str] = set()
    predicted = False  # the text above asks for a guess, before the output is looked at
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            predicted = "**Predict" in cell.source
            cell.source = HINTED.sub("", cell.source)
        elif predicted and kind != "solution":
            cell.metadata["jupyter"] = {"outputs_hidden": True}
        if BEGIN not in cell.source:
            cells.append(cell)
            continue
        place = place_of(name, index, cell)
        whole, check, exercise = split(cell, place)
        if exercise.name in taken:
            raise BuildError(f"{place}: asks for {exercise.name} a second time")
        taken.add(exercise.name)
        # nbgrader keeps the checksum of what was released: the stub, whatever stands there now.
        told = documented(whole, exercise)
        released = answer(told, "student", place)
        cell.metadata |= graded(exercise.name, released, solution=True) | {"deletable": False}
        # The solution is the full notebook, statement by statement.
        cell.source = answer(whole if kind == "solution" else told, kind, place)
        # What the whole cell printed, its check printed: the answer only defines a function.
        grading = graded(f"check_{exercise.name}", check, solution=False)
        grading |= {"deletable": False, "editable": False}
        test = new_code_cell(check, metadata=grading, outputs=cell.outputs)
        cell.outputs = []
        cells += [cell, test, new_markdown_cell(ladder(exercise))]
    return cells


def depending(cells: Iterable[Any]) -> list[bool]:
    """Which cells depend on an exercise: answers, checks, and what reads a name bound by these."""
    bound: set[str] = set()
    answers: list[bool] = []
    for cell in cells:
        depends = "nbgrader" in cell.metadata
        if cell.cell_type == "code":
            fresh: set[str] = set()
            for statement in ast.parse(cell.source).body:
                reads, binds = names(ast.unparse(statement))
                if isinstance(statement, ast.For | ast.With | ast.If | ast.While | ast.Try):
                    reads -= binds  # the variable of a loop is bound before it is read
                depends = depends or bool(reads & (bound - fresh))
                fresh |= binds
            bound = bound | fresh if depends else bound - fresh
        answers.append(depends)
    return answers


def _run_past_stubs(notebook: Any, name: str, *, timeout: int, cwd: Path) -> None:
    """Run a copy, going on where a cell that depends on an exercise stops; take its outputs."""
    trial = copy.deepcopy(notebook)
    for cell, stops in zip(trial.cells, depending(trial.cells), strict=True):
        if stops and cell.cell_type == "code":
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "raises-exception"]
    run_cells(trial, name, timeout=timeout, cwd=cwd)
    for index, (cell, done) in enumerate(zip(notebook.cells, trial.cells, strict=True)):
        if cell.cell_type == "code":
            cell.outputs = done.outputs
            is_check = cell.metadata.get("nbgrader", {}).get("grade", False)
            if is_check and not any(NOT_YET in o.get("evalue", "") for o in cell.outputs):
                raise BuildError(f"{place_of(name, index, cell)}: does not refuse the stub")
