"""What a teacher hands out: the student's notebooks, the solutions, and the source of an nbgrader
assignment.

All three come from the same notebooks/src/NAME.py as the full notebook, always the same bytes. A
cell that holds a solution region and its `check.NAME(NAME)` becomes three: the answer, the check
(locked, one point, for whoever grades with nbgrader; nobody needs it installed) and a folded ladder
of hints. The three kinds differ in the answer only:

- **student**: each region is a stub that raises NotImplementedError. The notebook is run, past what
  stops. A cell *depends on an exercise* if it is an answer or a check, or reads a name that a
  depending cell was the last to bind. Depending cells are delivered without outputs, whether they
  stopped or not; all others with theirs, so figures that need no exercise are there. What ends the
  build: a cell that stops without depending on an exercise, a check that does not say of the stub
  that there is nothing to check yet, a line of a solution anywhere in the file.
- **solution**: the regions without their markers, run from top to bottom: a check that does not
  pass ends the build.
- **nbgrader**: the regions with their markers, not run: what `nbgrader generate_assignment` reads.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

from gnivo_edu.course.build import METADATA, BuildError, build, run_cells
from gnivo_edu.course.names import names
from gnivo_edu.course.regions import (
    BEGIN,
    STUB,
    Kind,
    answer,
    graded,
    ladder,
    solution_lines,
    split,
)
from gnivo_edu.course.tidy import machine_paths, place_of, tidy

NOT_YET = "nothing to check yet"  # what a check says of a stub
CONFIG = f"""\
c = get_config()
c.CourseDirectory.course_id = "gnivo_edu"
c.ClearSolutions.code_stub = {{"python": {STUB!r}}}
"""

__all__ = ["release", "release_course"]


def release_course(
    folder: Path | str, root: Path | str | None = None, only: str | Iterable[str] | None = None
) -> list[Path]:
    """Write `folder`/student, `folder`/solution and `folder`/nbgrader; returns the notebooks
    written.

    Of every notebook of `root`/notebooks/src, or of those named in `only`. Progress goes to
    standard error. All are tried; then BuildError carries one line for each that failed.
    """
    root = Path(root) if root is not None else Path(__file__).resolve().parents[2]
    folder, home = Path(folder), root / "notebooks"
    sources = {path.stem: path for path in sorted((home / "src").glob("*.py"))}
    chosen = list(sources) if only is None else [only] if isinstance(only, str) else list(only)
    if unknown := [name for name in chosen if name not in sources]:
        raise ValueError(
            f"no notebook named {', '.join(unknown)}; there are {', '.join(sources) or 'none'}"
        )
    if folder.resolve() == home.resolve():
        raise ValueError(f"{folder} holds the full notebooks: release into a folder of its own")
    written: list[Path] = []
    failed: list[str] = []
    for number, name in enumerate(chosen, 1):
        start = time.perf_counter()
        outcome = "released"
        try:
            for kind, place in (("student", ""), ("solution", ""), ("nbgrader", f"source/{name}")):
                out = folder / kind / place / f"{name}.ipynb"
                written.append(release(sources[name], out, kind, cwd=home))  # type: ignore[arg-type]
        except BuildError as error:
            failed.append(str(error))
            outcome = "failed"
        seconds = time.perf_counter() - start
        print(
            f"{number}/{len(chosen)} {name}: {outcome}, {seconds:.1f} s",
            file=sys.stderr,
            flush=True,
        )
    if failed:
        raise BuildError("\n".join(failed))
    (folder / "nbgrader" / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    return written


def release(
    source: Path | str,
    out: Path | str,
    kind: Kind,
    execute: bool = True,
    timeout: int = 600,
    cwd: Path | str | None = None,
) -> Path:
    """Build one notebook of one kind from its text; returns `out`, written only if everything went
    well.

    Without `execute` nothing is run. `timeout` is in seconds, per cell; `cwd`, where the kernel
    runs, is the folder of `out` unless given. Raises BuildError, in one line, on whatever
    `gnivo_edu.course.build.build` refuses, on a region without its check or without its end, on an
    answer that does not pass, on a solution that leaks."""
    source, out = Path(source), Path(out)
    cwd = Path(cwd or out.parent).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        plain = build(source, Path(scratch) / "plain.ipynb", execute=False, cwd=cwd)
        notebook = nbformat.read(plain, as_version=4)
    secrets = solution_lines(cell.source for cell in notebook.cells if cell.cell_type == "code")
    notebook.cells = _taken_apart(notebook, source.stem, kind)
    for index, cell in enumerate(notebook.cells):
        cell.id = hashlib.sha256(f"{source.stem}/released/{index}".encode()).hexdigest()[:12]
    out.parent.mkdir(parents=True, exist_ok=True)
    if execute and kind == "student":
        _run_past_stubs(notebook, source.stem, timeout, cwd)
    elif execute and kind == "solution":
        run_cells(notebook, source.stem, timeout, cwd)
    notebook.metadata = nbformat.from_dict(METADATA)
    paths = machine_paths(cwd, source.resolve().parent)
    for index, cell in enumerate(notebook.cells):
        tidy(cell, place_of(source.stem, index, cell), paths)
    nbformat.validate(notebook)
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if kind == "student" and (
        leak := next(
            (line for line in secrets if json.dumps(line, ensure_ascii=False)[1:-1] in text), None
        )
    ):
        raise BuildError(
            f"{source.stem}: the student's notebook shows a line of a solution: {leak}"
        )
    out.write_bytes(text.encode())
    return out


def _taken_apart(notebook: Any, name: str, kind: Kind) -> list[Any]:
    cells: list[Any] = []
    taken: set[str] = set()
    for index, cell in enumerate(notebook.cells):
        if BEGIN not in cell.source:
            cells.append(cell)
            continue
        place = place_of(name, index, cell)
        whole, check, exercise = split(cell, place)
        if exercise.name in taken:
            raise BuildError(f"{place}: asks for {exercise.name} a second time")
        taken.add(exercise.name)
        # nbgrader keeps the checksum of what was released: the stub, whatever stands there now.
        released = answer(whole, "student", place)
        cell.metadata |= graded(exercise.name, released, solution=True) | {"deletable": False}
        cell.source = answer(whole, kind, place)
        grading = graded(f"check_{exercise.name}", check, solution=False)
        test = new_code_cell(check, metadata=grading | {"deletable": False, "editable": False})
        cells += [cell, test, new_markdown_cell(ladder(exercise))]
    return cells


def depending(cells: Iterable[Any]) -> list[bool]:
    """Which cells depend on an exercise: the answers, the checks, and what reads a name bound by
    one of these.
    """
    bound: set[str] = set()
    found: list[bool] = []
    for cell in cells:
        depends = "nbgrader" in cell.metadata
        if cell.cell_type == "code":
            fresh: set[str] = set()
            for statement in ast.parse(cell.source).body:
                reads, binds = names(ast.unparse(statement))
                # The variable of a loop is bound before it is read.
                own = (
                    binds
                    if isinstance(statement, ast.For | ast.With | ast.If | ast.While | ast.Try)
                    else set()
                )
                depends = depends or bool((reads - own) & (bound - fresh))
                fresh |= binds
            bound = bound | fresh if depends else bound - fresh
        found.append(depends)
    return found


def _run_past_stubs(notebook: Any, name: str, timeout: int, cwd: Path) -> None:
    """Run, going on where a cell that depends on an exercise stops; its outputs are left out."""
    depends = depending(notebook.cells)
    tags = [cell.metadata.get("tags") for cell in notebook.cells]
    for cell, stops in zip(notebook.cells, depends, strict=True):
        if stops and cell.cell_type == "code":
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "raises-exception"]
    run_cells(notebook, name, timeout, cwd)
    for index, (cell, stops) in enumerate(zip(notebook.cells, depends, strict=True)):
        if not stops:
            continue
        if tags[index] is None:
            cell.metadata.pop("tags", None)
        else:
            cell.metadata["tags"] = tags[index]
        if cell.metadata.get("nbgrader", {}).get("grade") and not any(
            NOT_YET in o.get("evalue", "") for o in cell.outputs
        ):
            raise BuildError(f"{place_of(name, index, cell)}: does not refuse the stub")
        cell.outputs, cell.execution_count = [], None
