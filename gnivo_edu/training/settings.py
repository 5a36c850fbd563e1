"""What the settings of a run mean together: the learning rate of a step, alpha, and what does not
fit.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from gnivo_edu.training.config import TrainConfig


def rate_factor(config: TrainConfig, step: int) -> float:
    """Factor of the learning rate at a step: a ramp, then constant, linear to 0, or half a cosine
    to 0.

    >>> config = TrainConfig(steps=6, warmup_steps=2, schedule="linear")
    >>> [rate_factor(config, step) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def check_settings(config: TrainConfig, asked: set[str], world: int) -> None:
    """ValueError, in one line, on settings that exclude each other; `asked`: what the objective
    needs of its batch.
    """
    if "prefix_values" in asked:
        raise ValueError(
            f"{config.objective} fits an explicit V_theta and moves no policy: train with gnivo "
            "instead"
        )
    if config.kl_to_initial and "policy_kl" in asked and config.reference != "initial":
        raise ValueError(
            f"{config.objective} has a KL of its own: with kl_to_initial, set reference=initial"
        )
    if config.prompts_per_step < world:
        raise ValueError(
            f"prompts_per_step={config.prompts_per_step} leaves some of the {world} processes "
            "without a prompt: raise "
            f"it, or launch fewer"
        )


def option_of(objective: Callable[..., Any], config: TrainConfig, name: str) -> float | None:
    """A number that the objective takes, such as alpha: as it is set, else its default; None if it
    takes none.

    >>> from gnivo_edu import objectives
    >>> config = TrainConfig(objective_options={"alpha": 0.3})
    >>> [option_of(objectives.rloo, config, name) for name in ("alpha", "clip_low", "horizon")]
    [0.3, 0.2, None]
    """
    default = inspect.signature(objective).parameters.get(name)
    found = config.objective_options.get(name, None if default is None else default.default)
    return None if found is None else float(found)


def reward_name(config: TrainConfig) -> str:
    """What the reward is called in `rewards/<name>/mean`: its own name where the task is given one,
    else the task's.

    >>> reward_name(TrainConfig(task="toy_envs/Brackets-v0"))
    'Brackets-v0'
    >>> reward_name(TrainConfig(task="stories", task_options={"reward": "my:own"}))
    'own'
    """
    given = config.task_options.get("reward")
    return (given if isinstance(given, str) else config.task).rpartition("/")[2].rpartition(":")[2]
