"""Token MDPs as gymnasium environments: one file each, each asking one question.

>>> import gymnasium
>>> env = gymnasium.make("toy_envs/PosterProblem-v0").unwrapped
>>> env.vocab_size, env.horizon
(2, 7)
"""

from gymnasium.envs.registration import register, registry

from toy_envs.arithmetic_chain import ArithmeticChain
from toy_envs.brackets import Brackets
from toy_envs.checker import check_token_mdp
from toy_envs.combination_lock import CombinationLock
from toy_envs.core import TokenMDP
from toy_envs.critical_step import CriticalStep
from toy_envs.digit_sum import DigitSum
from toy_envs.noisy_reward import NoisyReward
from toy_envs.optimum import Optimum, optimum
from toy_envs.poster_problem import PosterProblem
from toy_envs.random_tree import RandomTree

__all__ = [
    "ArithmeticChain",
    "Brackets",
    "CombinationLock",
    "CriticalStep",
    "DigitSum",
    "NoisyReward",
    "Optimum",
    "PosterProblem",
    "RandomTree",
    "TokenMDP",
    "check_token_mdp",
    "optimum",
]

# Thresholds lie at or below the best expected reward, which the checker computes. No time limit:
# the horizon is part of the problem.
for _name, _threshold in {
    "PosterProblem": 0.99,
    "RandomTree": 0.95,
    "CombinationLock": 0.99,
    "DigitSum": 0.99,
    "Brackets": 0.99,
    "CriticalStep": 0.99,
    "ArithmeticChain": 0.99,
}.items():
    if f"toy_envs/{_name}-v0" not in registry:  # reloading the module must not warn
        register(
            f"toy_envs/{_name}-v0", entry_point=f"toy_envs:{_name}", reward_threshold=_threshold
        )
