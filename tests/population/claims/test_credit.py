"""The curve of the largest drop over alpha, recomputed answer by answer from the rules."""

from __future__ import annotations

from itertools import product
from math import exp, log

import numpy as np
import pytest

import toy_envs
from gnivo_edu.population.claims.credit import ALPHAS, CLAIMS

PROBLEM = toy_envs.PosterProblem()
TABLES = [np.exp(table) for table in PROBLEM.reference()]


def steps_after(prefix: tuple[int, ...]) -> np.ndarray:
    """The reference's chances of a right and of a wrong step."""
    return TABLES[len(prefix)][int("0" + "".join(map(str, prefix)), 2)]


def chance_of_success(prefix: tuple[int, ...]) -> float:
    """Of ending right under the reference, by walking on from a prefix."""
    if len(prefix) == 7:
        return float(PROBLEM.final_answer(prefix) == 14)
    steps = steps_after(prefix)
    return sum(steps[a] * chance_of_success((*prefix, a)) for a in (0, 1))


CHANCES = {
    prefix: chance_of_success(prefix) for t in range(8) for prefix in product((0, 1), repeat=t)
}
WRONG = [answer for answer in product((0, 1), repeat=7) if CHANCES[answer] == 0.0]


def largest_drop(answer: tuple[int, ...], alpha: float) -> int:
    """The step, counted from 0, at which log E_ref[e^{R/alpha}] falls most."""
    values = [log(1 + CHANCES[answer[:t]] * (exp(1 / alpha) - 1)) for t in range(8)]
    return int(np.argmin(np.diff(values)))


def test_the_curve_counts_the_wrong_answers_whose_largest_drop_is_not_their_first_mistake():
    curve = next(claim for claim in CLAIMS if claim.name == "first-drop").curve()
    assert [point["alpha"] for point in curve] == list(ALPHAS)
    for point in curve:
        missed = [largest_drop(answer, point["alpha"]) != answer.index(1) for answer in WRONG]
        laws = [np.prod([steps_after(answer[:t])[answer[t]] for t in range(7)]) for answer in WRONG]
        assert point["nats"] == sum(missed) / 64
        weighted = np.average(missed, weights=laws)
        assert point["nats by probability"] == pytest.approx(weighted, abs=1e-9)
        assert point["chances"] == 0.0


def test_at_a_small_alpha_the_last_step_always_looks_worst():
    """What notebook 06 says of alpha 0.2, of 2 and more, and of chances."""
    assert len(WRONG) == 64
    assert {largest_drop(answer, 0.2) for answer in WRONG} == {6}
    assert sum(answer.index(1) == 6 for answer in WRONG) == 1
    assert all(largest_drop(answer, 2.0) == answer.index(1) for answer in WRONG)
    for answer in WRONG:
        drops = np.diff([CHANCES[answer[:t]] for t in range(8)])
        assert int(np.argmin(drops)) == answer.index(1)
