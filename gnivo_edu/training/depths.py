"""Depths of prefixes that a run draws, one for each prompt of a step: t ~ U{1..T} of GN-IVO's
Algorithm 1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gnivo_edu.training.config import TrainConfig

STREAM = (1,)  # what keeps these random numbers apart from all others that are made from a seed


def takes_depths(objective: Callable[..., Any], options: Mapping[str, Any]) -> bool:
    """Whether an objective with these options is to be given depths: `prefixes` is "given", and
    nobody has given them yet.

    >>> from gnivo_edu import objectives
    >>> [takes_depths(objectives.gnivo, {"prefixes": kind}) for kind in ("given", "all")]
    [True, False]
    """
    parameters = inspect.signature(objective).parameters
    if "depths" not in parameters or "prefixes" not in parameters:
        return False
    prefixes = options.get("prefixes", parameters["prefixes"].default)
    return bool(prefixes == "given") and parameters["depths"].default is None


def check_horizon(config: TrainConfig, task: Any) -> None:
    """ValueError, in one line, where answers of a task may be longer than the option `horizon` of
    the objective, in tokens. By steps of the task it may be smaller.
    """
    horizon = config.objective_options.get("horizon")
    if horizon is not None and config.level == "token" and horizon < task.horizon:
        raise ValueError(
            f"horizon={horizon}, but an answer to {task.name} may have {task.horizon} tokens: set "
            "it to that or more, or leave it out"
        )


def depths_of_step(seed: int, step: int, count: int, horizon: int) -> Int[Tensor, " count"]:
    """The depths of a step, int64, each uniform on 1..horizon: that of a place among its prompts is
    made from (seed, step, place) and from nothing else.

    `horizon`: the longest answer that the task allows, in actions, and never the longest that was
    drawn, which would make the law of the depths depend on the answers.

    >>> depths_of_step(0, step=3, count=4, horizon=5)
    tensor([4, 4, 2, 3])
    >>> bool((depths_of_step(0, 3, count=2, horizon=5) == torch.tensor([4, 4])).all())
    True
    """
    stream = np.random.SeedSequence([seed, step], spawn_key=STREAM)
    # One uniform a place, so that a place draws the same among any number of others.
    uniforms = np.random.default_rng(stream).random(count)
    return torch.from_numpy(1 + np.floor(uniforms * horizon).astype(np.int64))
