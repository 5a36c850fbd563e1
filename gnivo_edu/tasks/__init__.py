"""Tasks: what a language model is asked, and how its answers are rewarded."""

from gnivo_edu.tasks.registry import (
    check_options,
    environment,
    environments,
    get,
    load,
    names,
    with_demonstrations,
)
from gnivo_edu.tasks.rewards import TextReward, get_reward

__all__ = [
    "TextReward",
    "check_options",
    "environment",
    "environments",
    "get",
    "get_reward",
    "load",
    "names",
    "with_demonstrations",
]
