"""Exercises of one's own: found beside the notebook; what is wrong with them is one line."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from gnivo_edu.course import check, exercises
from gnivo_edu.course.grade import grade
from gnivo_edu.course.regions import split
from gnivo_edu.course.tidy import BuildError
from gnivo_edu.new import write_new

CELL = """
def centred(rewards):
    ### BEGIN SOLUTION
    pass
    ### END SOLUTION
check.centred(centred)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the exercise `centred`, its notebook's folder being the current one."""
    write_new("exercise", "centred", tmp_path)
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path / "notebooks"


@pytest.fixture
def file(folder: Path) -> Path:
    return folder / "exercises" / "centred.py"


def test_it_is_found_beside_the_notebook_and_from_above(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exercises.names()[-1] == "centred"
    assert check.centred is exercises.get("centred")
    assert "centred" in dir(check)
    monkeypatch.chdir(folder.parent)
    assert check.centred.name == "centred"
    assert "centred" not in [exercise.name for exercise in exercises.all()]
    monkeypatch.chdir(folder.parent.parent)
    with pytest.raises(AttributeError, match=r"one of your own is exercises/qqqq\.py"):
        _ = check.qqqq


def test_its_hints_go_on_and_its_solution_is_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        check.centred.hint()
        assert capsys.readouterr().out.startswith(f"Hint {number} of 3")
    check.centred.solution()
    assert "def centred(rewards)" in capsys.readouterr().out


def test_it_is_read_again_once_it_has_changed(file: Path) -> None:
    assert check.centred.praise == "each answer is measured against its group"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("measured against its group", "held"), encoding="utf-8")
    assert check.centred.praise == "each answer is held"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("EXERCISE = ", "MINE = ", r"centred\.py has no EXERCISE = Exercise\(\.\.\.\)"),
        ('name="centred"', 'name="other"', r"centred\.py holds the exercise 'other': give"),
        ("import numpy", "import numpie", r"centred\.py cannot be read: ModuleNotFoundError: "),
        ("    hints=(", "    hint=(", r"centred\.py cannot be read: TypeError: .*'hint'"),
        ("def cases", "def cases)", r"centred\.py cannot be read: SyntaxError"),
    ],
)
def test_what_is_missing_is_said_in_one_line(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        exercises.get("centred")
    assert "\n" not in str(error.value)
    with pytest.raises(AttributeError, match=message):
        _ = check.centred
    with pytest.raises(BuildError, match=f"here: exercises/{message}"):
        split(new_code_cell(CELL), "here")


def test_a_cell_that_checks_what_is_not_there_is_told_which() -> None:
    with pytest.raises(BuildError, match=r"^here: no exercise named mine: one of your own is exer"):
        split(new_code_cell(CELL.replace("centred", "mine")), "here")


RIGHT = "def centred(rewards):\n    return rewards - rewards.mean(1, keepdims=True)"


def hand_in(place: Path, answer: str) -> Path:
    place.parent.mkdir(exist_ok=True)
    call = "from gnivo_edu.course import check\ncheck.centred(centred)"
    cells = [new_code_cell(answer), new_code_cell(call)]
    nbformat.write(new_notebook(cells=cells), place)
    return place


@pytest.mark.slow
def test_a_submission_is_graded_where_the_exercise_lies(folder: Path) -> None:
    hand_in(folder / "submissions" / "ann.ipynb", RIGHT)
    hand_in(folder / "submissions" / "bob.ipynb", RIGHT.replace("(1, keepdims=True)", "()"))
    ann, bob = grade("submissions")
    assert ann.verdicts["centred"].status == "passed"
    assert "the mean runs over all answers" in bob.verdicts["centred"].reason


def test_exercises_that_were_handed_in_are_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "exercises" / "centred.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    hand_in(folder / "ann.ipynb", RIGHT)
    for place in (".", ".."):
        with pytest.raises(ValueError, match="would run with your rights: grade from outside"):
            grade(place)
    monkeypatch.chdir(folder.parent.parent)
    with pytest.raises(ValueError, match="holds no exercise"):
        grade(folder)


@pytest.mark.slow
def test_a_handout_takes_its_exercises_along(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gnivo_edu.course.build import build_course, run_cells
    from gnivo_edu.course.release import release_course

    build_course(folder.parent)
    release_course(folder.parent / "handout", folder.parent)
    solution = folder.parent / "handout" / "solution"
    notebook = nbformat.read(solution / "centred.ipynb", as_version=4)
    run_cells(notebook, "centred", timeout=60, cwd=solution)  # its check finds the exercise
    student = (folder.parent / "handout" / "student" / "centred.ipynb").read_text(encoding="utf-8")
    assert "your code here" in student
    assert "rewards.mean(axis=1, keepdims=True)\\n" not in student
