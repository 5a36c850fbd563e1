"""What is handed out: the student's notebooks keep what needs no exercise, and no solution gets
out.

That all real notebooks stop only at stubs, pass when filled, and leak nothing is in
tests/notebooks."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

from gnivo_edu import cli
from gnivo_edu.course import exercises
from gnivo_edu.course.build import BuildError
from gnivo_edu.course.compare import output_changes
from gnivo_edu.course.exercises.listing import listing
from gnivo_edu.course.release import depending, release, release_course

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "notebooks" / "src").glob("*.py"))

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


def test_the_students_notebook(tiny):
    path, (_, imports, answer, test, ladder, credits, double, rebound, after, last) = tiny[
        "student"
    ]
    assert answer.source == (
        'def step_credit(values, reward, alpha):\n    """Stays."""\n    raise NotImplementedError("your code here")'
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
        ("# # Tiny", "# after = np.append(values[1:], reward / alpha)", "shows a line of a solution: after"),
        ('print("before")', "print('return after - values'  '  # \"secret\" and \\'secret\\'')",
         "shows a line of a solution: return"),
        ('print("needs no exercise:"', 'np.missing("needs no exercise:"', "AttributeError"),
        ("    ### BEGIN SOLUTION\n", "    return np.diff(np.append(values, reward / alpha))\n    ### BEGIN SOLUTION\n",
         "does not refuse the stub"),
        ("def step_credit(values, reward, alpha):", "def step_credit(values, reward, alpha:", "is not Python"),
    ],
)  # fmt: skip
def test_what_ends_a_release(tmp_path, old, new, complaint):
    assert old in TINY
    kind = "solution" if "CheckFailed" in complaint else "student"
    with pytest.raises(BuildError, match=re.escape(complaint)) as caught:
        built(tmp_path, TINY.replace(old, new), kind)
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
        pytest.param(p, id=p.stem, marks=pytest.mark.slow if p.stem[:2] == "05" else ())
        for p in SOURCES
    ],
)
def test_what_a_student_sees_is_what_the_full_notebook_shows(source, tmp_path):
    """Nothing that was run past a stub has changed an output that is kept."""
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


def test_a_course_is_released_into_three_folders(tmp_path, capsys):
    (tmp_path / "notebooks" / "src").mkdir(parents=True)
    written(tmp_path / "notebooks" / "src", TINY)
    out = release_course(tmp_path / "out", root=tmp_path)
    names = ["student/tiny.ipynb", "solution/tiny.ipynb", "nbgrader/source/tiny/tiny.ipynb"]
    assert [path.relative_to(tmp_path / "out").as_posix() for path in out] == names
    assert (
        "ClearSolutions.code_stub"
        in (tmp_path / "out" / "nbgrader" / "nbgrader_config.py").read_text()
    )
    assert capsys.readouterr().err.startswith("1/1 tiny: released")
    with pytest.raises(ValueError, match="no notebook named nonsense; there are tiny"):
        release_course(tmp_path / "out", root=tmp_path, only="nonsense")
    with pytest.raises(ValueError, match="holds the full notebooks"):
        release_course(tmp_path / "notebooks", root=tmp_path)


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
