"""Tasks: what a language model is asked, and how its answers are rewarded."""

from gnivo_edu.tasks.registry import get, names
from gnivo_edu.tasks.rewards import TextReward, get_reward

__all__ = ["TextReward", "get", "get_reward", "names"]
