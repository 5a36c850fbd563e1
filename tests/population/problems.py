"""A small tree and an off-reference point on it, for tests of the exact expectations."""

from __future__ import annotations

import torch

from gnivo_edu import exact
from gnivo_edu.population import Answers, point_at
from toy_envs import TokenMDP

ALPHA = 0.6
REFERENCE = exact.random_reference(3, 2, seed=4)


def small_mdp() -> TokenMDP:
    """Seven answers of one to two tokens over three actions, one of which ends."""
    return TokenMDP(
        3,
        2,
        reward=lambda tokens, lengths: (7 * tokens[:, 0] + 3 * tokens[:, -1]) % 5 / 4,
        eos_token_id=2,
    )


def moved(answers: Answers, seed: int = 0):
    """A point off the reference, with a critic and an explicit value that are wrong."""
    g = torch.Generator().manual_seed(seed)
    point = point_at(answers, ALPHA)
    noise = {
        name: torch.randn(getattr(point, name).shape, generator=g, dtype=torch.float64)
        for name in point.FIELDS
    }
    return type(point)(
        **{name: getattr(point, name) + 0.3 * noise[name] for name in point.FIELDS},
        log_z=point.log_z + 0.1,
    )
