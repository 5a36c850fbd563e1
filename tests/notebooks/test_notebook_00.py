"""Notebook 00: its equations, each under its number and by other means, and what its prose says."""

import math
import re

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact
from gnivo_edu.course.pictures import draw_pictures
from tests.notebooks.notebook import ROOT, Notebook

BOOK = Notebook("00_which_step")


@pytest.fixture(scope="module")
def problem():
    return toy_envs.PosterProblem()


def brute_value(problem, prefix, alpha):
    """(0.1) by walking every completion, with the stated chances."""
    tables = problem.reference()

    def mean(tokens):
        if len(tokens) == 7:
            return math.exp(problem.reward([tokens], [7])[0] / alpha)
        row = tables[len(tokens)][int("".join(map(str, tokens)) or "0", 2)]
        return sum(math.exp(row[token]) * mean((*tokens, token)) for token in (0, 1))

    return math.log(mean(prefix))


@pytest.mark.parametrize("alpha", [0.1, 0.5, 2.0])
def test_equation_0_1(problem, alpha):
    key = exact.solve(exact.enumerate_tree(problem), alpha)
    for answer in problem.examples.values():
        for t in range(8):
            assert key.soft_value(answer[:t]) == pytest.approx(
                brute_value(problem, answer[:t], alpha), abs=1e-11
            )


@pytest.mark.parametrize("alpha", [0.1, 0.5, 2.0])
def test_equation_0_2(problem, alpha):
    tree = exact.enumerate_tree(problem)
    key = exact.solve(tree, alpha)
    for number, answer in enumerate(tree.answers()):
        expected = tree.rewards[number] / alpha - key.log_z
        assert key.step_credit(answer).sum() == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 2.0])
def test_equation_0_3(problem, alpha):
    tree = exact.enumerate_tree(problem)
    key, answers = exact.solve(tree, alpha), np.array(list(tree.answers()))
    for answer in problem.examples.values():
        for t in range(8):
            through = (answers[:, :t] == answer[:t]).all(axis=1)
            p = np.average(tree.rewards[through], weights=np.exp(tree.prefix_logps[-1])[through])
            assert math.exp(key.soft_value(answer[:t])) == pytest.approx(
                1 - p + p * math.exp(1 / alpha), rel=1e-11
            )


def test_what_the_prose_says_about_the_strips(problem):
    key = exact.solve(exact.enumerate_tree(problem), 0.5)
    wrong, rescued = (
        key.step_credit(problem.examples[name]) for name in ("wrong at 3", "wrong at 3, rescued")
    )
    assert wrong[:6] == pytest.approx(rescued[:6])
    assert wrong[2] < 0
    assert wrong[6] < wrong[2], "the missed check costs more than the mistake"
    assert rescued[6] > 0
    chances = {a: exact.solve(key.tree, a).success_probability((0, 0, 1)) for a in (0.1, 0.5, 2.0)}
    assert np.ptp(list(chances.values())) < 1e-12, "no temperature changes the writer's chances"
    ratio = [
        np.divide(*exact.solve(key.tree, a).step_credit(problem.examples["wrong at 3"])[[6, 2]])
        for a in (0.1, 2)
    ]
    assert ratio[0] > 5
    assert ratio[1] < 1.1


def test_the_picture_of_the_readme_is_drawn_from_these_numbers(problem, tmp_path):
    assert (
        draw_pictures(tmp_path)[0].read_bytes() == draw_pictures(tmp_path / "again")[0].read_bytes()
    )
    committed = ROOT / "notebooks" / "images" / "which_step.png"
    assert committed.stat().st_size == pytest.approx(
        (tmp_path / "which_step.png").stat().st_size, rel=0.2
    )
    key = exact.solve(exact.enumerate_tree(problem), 0.5)
    caption = (ROOT / "README.md").read_text().partition("![")[2].partition("]")[0]
    quoted = re.findall(r"\d+\.\d+", caption)
    wrong, rescued = (
        key.step_credit(problem.examples[name]) for name in ("wrong at 3", "wrong at 3, rescued")
    )
    assert quoted == [f"{-wrong[2]:.2f}", f"{-wrong[6]:.2f}", f"{rescued[6]:.2f}"]
