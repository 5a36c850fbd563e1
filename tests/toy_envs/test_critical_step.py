import pytest

from tests.toy_envs.answers import every_answer
from toy_envs import CriticalStep


@pytest.mark.parametrize("step", [1, 3, 5])
def test_critical_step_reads_one_token(step: int) -> None:
    env = CriticalStep(critical_step=step, right_token=2)
    tokens, rewards = every_answer(env)
    assert env.reward([[2, 2, 2, 2]], [4])[0] == 0  # unfinished
    assert rewards.tolist() == (tokens[:, step - 1] == 2).astype(float).tolist()
