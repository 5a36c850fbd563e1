"""Rewards turned round in training: a grader that errs, drawn anew at every step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.training.config import TrainConfig
from toy_envs.noisy_reward import flipped, flips


def noisy_rewards(
    rewards: Float[Tensor, "N K"], config: TrainConfig, step: int, first: int = 0
) -> Float[Tensor, "N K"]:
    """1 - R for the groups or the answers of a step that `reward_noise` strikes, R for the others.

    `first`: the place of the first of these groups among all of the step. A decision is a hash of
    (seed, step, place), and of the number in the group with reward_noise_of="answer": neither
    micro-batches nor processes nor a resume change it, and two groups to one prompt have one each.
    Source: VIMPO's recipe, mode "group_flip_binary_score", whose hash is of (seed, step, id of the
    prompt in its batch). Raises ValueError on rewards outside 0..1.

    >>> config = TrainConfig(reward_noise=0.5)
    >>> noisy_rewards(torch.tensor([[1.0, 0.0, 0.0]]).repeat(4, 1), config, step=1)[:, 0].tolist()
    [0.0, 1.0, 0.0, 0.0]
    """
    N, K = rewards.shape
    places = [(config.seed, step, first + n) for n in range(N)]
    if config.reward_noise_of == "group":
        flip = flips(places, config.reward_noise)[:, None]
    else:
        keys = [(*place, k) for place in places for k in range(K)]
        flip = flips(keys, config.reward_noise).reshape(N, K)
    return torch.from_numpy(flipped(rewards.numpy(), flip))
