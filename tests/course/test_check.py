"""`check.NAME` is the exercise of that name, whichever there are."""

import subprocess
import sys

import pytest

from gnivo_edu.course import check, exercises


def test_every_exercise_is_a_check():
    names = {exercise.name for exercise in exercises.all()}
    assert {name for name in dir(check) if not name.startswith("_")} >= names | {"CheckFailed"}
    for exercise in exercises.all():
        assert getattr(check, exercise.name) is exercise
    from gnivo_edu.course.check import step_credit

    assert step_credit is exercises.step_credit.EXERCISE


def test_an_unknown_check_is_named():
    with pytest.raises(
        AttributeError, match="no exercise named step_credits: did you mean 'step_credit'"
    ):
        _ = check.step_credits
    with pytest.raises(ImportError):
        from gnivo_edu.course.check import nonsense  # noqa: F401


def test_checks_need_numpy_only():
    program = (
        "import sys, gnivo_edu.course.check\n"
        "heavy = ('torch', 'transformers', 'jupytext', 'nbformat', 'nbclient', 'IPython', "
        "'matplotlib', 'gymnasium')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
