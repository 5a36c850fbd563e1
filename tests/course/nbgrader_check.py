"""`make nbgrader-check`: nbgrader itself releases our notebooks and grades them. Not a test of
`make test`.

    python tests/course/nbgrader_check.py ENVIRONMENT [NOTEBOOK ...]

For each notebook (default: 00 and 01) it asserts that

- `nbgrader generate_assignment` makes of our nbgrader source what our student's notebook is: the
  same cells, stubs in the answers' places, no solution line, the same metadata with the same
  checksums;
- `nbgrader autograde` gives full marks to our solution, none to our student's notebook, and none to
  a student who replaced the locked checks by `pass`.

nbgrader runs in its own environment; the notebooks run in a kernel of this interpreter.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from gnivo_edu.course.regions import solution_lines
from gnivo_edu.course.release import release_course

ROOT = Path(__file__).resolve().parents[2]


def main(environment: Path, notebooks: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        written = release_course(scratch, only=notebooks)
        course = Path(scratch) / "nbgrader"
        run = runner(environment, course)
        for name in notebooks:
            student, solution = (
                path for path in written if path.stem == name and "nbgrader" not in path.parts
            )
            run("generate_assignment", name, "--create")
            tested = assert_released(course / "release" / name / f"{name}.ipynb", student, name)
            tampered = nbformat.read(student, as_version=4)
            for cell in tampered.cells:
                if cell.metadata.get("nbgrader", {}).get("grade"):
                    cell.source = "pass"
            for who in ("solved", "untouched", "tampered"):
                target = course / "submitted" / who / name / f"{name}.ipynb"
                target.parent.mkdir(parents=True)
                shutil.copy(solution if who == "solved" else student, target)
            nbformat.write(tampered, course / "submitted" / "tampered" / name / f"{name}.ipynb")
            run("autograde", name, "--create")
            run("export", "--to", "grades.csv", "--assignment", f"[{name!r}]")
            with (course / "grades.csv").open() as file:
                marks = {
                    row["student_id"]: (float(row["score"]), float(row["max_score"]))
                    for row in csv.DictReader(file)
                }
            assert marks == {
                "solved": (tested, tested),
                "untouched": (0, tested),
                "tampered": (0, tested),
            }, marks
            print(
                f"{name}: released by nbgrader as by us; {tested} of {tested} points when solved, "
                "0 otherwise"
            )


def assert_released(theirs: Path, ours: Path, name: str) -> int:
    """nbgrader's release is our student's notebook, but for outputs. Returns the number of
    points.
    """
    left, right = (nbformat.read(path, as_version=4).cells for path in (theirs, ours))
    assert [(c.cell_type, c.source) for c in left] == [(c.cell_type, c.source) for c in right]
    assert [c.metadata for c in left] == [c.metadata for c in right]
    source = nbformat.read(ours.parents[1] / "nbgrader" / "source" / name / ours.name, as_version=4)
    secrets = solution_lines(cell.source for cell in source.cells if cell.cell_type == "code")
    released = "\n".join(cell.source for cell in left)
    assert secrets
    assert not [line for line in secrets if line in released]
    assert released.count("raise NotImplementedError") >= 1
    return sum(
        c.metadata.nbgrader.points for c in left if c.metadata.get("nbgrader", {}).get("grade")
    )


def runner(environment: Path, course: Path):
    kernel = course / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    tools = environment.resolve() / "bin"
    path = os.pathsep.join([str(tools), os.environ["PATH"]])  # nbgrader calls alembic by name
    settings = {
        "PATH": path,
        "JUPYTER_PATH": str(course / "jupyter"),
        "IPYTHONDIR": str(course / "ipython"),
        "GNIVO_STATIC": "1",
    }

    def run(*arguments: str) -> None:
        command = [str(tools / "nbgrader"), *arguments]
        done = subprocess.run(
            command, cwd=course, env={**os.environ, **settings}, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(
                f"nbgrader {' '.join(arguments)}: exit status "
                f"{done.returncode}\n{done.stdout}{done.stderr}"
            )

    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["00_which_step", "01_walk_down_a_tree"])
