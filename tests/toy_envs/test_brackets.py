import pytest

from tests.toy_envs.answers import every_answer
from toy_envs import Brackets


def balanced(text: str) -> bool:
    """By deleting "()" until nothing is left."""
    while "()" in text:
        text = text.replace("()", "")
    return text == ""


@pytest.mark.parametrize(
    ("horizon", "catalan"), [(3, 1), (4, 1), (5, 1 + 2), (6, 1 + 2), (7, 1 + 2 + 5), (9, 22)]
)
def test_brackets_count_as_catalan(horizon: int, catalan: int) -> None:
    env = Brackets(horizon)
    tokens, rewards = every_answer(env)
    texts = [env.decode(row).partition(".") for row in tokens]
    expected = [float(dot == "." and text != "" and balanced(text)) for text, dot, _ in texts]
    assert rewards.tolist() == expected
    paid = {text for (text, _, _), reward in zip(texts, rewards, strict=True) if reward}
    assert len(paid) == catalan


def test_brackets_cut_off_earn_nothing() -> None:
    env = Brackets(horizon=4)
    answers = [[0, 1, 0, 1], [0, 0, 1, 1], [0, 1, 2, 0], [2, 0, 0, 0]]
    assert env.reward(answers, [4, 4, 3, 1]).tolist() == [0, 0, 1, 0]
