"""Prompts to complete, policies for them, and what a model was run on."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from gnivo_edu.policies import TabularLM
from tests.training.small_transformer import RMSNorm, small_transformer
from toy_envs import TokenMDP

MDP = TokenMDP(
    3, 4, reward=lambda tokens, lengths: lengths / 4, eos_token_id=2, prompts=[[3, 0], [3, 1]]
)


def policy_of(kind: str, mdp: TokenMDP = MDP) -> nn.Module:
    return TabularLM.from_mdp(mdp, seed=1) if kind == "table" else small_transformer(mdp, kind)


class Padded:
    """Prompts of 1, 4 and 2 tokens over 6 actions, padded on the left; two ids end a completion."""

    vocab_size, horizon, pad_token_id, eos_token_ids = 6, 5, 7, (2, 4)

    def prompts(self) -> Any:
        return np.array([[7, 7, 7, 6], [6, 1, 0, 3], [7, 7, 6, 5]])

    def prompt_mask(self) -> Any:
        return self.prompts() != 7


def sizes_of(task: Any) -> TokenMDP:
    return TokenMDP(task.vocab_size, task.horizon)


class Counting:
    """Counts the rows and tokens that a model is run on."""

    def __init__(self, model: nn.Module) -> None:
        self.shapes: list[tuple[int, int]] = []
        self.modes: list[bool] = []
        model.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, model: nn.Module, args: Any, kwargs: dict[str, Tensor]) -> None:
        self.shapes.append(tuple(kwargs["input_ids"].shape))
        self.modes.append(model.training)


def in_float64(model: nn.Module) -> nn.Module:
    """All of it, the norms too, which in the library work in float32."""
    for name, module in list(model.double().named_modules()):
        if type(module).__name__.endswith("RMSNorm"):
            model.set_submodule(name, RMSNorm(module.weight, module.variance_epsilon))
    return model.eval()
