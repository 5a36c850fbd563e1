"""What a learned critic says along answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from gnivo_edu.exact import Array
from gnivo_edu.policies.critic import Critic
from toy_envs import TokenMDP


def critic_values(
    critic: Critic,
    policy: nn.Module,
    task: TokenMDP,
    answers: Sequence[Sequence[int]],
    rewards: Array,
    alpha: float,
    prompt_index: int = 0,
) -> list[Array]:
    """The critic's values along complete answers to one prompt, in nats: reward units over
    `alpha`. Of an answer of L tokens float64 [L + 1], before each token, and last the reward
    itself, which is no guess any more.
    """
    lengths = torch.tensor([len(answer) for answer in answers])
    tokens = torch.zeros(len(answers), int(lengths.max()), dtype=torch.long)
    for row, answer in zip(tokens, answers, strict=True):
        row[: len(answer)] = torch.tensor(answer)
    with torch.no_grad():
        said = critic(policy, task, tokens, lengths, prompt_index).double().cpu().numpy()
    return [
        np.append(values[: len(answer)], reward) / alpha
        for values, answer, reward in zip(said, answers, rewards, strict=True)
    ]
