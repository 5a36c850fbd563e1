from tests.toy_envs.answers import every_answer
from toy_envs import CombinationLock


def test_lock_opens_for_its_code_alone() -> None:
    env = CombinationLock(vocab_size=4, horizon=3, code_seed=5)
    tokens, rewards = every_answer(env)
    assert tokens[rewards == 1].tolist() == [list(env.code)]
    assert rewards.sum() == 1
    assert len({CombinationLock(code_seed=seed).code for seed in range(20)}) > 10
