import pytest

from tests.toy_envs.answers import every_answer
from toy_envs import DigitSum


def test_digit_sum_counts_digits() -> None:
    env = DigitSum(vocab_size=4, horizon=4, target=5)
    tokens, rewards = every_answer(env)
    for row, reward in zip(tokens.tolist(), rewards, strict=True):
        assert reward == pytest.approx(1 - abs(sum(row) - 5) / 7)
    assert (rewards.min(), rewards.max()) == (0, 1)
    assert env.reward([[3, 2]], [2])[0] == 0  # unfinished
