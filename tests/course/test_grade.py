"""Grading: right and wrong answers are told apart, and no submission stops the others or earns what
it did not do.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from fractions import Fraction

import numpy as np
import pytest

from gnivo_edu import cli
from gnivo_edu.course import check, exercises, wire
from gnivo_edu.course.exercises.listing import listing
from gnivo_edu.course.grade import grade, grade_exercise, seed_for, write_csv

RIGHT = """
import numpy as np
from gnivo_edu.course import check

def after_each(values, last):
    return np.append(values[1:], last)

def step_credit(values, reward, alpha):
    return after_each(values, reward / alpha) - values

check.step_credit(step_credit)
"""
STUB = (
    "def step_credit(values, reward, alpha):\n    raise "
    "NotImplementedError\ncheck.step_credit(step_credit)"
)
CALL = "check.step_credit(step_credit)"


def notebook(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    code = [
        {"cell_type": "code", "source": text.strip().splitlines(keepends=True), "outputs": []}
        for text in cells
    ]
    path.write_text(
        json.dumps(
            {"cells": [{"cell_type": "markdown", "source": "# Hello"}, *code], "nbformat": 4}
        )
    )
    return path


def verdict(*cells, timeout=20):
    return grade_exercise(check.step_credit, cells, timeout=timeout)


def body(line):
    return f"import numpy as np\ndef step_credit(values, reward, alpha):\n    {line}"


@pytest.mark.parametrize("exercise", exercises.all(), ids=lambda exercise: exercise.name)
@pytest.mark.slow
def test_every_exercise_can_be_graded(exercise):
    right = listing(exercise.reference)
    assert grade_exercise(exercise, [right], seed=3).status == "passed"
    stub = f"def {exercise.name}(*arguments):\n    pass"
    assert grade_exercise(exercise, [right, stub]).status == "not attempted", (
        "the last definition counts"
    )


def test_a_wrong_answer_is_told_what_the_notebook_tells():
    found = verdict(body("return values - np.append(values[1:], reward / alpha)"))
    with pytest.raises(check.CheckFailed) as caught:
        check.step_credit.run(
            lambda values, reward, alpha: values - np.append(values[1:], reward / alpha)
        )
    assert found.status == "failed"
    assert "\n" not in found.reason
    assert f"step_credit: {found.reason}" == " ".join(str(caught.value).split())
    assert "usual cause" in found.reason


def test_an_error_names_its_line():
    found = verdict(RIGHT.replace("return np.append", "return np.missing"))
    assert found.status == "failed"
    assert "AttributeError" in found.reason
    assert "in its line: return np.missing(values[1:], last)" in found.reason
    assert "read-only" in verdict(body("values[0] = 1; return values")).reason


@pytest.mark.parametrize(
    "cells",
    [
        [RIGHT],
        ["%matplotlib inline\n!pip list\nimport numpy as np", "raise SystemExit('stop here')",
         RIGHT],
        ["this is not Python", "1 / 0", "while True: pass", RIGHT],
        ["import numpy as np", "half = 0.5",
         body("return np.diff(np.append(values, 2 * half * reward / alpha))")],
        ["from numpy import *", "step_credit = lambda v, r, a: diff(append(v, r / a))"],
        ["import numpy as np", "table = {}", "table['one'] = 1.0",
         body("return np.diff(np.append(values, table['one'] * reward / alpha)).tolist()")],
        [body("print('x' * 3_000_000); import sys; sys.stderr.write('y' * 3_000_000)\n"
              "    return np.diff(np.append(values, reward / alpha))")],
    ],
    ids=["helper", "magics", "other cells are broken or endless", "constant", "star", "table",
         "prints megabytes"],
)  # fmt: skip
def test_only_what_the_function_needs_is_run(cells):
    assert verdict(*cells).status == "passed"


@pytest.mark.parametrize(
    ("cells", "status", "reason"),
    [
        ([], "not attempted", "there is no function step_credit"),
        ([STUB], "not attempted", "returns None, or still raises"),
        (["def step_credit(values, reward, alpha):\n    return ("], "failed",
         "its cell is not Python"),
        (["step_credit = 3"], "failed", "is not a function"),
        (["step_credit = 1 / 0"], "failed", "ZeroDivisionError"),
        ([body("import os; os._exit(0)")], "failed", "ended (exit status 0)"),
        ([body("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")], "failed",
         f"status -{int(signal.SIGSEGV)}"),
        ([body("import sys; sys.exit()")], "failed", "SystemExit"),
        ([body("raise KeyboardInterrupt")], "failed", "KeyboardInterrupt"),
        ([body("return step_credit(values, reward, alpha)")], "failed", "RecursionError"),
        ([body("return np.zeros(2**33)")], "failed", "MemoryError"),
        ([body("return np.zeros(2**26)")], "failed", "more than 64 MB"),
        ([body("return 10 ** 5000")], "failed", ""),
        ([body("return {'a': 1}")], "failed", "got dict {'a': 1}"),
        ([body("open('big', 'wb').write(bytes(2**28))")], "failed", "OSError"),
        ([body("a = []; a.append(a); return a")], "failed", "RecursionError"),
        ([body("return input()")], "failed", "EOFError"),
        ([body("raise type('Odd', (Exception,), {'__str__': lambda s: 1 / 0})")], "failed", "Odd"),
    ],
)  # fmt: skip
def test_what_goes_wrong_costs_the_point_and_has_a_reason(cells, status, reason):
    found = verdict(*cells)
    assert found.status == status
    assert reason in found.reason
    assert "\n" not in found.reason


@pytest.mark.parametrize(
    "cells",
    [
        ["class check:\n    step_credit = print", "def step_credit(*a):\n    return 0", CALL],
        ["import numpy as np\nnp.isclose = np.allclose = lambda *a, **k: np.bool_(True)\n"
         "def step_credit(values, reward, alpha):\n    np.isclose\n    return values"],
        ["import builtins, sys\nbuiltins.AssertionError = ValueError\nsys.modules.clear()",
         body("import sys; sys.modules.clear(); return values")],
        [body("from gnivo_edu.course import check\n"
              "    return check.step_credit.reference(values, reward, alpha)")],
        [body("from gnivo_edu.course.exercises import step_credit as s\n"
              "    return s.step_credit(values, reward, alpha)")],
        ["import gnivo_edu.course.wire as w\nw.encode = lambda *a: {'ready': True}\n",
         body("w; return 0")],
        # Talks to the grader itself, through every pipe it finds.
        [body("""import os
    for fd in range(3, 20):
        try: os.write(fd, b'{"ready": true}\\\\n{"value": null}\\\\n{"value": [1]}\\\\n'
                          b'{"passed": true}\\\\n' * 50)
        except OSError: pass
    os._exit(0)""")],
        ["class Yes:\n    def __eq__(self, o): return True\n    shape = ()", body("return Yes()")],
        ["import numpy as np\nclass Yes(np.ndarray):\n    def __eq__(self, o): return True",
         body("return values.view(Yes)")],
    ],
    ids=["own check", "patched numpy", "emptied modules", "answer key", "answer key, by file",
         "patched library", "forged messages", "equal to all", "subclass equal to all"],
)  # fmt: skip
def test_tampering_earns_nothing(cells):
    assert verdict(*cells).status in ("failed", "not attempted")


@pytest.mark.slow
def test_endless_submissions_are_stopped_in_time():
    start = time.perf_counter()
    for line in (
        "while True: pass",
        "import time; time.sleep(60)",
        # A child of its own, that holds the pipes.
        "import os, time; os.fork() or os.setsid(); time.sleep(8)",
        "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)]; "
        "time.sleep(60)",
    ):
        found = verdict(body(line), timeout=1.5)
        assert (found.status, found.reason) == ("failed", "took longer than 1.5 s")
    assert time.perf_counter() - start < 20


def test_the_submission_gets_no_environment_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_TOKEN", "secret")
    monkeypatch.chdir(tmp_path)
    lines = """import os
    assert "SOME_TOKEN" not in os.environ and os.getcwd() == os.path.realpath(os.environ["HOME"])
    open("here", "w").write("x")
    return np.diff(np.append(values, reward / alpha))"""
    assert verdict(body(lines)).status == "passed"
    assert os.listdir(tmp_path) == []


@pytest.fixture(scope="module")
def class_of_students(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    notebook(folder / "alice.ipynb", RIGHT)
    notebook(folder / "bob" / "homework.ipynb", STUB)
    notebook(folder / "bob" / ".ipynb_checkpoints" / "homework-checkpoint.ipynb", RIGHT)
    notebook(folder / "carol" / "week 1" / "a.ipynb", "print('nothing here')")
    notebook(folder / "carol" / "week 1" / "b.ipynb", RIGHT)
    (folder / "dave.ipynb").write_text("PK not a notebook")
    notebook(folder / "erin.ipynb", body("while True: pass"), CALL)
    notebook(folder / "=frank.ipynb", body("return values"))  # asks for no check
    (folder / "notes.txt").write_text("ignored")
    return folder


def gnivo(*arguments):
    command = [sys.executable, "-m", "gnivo_edu.cli", "check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_folder_of_submissions(class_of_students, tmp_path):
    before = {path: path.read_bytes() for path in class_of_students.rglob("*") if path.is_file()}
    done = gnivo(
        class_of_students,
        "--csv",
        tmp_path / "out.csv",
        "--timeout",
        4,
        "--seed-per-student",
        "--json",
    )
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    results = {result["student"]: result for result in report["results"]}
    status = {
        student: result["exercises"]["step_credit"]["status"] for student, result in results.items()
    }
    assert status == {
        "=frank": "failed",
        "alice": "passed",
        "bob": "not attempted",
        "carol": "passed",
        "dave": "failed",
        "erin": "failed",
    }
    assert report["passed"] is False
    assert report["exercises"] == ["step_credit"]
    with (tmp_path / "out.csv").open() as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"'=frank", "alice", "bob", "carol", "dave", "erin"}, (
        "no cell begins a formula"
    )
    assert rows["alice"] == {
        "student": "alice", "seed": str(seed_for("alice")), "points": "1", "step_credit": "1",
        "step_credit reason": "",
    }  # fmt: skip
    assert rows["dave"]["step_credit reason"].startswith("dave.ipynb is not a notebook")
    assert rows["erin"]["step_credit reason"] == "took longer than 4 s"
    assert "6/6 erin: 0 of 1" in done.stderr
    assert before == {
        path: path.read_bytes() for path in class_of_students.rglob("*") if path.is_file()
    }


@pytest.mark.slow
def test_a_notebook_that_passes_and_one_that_does_not(class_of_students):
    done = gnivo(class_of_students / "alice.ipynb")
    assert done.returncode == 0
    assert "passed" in done.stdout
    done = gnivo(class_of_students / "bob" / "homework.ipynb")
    assert done.returncode == 1
    assert "not attempted" in done.stdout


def test_bad_input_is_one_line_and_exit_2(class_of_students, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    notebook(tmp_path / "prose.ipynb", "print('hello')")
    for arguments, words in [
        ([class_of_students / "nobody.ipynb"], "there is no"),
        ([class_of_students / "dave.ipynb"], "is not a notebook"),
        ([tmp_path / "empty"], "no notebook in"),
        ([tmp_path / "prose.ipynb"], "holds no exercise"),
        (
            [class_of_students / "alice.ipynb", "--exercise", "step_credits"],
            "no exercise named step_credits",
        ),
        ([class_of_students / "alice.ipynb", "--timeout", "0"], "must be positive"),
        ([class_of_students / "alice.ipynb", "--timeout", "nan"], "must be positive"),
    ]:
        # In this process: a new one would import everything for each of them.
        monkeypatch.setattr(sys, "argv", ["gnivo-edu", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        assert (stopped.value.code, printed.out) == (2, "")
        assert len(printed.err.strip().splitlines()) == 1, printed.err
        assert printed.err.startswith("gnivo-edu: ")
        assert words in printed.err


def test_every_student_has_cases_of_their_own(tmp_path):
    asked = (
        "import numpy as np\ndef step_credit(values, reward, alpha):\n    return [float(values[0])]"
    )
    for student in ("alice", "bob"):
        notebook(tmp_path / f"{student}.ipynb", asked, CALL)
    grades = grade(tmp_path, per_student=True)
    assert [g.seed for g in grades] == [seed_for("alice"), seed_for("bob")]
    assert grades == grade(tmp_path, per_student=True)
    assert [g.seed for g in grade(tmp_path, seed=7)] == [7, 7]
    assert seed_for("alice", 1) != seed_for("alice")


def test_named_exercises_are_graded_whether_asked_for_or_not(tmp_path):
    path = notebook(tmp_path / "alice.ipynb", RIGHT)
    (one,) = grade(path, only=["log_z", "step_credit"])
    assert {name: v.status for name, v in one.verdicts.items()} == {
        "log_z": "not attempted",
        "step_credit": "passed",
    }
    write_csv([one], tmp_path / "out.csv")
    head = (tmp_path / "out.csv").read_text().splitlines()[0]
    assert head == "student,seed,points,log_z,log_z reason,step_credit,step_credit reason"


@pytest.mark.slow
def test_an_answer_in_bfloat16_is_told_what_the_notebook_tells():
    import torch

    line = "import torch; return torch.tensor(values).bfloat16()"
    with pytest.raises(check.CheckFailed) as caught:
        check.step_credit.run(lambda values, reward, alpha: torch.tensor(values).bfloat16())
    for told in (str(caught.value), verdict(body(line)).reason):
        assert "expected float64, got bfloat16: exact work needs all the digits" in told


@pytest.mark.slow
def test_a_function_that_is_given_is_called_by_name_and_what_it_returns_may_be_changed():
    solution = listing(check.two_pass_gradient.reference)
    kinder = solution.replace("score(rows)", "score(rows=rows)")
    assert kinder != solution
    changed = "def changed(pull):\n    def inner(*a):\n        g = pull(*a)\n        g += 0\n"
    changed += "        return g\n    return inner\n"
    last = "_two = two_pass_gradient\ndef two_pass_gradient(score, pull, *rest):\n"
    last += "    return _two(score, changed(pull), *rest)"
    for cells in ([kinder], [solution, changed, last]):
        with_names = grade_exercise(check.two_pass_gradient, cells)
        assert with_names.reason == ""


def test_values_travel_as_they_are():
    for value in (
        None,
        True,
        3,
        0.1,
        float("inf"),
        "ü",
        (1, [2.5, (None,)]),
        np.float32(2),
        np.bool_(False),
    ):
        back = wire.decode(json.loads(json.dumps(wire.encode(value, []))))
        assert type(back) is type(value)
        assert back == value
    for array in (
        np.arange(6.0).reshape(2, 3),
        np.zeros((0, 2)),
        np.array(1j),
        np.array([[1], [2]], dtype="int8"),
    ):
        back = wire.decode(json.loads(json.dumps(wire.encode(array, []))))
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
        assert not back.flags.writeable
    assert repr(wire.decode(wire.encode({1: 2}, []))) == "{1: 2}"
    for sequence in (range(3), deque([0, 1, 2])):  # numpy reads both as an array
        back = wire.decode(json.loads(json.dumps(wire.encode(sequence, []))))
        np.testing.assert_array_equal(back, [0, 1, 2])
    third = wire.decode(wire.encode(Fraction(1, 3), []))
    assert (float(third), repr(third)) == (1 / 3, "Fraction(1, 3)")
    for nonsense in (
        {"array": ["O", [1], "AAAAAAAAAAA="]},
        {"array": ["O", [1], "AAAAAAAAAAA=", False]},
        {"x": 1},
    ):
        with pytest.raises(ValueError, match=r"not a value|an array of O"):
            wire.decode(nonsense)
