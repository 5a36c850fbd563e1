"""The brute-force optimum is right."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toy_envs import (
    Brackets,
    CombinationLock,
    CriticalStep,
    PosterProblem,
    RandomTree,
    TokenMDP,
    optimum,
)
from toy_envs.optimum import complete_answers, count_answers


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0, 1e3])
@pytest.mark.parametrize(("env", "p"), [(CombinationLock(), 3.0**-5), (CriticalStep(), 1 / 3)])
def test_optimum_in_closed_form(env: TokenMDP, p: float, alpha: float) -> None:
    """One 0/1 reward of probability p: Z = 1 - p + p e^{1/alpha}; everything else follows."""
    best = optimum(env, alpha)
    log_z = float(np.logaddexp(math.log1p(-p), math.log(p) + 1 / alpha))
    right = math.exp(math.log(p) + 1 / alpha - log_z)
    assert best.log_z == pytest.approx(log_z, rel=1e-11)
    assert best.expected_reward == pytest.approx(right, rel=1e-11)
    assert best.kl == pytest.approx(right / alpha - log_z, abs=1e-11)
    size = env.vocab_size**env.horizon
    wrong = 1 - right
    tail = wrong * math.log(wrong / (size * (1 - p))) if wrong > 0 else 0.0
    assert best.entropy == pytest.approx(-right * math.log(right / (size * p)) - tail, abs=1e-9)


def test_optimum_under_a_given_reference() -> None:
    env = TokenMDP(2, 2, reward=lambda y, n: y[:, 1] * 1.0, eos_token_id=0)  # answers: 0, 10, 11
    tables = [np.log([[0.25, 0.75]]), np.log([[1.0, 1e-300], [0.4, 0.6]])]
    tables[1][0, 1] = -np.inf  # the row of a finished prefix is never read
    best = optimum(env, 0.5, reference=tables)
    weights = np.array([0.25 * np.exp(env.pad_token_id / 0.5), 0.75 * 0.4, 0.75 * 0.6 * np.exp(2)])
    q = weights / weights.sum()
    assert best.log_z == pytest.approx(np.log(weights.sum()))
    assert best.expected_reward == pytest.approx(q @ [env.pad_token_id, 0, 1])
    assert best.entropy == pytest.approx(-(q @ np.log(q)))
    assert best.kl == pytest.approx(q @ np.log(q / [0.25, 0.3, 0.45]))


def test_zero_probability_answers_are_left_out() -> None:
    tables = [np.log([[0.5, 0.5]]), np.array([[0.0, -np.inf], [np.log(0.5), np.log(0.5)]])]
    env = TokenMDP(2, 2, reward=lambda y, n: y.sum(axis=1))
    assert [answer for answer, _ in complete_answers(env, tables)] == [(0, 0), (1, 0), (1, 1)]
    assert math.isfinite(optimum(env, 0.1, reference=tables).kl)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(-3, 3))
def test_optimum_is_optimal(seed: int, low: float, high: float) -> None:
    """log Z = E[R]/alpha - KL at the optimum; E[R] and KL fall as alpha grows."""
    env = RandomTree(vocab_size=2, horizon=3, tree_seed=seed)
    cold, warm = (optimum(env, 10**a) for a in sorted((low, high)))
    for best in (cold, warm):
        assert best.log_z == pytest.approx(
            best.expected_reward / best.alpha - best.kl, rel=1e-9, abs=1e-12
        )
        assert 0 <= best.kl <= 3 * math.log(2) + 1e-12
        assert 0 <= best.entropy <= 3 * math.log(2) + 1e-12
    assert cold.expected_reward >= warm.expected_reward - 1e-12
    assert cold.kl >= warm.kl - 1e-12


def test_optimum_prints_and_freezes() -> None:
    best = optimum(TokenMDP(2, 1, reward=lambda y, n: y[:, 0]), 1.0)
    assert str(best) == "alpha 1: log Z = 0.6201, E[R] = 0.7311, KL = 0.1109, entropy = 0.5822"
    with pytest.raises(AttributeError):
        best.kl = 0.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("env", "alpha", "reference", "says"),
    [
        (PosterProblem(), 0.0, None, "alpha must be a positive number"),
        (PosterProblem(), math.inf, None, "alpha must be a positive number"),
        (PosterProblem(), math.nan, None, "alpha must be a positive number"),
        (TokenMDP(2, 21), 1.0, None, "too many to enumerate"),
        (TokenMDP(2, 1, lambda y, n: n), 1.0, [np.zeros((1, 2))], "sum to 2, not to 1"),
        (TokenMDP(2, 2, lambda y, n: n), 1.0, [np.zeros((1, 2))], "shapes"),
    ],
)
def test_optimum_says_what_is_wrong(
    env: TokenMDP, alpha: float, reference: list | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says) as error:
        optimum(env, alpha, reference=reference)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "env", [Brackets(horizon=5), PosterProblem(), TokenMDP(1, 3, eos_token_id=0)]
)
def test_answers_are_counted_and_complete(env: TokenMDP) -> None:
    answers = dict(complete_answers(env))
    assert len(answers) == count_answers(env)
    assert sum(map(math.exp, answers.values())) == pytest.approx(1)
    assert all(
        env.is_finished(y) and not any(map(env.is_finished, (y[:t] for t in range(len(y)))))
        for y in answers
    )
