"""Depths of prefixes that a run draws, one for each prompt of a step: t ~ U{1..T} of GN-IVO's
Algorithm 1.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

STREAM = (1,)  # what keeps these random numbers apart from all others that are made from a seed


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
