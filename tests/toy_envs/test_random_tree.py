import numpy as np

from tests.toy_envs.answers import every_answer
from toy_envs import RandomTree


def test_random_tree_is_uniform_and_seeded() -> None:
    _, rewards = every_answer(RandomTree(vocab_size=2, horizon=10, tree_seed=3))
    assert len(np.unique(rewards)) == 1024
    assert rewards.min() >= 0
    assert rewards.max() < 1
    assert abs(rewards.mean() - 0.5) < 5 * (1 / 12 / 1024) ** 0.5
    assert (rewards == every_answer(RandomTree(2, 10, 3))[1]).all()
    assert (rewards != every_answer(RandomTree(2, 10, 4))[1]).any()
    assert RandomTree(2, 3).reward([[0, 0]], [2])[0] == 0  # unfinished
