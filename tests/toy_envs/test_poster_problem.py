"""Facts about PosterProblem, from witnesses that share no code with it."""

import re
from itertools import product

import numpy as np
import pytest

from tests.toy_envs.answers import every_answer
from toy_envs import PosterProblem

ANSWERS = list(product((0, 1), repeat=7))


@pytest.fixture(scope="module")
def poster() -> PosterProblem:
    return PosterProblem()


def test_poster_rewards_the_final_answer(poster: PosterProblem) -> None:
    tokens, rewards = every_answer(poster)
    assert len(tokens) == 128
    assert rewards.tolist() == [float(poster.final_answer(y) == 14) for y in ANSWERS]
    assert rewards.sum() == 1 + 63  # no mistake and a sound check, or any mistakes and a rescue
    assert poster.reward([[0, 0, 0]], [3])[0] == 0  # unfinished


def test_poster_mistakes_never_cancel(poster: PosterProblem) -> None:
    """Only the answer without a mistake stands at x = 14 after step 6."""
    solved = [y for y in product((0, 1), repeat=6) if poster.step_text(y).endswith("x = 14.")]
    assert solved == [(0,) * 6]


def test_poster_is_the_solution_of_the_question(poster: PosterProblem) -> None:
    assert np.sqrt(20 + np.sqrt(11 + poster.final_answer((0,) * 7))) == 5
    assert "T = 11" in poster.question
    assert "√(20 + √(T + x)) = 5" in poster.question


@pytest.mark.parametrize("answer", ANSWERS)
def test_poster_texts_read_consistently(poster: PosterProblem, answer: tuple[int, ...]) -> None:
    """Every line follows from the one before it, by the operation it names or by that step's
    mistake.
    """
    lines = poster.decode(answer).split("\n")
    assert lines == [poster.step_text(answer[: t + 1]) for t in range(7)]
    assert all(len(line) < 80 for line in lines)
    n = [[int(word) for word in re.findall(r"-?\d+", line)] for line in lines[:6]]
    a, five, t_asked = n[0]
    assert (a, five, t_asked) == (12 if answer[0] else 20, 5, 11)
    t, a_again, t_again, five = n[1]
    assert (t, a_again, t_again, five) == (1 if answer[1] else 11, a, t, 5)
    squared = 10 if answer[2] else 25
    assert n[2] == [a, t, squared]
    root = squared + a if answer[3] else squared - a
    assert n[3] == [a, t, root]
    total = 2 * root if answer[4] else root**2
    assert n[4] == [t, total]
    x = total + t if answer[5] else total - t
    assert n[5] == [t, x]
    final = poster.final_answer(answer)
    assert final == (14 if not answer[6] else 15 if x == 14 else x)
    assert f"x = {final}" in lines[6]
    assert ("mend" in lines[6]) == (x != 14 and not answer[6])
    if shown := re.search(r"gives ([\d.]+), not 5", lines[6]):
        assert float(shown[1]) == pytest.approx(np.sqrt(20 + np.sqrt(11 + x)), abs=0.005)
        assert shown[1] != "5.00"
    assert ("no real root" in lines[6]) == (x < -11 and not answer[6])


def test_poster_examples_end_as_named(poster: PosterProblem) -> None:
    ends = {name: poster.final_answer(y) == 14 for name, y in poster.examples.items()}
    assert ends == {
        "right": True,
        "wrong at 3": False,
        "wrong at 3, rescued": True,
        "wrong late": False,
    }
    first = {name: y.index(1) + 1 if 1 in y else None for name, y in poster.examples.items()}
    assert first == {"right": None, "wrong at 3": 3, "wrong at 3, rescued": 3, "wrong late": 7}
    assert len(poster.step_names) == poster.horizon == 7


def test_poster_reference_is_the_stated_one(poster: PosterProblem) -> None:
    tables = poster.reference()
    assert [table.shape for table in tables] == [(2**t, 2) for t in range(7)]
    for answer in ANSWERS:
        for t, base in enumerate((0.02, 0.05, 0.25, 0.10, 0.20, 0.10, None)):
            mistakes = sum(answer[:t])
            stated = (
                1 - (0.97, 0.30, 0.15)[min(mistakes, 2)]
                if base is None
                else base + 0.05 * (mistakes > 0)
            )
            row = int("".join(map(str, answer[:t])) or "0", 2)
            assert np.exp(tables[t][row]) == pytest.approx([1 - stated, stated])


def test_poster_needs_whole_answers(poster: PosterProblem) -> None:
    with pytest.raises(ValueError, match="all 7 steps"):
        poster.final_answer((0, 0))
    with pytest.raises(ValueError, match="1 to 7 steps"):
        poster.step_text(())
    assert poster.decode(()) == ""
