"""Exercises 25 and 38: they are what the study measures; each known mistake is named."""

import numpy as np
import pytest

from gnivo_edu.course import check
from gnivo_edu.course.exercises.base import CheckFailed
from gnivo_edu.studies.credit import exact as credit_exact
from gnivo_edu.studies.credit.measures import Frozen
from toy_envs import PosterProblem

STORY = {"biggest drop", "first negative", "ties count 0", "no control"}


def test_the_storys_wrong_answers_are_there():
    assert set(check.first_wrong_auc.wrong_answers) >= STORY
    assert check.first_wrong_auc.statement.startswith("Exercise 25: ")


@pytest.mark.parametrize("name", check.first_wrong_auc.wrong_answers)
def test_each_mistake_is_named_and_named_alone(name):
    wrong = check.first_wrong_auc.wrong_answers[name]
    cause = " ".join(wrong.__doc__.split()).rstrip(".")
    for seed in range(5):
        with pytest.raises(CheckFailed) as told:
            check.first_wrong_auc.run(wrong, seed)
        assert str(told.value).endswith(f"this is what you get when {cause}")


def test_it_is_the_studys_measure():
    rng = np.random.default_rng(0)
    for _ in range(5):
        right = rng.integers(10, 90, size=(8, 4))
        wrong = rng.random((8, 4)) < 0.4
        wrong[np.arange(8), rng.integers(4, size=8)] = True
        alike, credits = rng.random((8, 4)) < 0.7, rng.integers(-2, 3, size=(8, 4)) / 2
        rows = [
            {"right": 0, "first_wrong": int(w.argmax()), "wrong": w.tolist(), "alike": a.tolist()}
            for w, a in zip(wrong, alike, strict=True)
        ]
        ours = check.first_wrong_auc.reference(right + wrong, right, credits, alike)
        assert ours == pytest.approx(Frozen(rows).auc(credits.tolist(), "alike"), abs=1e-12)


def test_a_perfect_credit_finds_all_and_nothing_finds_half():
    right = np.arange(12).reshape(3, 4)
    written = right + (np.arange(4) >= [[1], [2], [0]])
    first = np.zeros((3, 4))
    first[[0, 1, 2], [1, 2, 0]] = -1
    alike = np.ones((3, 4), dtype=bool)
    reference = check.first_wrong_auc.reference
    assert reference(written, right, first, alike) == 1
    assert reference(written, right, -first, alike) == 0
    assert reference(written, right, 0 * first, alike) == 0.5


@pytest.mark.parametrize("name", check.drops.wrong_answers)
def test_each_mistake_about_drops_is_named(name):
    wrong = check.drops.wrong_answers[name]
    cause = " ".join(wrong.__doc__.split()).rstrip(".")
    for seed in range(5):
        with pytest.raises(CheckFailed) as told:
            check.drops.run(wrong, seed)
        assert cause in str(told.value)


def test_drops_are_those_of_the_poster():
    """Wrong at 3: the first drop is the mistake, the last missed chance the check."""
    chances = credit_exact.chances(PosterProblem.examples["wrong at 3"])
    first, last = check.drops.reference(chances[None])
    assert check.drops.statement.startswith("Exercise 38: ")
    assert (first.tolist(), last.tolist()) == ([3], [7])
