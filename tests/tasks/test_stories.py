"""The sentiment score, and rewards that are no numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gnivo_edu.tasks.grading import Problem
from gnivo_edu.tasks.stories import NEGATIVE, POSITIVE, _score_texts, sentiment


def test_sentiment_counts_words() -> None:
    texts = [
        "",
        "The dog.",
        "Happy!",
        "HAPPY and glad",
        "sad",
        "happy but sad",
        "unhappy",
        "so happily sad, sad",
    ]
    expected = [0.5, 0.5, 1.5 / 2, 2.5 / 3, 0.5 / 2, 1.5 / 3, 0.5 / 2, 1.5 / 4]
    np.testing.assert_allclose(sentiment(texts), expected)
    assert sentiment([]).shape == (0,)
    assert sentiment(texts).dtype == np.float64
    with pytest.raises(ValueError, match="list of texts"):
        sentiment("happy")


def test_word_lists_do_not_overlap() -> None:
    assert not POSITIVE & NEGATIVE
    assert all(word.isalpha() and word.islower() for word in POSITIVE | NEGATIVE)


def test_tasks_import_without_torch() -> None:
    code = "import sys, gnivo_edu.tasks.stories; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda texts: [float("nan")] * len(texts), "rewards must be finite"),
        (lambda texts: ["good"] * len(texts), "one number for each text"),
        (lambda texts: [1.0], "one for each text"),
    ],
)
def test_a_reward_that_gives_no_numbers_is_told_in_one_line(reward, message):
    with pytest.raises(ValueError, match=message):
        _score_texts(reward, ["One.", "Two."], [Problem(question="q")] * 2)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_gradient_of_a_reward_is_left_behind(dtype):
    torch = pytest.importorskip("torch")
    values = torch.tensor([0.5, 2.0], dtype=getattr(torch, dtype), requires_grad=True)
    for reward in (lambda texts: values * 1, lambda texts: list(values)):
        grades = _score_texts(reward, ["One.", "Two."], [Problem(question="q")] * 2)
        assert [grade.reward for grade in grades] == [0.5, 2.0]
