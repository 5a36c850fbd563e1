"""What is handed out: the student's notebooks keep what needs no exercise, and no solution gets
out.

That all real notebooks stop only at stubs, pass when filled, and leak nothing is in
tests/notebooks."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from gnivo_edu import cli
from gnivo_edu.course import exercises
from gnivo_edu.course.build import BuildError, build_course
from gnivo_edu.course.compare import output_changes
from gnivo_edu.course.exercises.listing import listing
from gnivo_edu.course.release import depending, release, release_course

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "notebooks" / "src").glob("*.py"))
QUICK = ("00", "01", "02", "03", "04")  # seconds rather than minutes to run

TINY = '''
# %% [markdown]
# # Tiny

# %% tags=["hide-input"]
import numpy as np
from gnivo_edu.course import check
scale = 2.0
print("before")

# %%
def step_credit(values, reward, alpha):
    """Stays."""
    ### BEGIN SOLUTION
    after = np.append(values[1:], reward / alpha)
    return after - values  # "secret" and 'secret'
    ### END SOLUTION


check.step_credit(step_credit)

# %%
credits = step_credit(np.zeros(3), 1.0, scale)
print("credits", credits)

# %%
def double():
    return 2 * credits

# %%
credits, other = "rebound", 3
print("needs no exercise:", credits)

# %%
print("nor does this:", credits)

# %%
print([double() for credits in range(2)])
'''


def written(folder, text, name="tiny"):
    path = folder / f"{name}.py"
    path.write_text(text.lstrip(), encoding="utf-8")
    return path


def built(folder, text, kind, execute=True):
    path = release(written(folder, text), folder / kind / "tiny.ipynb", kind, execute)
    return path, nbformat.read(path, as_version=4).cells


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return {kind: built(folder, TINY, kind) for kind in ("student", "solution", "nbgrader")}


@pytest.mark.slow
def test_the_students_notebook(tiny):
    path, (_, imports, answer, test, ladder, credits, double, rebound, after, last) = tiny[
        "student"
    ]
    assert answer.source == (
        'def step_credit(values, reward, alpha):\n    """Stays."""\n'
        '    raise NotImplementedError("your code here")'
    )
    assert test.source == "check.step_credit(step_credit)"
    assert [cell.outputs[0].text for cell in (imports, rebound, after)] == [
        "before\n", "needs no exercise: rebound\n", "nor does this: rebound\n",
    ]  # fmt: skip
    for cell in (answer, test, credits, double, last):
        assert cell.outputs == []
        assert cell.execution_count is None
        assert "tags" not in cell.metadata
    assert imports.metadata == {"tags": ["hide-input"]}
    hints = exercises.step_credit.EXERCISE.hints
    assert re.findall("<summary>(.*?)</summary>", ladder.source) == [
        f"Hint {n}" for n in (1, 2, 3)
    ] + ["Solution"]
    assert all(hint.split("`")[0].split("(")[0] in ladder.source for hint in hints)
    assert "check.step_credit.solution()" in ladder.source
    text = path.read_text(encoding="utf-8")
    assert "secret" not in text
    assert "np.append(values[1:]" not in text
    assert "SOLUTION" not in text


HINTED = """
# %% [markdown]
# Add up. **Predict.** More than one? Stuck? `check.log_z.hint()`.

# %%
print("shown by nobody")

# %% [markdown]
# Now you.

# %%
import numpy as np
from gnivo_edu.course import check
def log_z(ref_probs,
          rewards, alpha):
    ### BEGIN SOLUTION
    return np.log(ref_probs @ np.exp(rewards / alpha))
    ### END SOLUTION


check.log_z(log_z)
"""


def test_an_answer_says_what_it_returns_and_a_prediction_hides_the_output(tmp_path):
    for kind in ("student", "solution", "nbgrader"):
        _, (task, printed, _, answer, *_) = built(tmp_path, HINTED, kind, execute=False)
        assert task.source.endswith("More than one?"), "the ladder below says how to get a hint"
        assert printed.metadata.get("jupyter") == (
            None if kind == "solution" else {"outputs_hidden": True}
        )
        text = '          rewards, alpha):\n    """log E_ref[e^{R/alpha}], nats."""'
        assert (text in answer.source) == (kind != "solution")
        assert "jupyter" not in answer.metadata


@pytest.mark.slow
def test_the_solution(tiny):
    path, cells = tiny["solution"]
    assert "SOLUTION" not in path.read_text(encoding="utf-8")
    assert cells[2].source.endswith("""    return after - values  # "secret" and 'secret'""")
    assert cells[3].outputs[0].text.startswith("Correct. step_credit")
    assert cells[5].outputs[0].text == "credits [0.  0.  0.5]\n"
    # Only the answer's text and what hangs on it differ from the student's notebook.
    student = tiny["student"][1]
    assert [(c.id, c.metadata) for c in cells] == [(c.id, c.metadata) for c in student]
    assert [
        i for i, (a, b) in enumerate(zip(cells, student, strict=True)) if a.source != b.source
    ] == [2]


def test_what_nbgrader_reads(tiny):
    _, cells = tiny["nbgrader"]
    answer, test = (cell.metadata.nbgrader for cell in cells[2:4])
    assert "    ### BEGIN SOLUTION\n    after" in cells[2].source
    assert (answer.grade_id, answer.solution, answer.grade, answer.locked) == (
        "step_credit",
        True,
        False,
        False,
    )
    assert (test.grade_id, test.solution, test.grade, test.locked) == (
        "check_step_credit",
        False,
        True,
        True,
    )
    assert test.points == 1
    assert answer.schema_version == test.schema_version == 3
    assert all(not cell.get("outputs") for cell in cells)
    # As computed by nbgrader 0.9.6 (`make nbgrader-check` compares all of them).
    assert test.checksum == "71e9fbbd18c9b3278b0edbd343615b13"


@pytest.mark.slow
def test_a_second_release_gives_the_same_bytes(tiny, tmp_path):
    for kind, (path, _) in tiny.items():
        again, _ = built(tmp_path, TINY, kind)
        assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("check.step_credit(step_credit)", "print()", "no check.NAME(NAME) after it"),
        ("    ### END SOLUTION\n", "", "does not end"),
        ("    ### END SOLUTION", "    ### BEGIN SOLUTION\n    ### END SOLUTION", "do not pair"),
        ("after - values  #", "after + values  #", "CheckFailed"),
        ("# # Tiny", "# after = np.append(values[1:], reward / alpha)",
         "shows a line of a solution: after"),
        ('print("before")', "print('return after - values'  '  # \"secret\" and \\'secret\\'')",
         "shows a line of a solution: return"),
        ('print("needs no exercise:"', 'np.missing("needs no exercise:"', "AttributeError"),
        ("    ### BEGIN SOLUTION\n",
         "    return np.diff(np.append(values, reward / alpha))\n    ### BEGIN SOLUTION\n",
         "does not refuse the stub"),
        ("def step_credit(values, reward, alpha):", "def step_credit(values, reward, alpha:",
         "is not Python"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_what_ends_a_release(tmp_path, old, new, complaint):
    assert old in TINY
    kind = "solution" if "CheckFailed" in complaint else "student"
    execute = not re.search("solution: after|no check|not end|not pair|not Python", complaint)
    with pytest.raises(BuildError, match=re.escape(complaint)) as caught:
        built(tmp_path, TINY.replace(old, new), kind, execute=execute)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / kind / "tiny.ipynb").exists(), "nothing is written"


def test_which_cells_depend_on_an_exercise(tiny):
    assert depending(tiny["student"][1]) == [
        False,
        False,
        True,
        True,
        False,
        True,
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(p, id=p.stem, marks=() if p.stem[:2] in QUICK else pytest.mark.nightly)
        for p in SOURCES
    ],
)
@pytest.mark.slow
def test_what_a_student_sees_is_what_the_full_notebook_shows(source, tmp_path):
    """Run past the stubs, a student's copy prints what is committed, by which it is released."""
    full = {
        cell.source: cell
        for cell in nbformat.read(ROOT / "notebooks" / f"{source.stem}.ipynb", as_version=4).cells
        if cell.cell_type == "code"
    }
    path = release(source, tmp_path / "student.ipynb", "student", cwd=ROOT / "notebooks")
    assert path.stat().st_size < 1.5e6
    shown = [cell for cell in nbformat.read(path, as_version=4).cells if cell.get("outputs")]
    assert any("image/png" in output.get("data", {}) for cell in shown for output in cell.outputs)
    for cell in shown:
        assert output_changes(full[cell.source], cell) == []
        assert all(output.output_type != "error" for output in cell.outputs)


@pytest.fixture
def nothing_runs(monkeypatch):
    def run(*arguments, **options):
        raise AssertionError("a release runs nothing")

    monkeypatch.setattr("gnivo_edu.course.release.run_cells", run)


@pytest.fixture(scope="module")
def built_course(tmp_path_factory):
    root = tmp_path_factory.mktemp("course")
    (root / "notebooks" / "src").mkdir(parents=True)
    written(root / "notebooks" / "src", TINY)
    build_course(root)
    return root


@pytest.fixture
def tiny_course(built_course, tmp_path):
    """A course of one notebook, with its outputs."""
    return shutil.copytree(built_course, tmp_path / "course")


@pytest.mark.slow
def test_a_course_is_released_without_running_it(tiny_course, tiny, nothing_runs, capsys):
    """And is to the byte what running the copies would give."""
    out = release_course(tiny_course / "out", root=tiny_course)
    names = ["student/tiny.ipynb", "solution/tiny.ipynb", "nbgrader/source/tiny/tiny.ipynb"]
    assert [path.relative_to(tiny_course / "out").as_posix() for path in out] == names
    assert capsys.readouterr().err.startswith("1/1 tiny: released")
    for path, (run, _) in zip(out, tiny.values(), strict=True):
        assert path.read_bytes() == run.read_bytes()
    config = tiny_course / "out" / "nbgrader" / "nbgrader_config.py"
    assert "ClearSolutions.code_stub" in config.read_text()
    with pytest.raises(ValueError, match="no notebook named nonsense; there are tiny"):
        release_course(tiny_course / "out", root=tiny_course, only="nonsense")
    with pytest.raises(ValueError, match="holds the full notebooks"):
        release_course(tiny_course / "notebooks", root=tiny_course)


@pytest.mark.slow
def test_a_notebook_that_was_not_built_from_its_source_is_not_released(tiny_course):
    source = tiny_course / "notebooks" / "src" / "tiny.py"
    source.write_text(source.read_text().replace("scale = 2.0", "scale = 3.0"))
    remedy = "run `gnivo-edu build-course --only tiny` first"
    with pytest.raises(BuildError, match=re.escape(f"is not what its source builds: {remedy}")):
        release_course(tiny_course / "out", root=tiny_course)
    (tiny_course / "notebooks" / "tiny.ipynb").unlink()
    with pytest.raises(BuildError, match=re.escape(f"tiny.ipynb is missing: {remedy}")):
        release_course(tiny_course / "out", root=tiny_course)
    assert not list((tiny_course / "out").rglob("*.ipynb"))


@pytest.mark.slow
def test_every_notebook_is_released(nothing_runs, tmp_path):
    out = release_course(tmp_path)
    assert len(out) == 3 * len(SOURCES)
    for path in out[::3]:
        cells = nbformat.read(path, as_version=4).cells
        full = nbformat.read(ROOT / "notebooks" / path.name, as_version=4)
        pictures = [
            output.data["image/png"]
            for cell in cells
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        ]
        assert pictures
        assert all(picture in str(full) for picture in pictures)


@pytest.mark.parametrize("exercise", exercises.all(), ids=lambda exercise: exercise.name)
def test_a_printed_solution_can_be_pasted(exercise, capsys):
    exercise.solution()
    text = capsys.readouterr().out
    assert text == listing(exercise.reference) + "\n"
    imports = re.findall(r"(?m)^import .*$", text)
    assert set(imports) <= {"import numpy as np", "import math", "import itertools"}
    assert "Array" not in text.partition('"""')[0]
    assert " -> " not in text.partition('"""')[0]
    space = {}
    exec(text, space)
    assert not space[exercise.name].__annotations__
    assert exercise.run(space[exercise.name]) >= 5


def test_the_command_line(capsys, monkeypatch, tmp_path):
    def status(*arguments):
        monkeypatch.setattr(sys, "argv", ["gnivo-edu", "build-course", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, capsys.readouterr().err.strip().splitlines()

    code, lines = status("--check", "--release", tmp_path)
    assert (code, len(lines)) == (2, 1)
    assert "exclude each other" in lines[0]
    code, lines = status("--release", tmp_path, "--only", "nonsense")
    assert (code, len(lines)) == (2, 1)

    def fail(*arguments, **options):
        raise BuildError("00, cell 1 (x): broken\n01, cell 2 (y): broken")

    monkeypatch.setattr("gnivo_edu.course.release.release_course", fail)
    assert status("--release", tmp_path) == (
        1,
        ["gnivo-edu: 00, cell 1 (x): broken", "01, cell 2 (y): broken"],
    )


def test_what_the_readme_says_to_make_is_no_part_of_the_project(tmp_path):
    """Git and the linter, as `make lint` calls it, pass over it in a clone."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    told = r"(?:--release |--csv |--out |gnivo-edu check |out=|Open (?=runs))([\w/.]+)"
    made = set(re.findall(told, text))
    assert {"handout", "submissions", "marks.csv", "runs/before"} <= made
    for name in (".gitignore", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    careless = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import os, sys")])
    for name in made:
        path = tmp_path / name if Path(name).suffix else tmp_path / name / "x.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(careless, path)

    def printed(*command):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout

    lint = (sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    assert printed("git", "init", "-q")[0] == 0
    assert printed("git", "status", "--porcelain") == (0, "?? .gitignore\n?? pyproject.toml\n")
    assert printed(*lint)[0] == 0
    nbformat.write(careless, tmp_path / "x.ipynb")
    assert printed(*lint)[0] == 1, "the linter reads notebooks elsewhere"
    (tmp_path / ".gitignore").unlink()
    (tmp_path / "x.ipynb").unlink()
    assert printed(*lint)[0] == 0, "nor does it read them where git is not there to say so"
