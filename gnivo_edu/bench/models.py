"""What the benchmarks of training share: Qwen2 models with random weights, and prompts of random
tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toy_envs import TokenMDP

ACTIONS = 2048  # and one more id, for padding
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "heads": 2},
    "0.8M": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "heads": 4},
    "4M": {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "heads": 8},
    "30M": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 9, "heads": 8},
    # Those of Qwen2.5-0.5B and of Qwen2.5-1.5B.
    "0.5B": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "heads": 14},
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "heads": 12},
}
TWO_KEYS = ("0.5B", "1.5B")  # sizes with two key-value heads; others have half as many as heads


def qwen2(size: str, positions: int, vocabulary: int = ACTIONS + 1) -> Any:
    """A Qwen2 of one of the `SIZES` with random weights, float32, its head tied to its
    embeddings; the last id of the vocabulary is for padding.

    >>> sum(p.numel() for p in qwen2("0.8M", positions=64).parameters())
    854272
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    numbers = dict(SIZES[size])
    heads = numbers.pop("heads")
    config = Qwen2Config(
        vocab_size=vocabulary,
        num_attention_heads=heads,
        num_key_value_heads=2 if size in TWO_KEYS else heads // 2,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=vocabulary - 1,
        **numbers,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen2ForCausalLM(config).eval()


class RandomPrompts(TokenMDP):
    """Random prompts of given lengths; answers all go to the horizon, unless `ends`: then about one
    token in 32 ends one. The reward is the share of even tokens.

    >>> task = RandomPrompts([3, 1], horizon=2)
    >>> task.prompt_mask().tolist()
    [[True, True, True], [False, False, True]]
    >>> task.reward(np.array([[4, 5]]), np.array([2])).tolist()
    [0.5]
    """

    name = "random prompts"

    def __init__(
        self, lengths: Sequence[int], horizon: int, ends: bool = False, actions: int = ACTIONS
    ) -> None:
        super().__init__(actions, horizon, reward=share_of_even)
        self.pad_token_id = actions
        self.eos_token_ids = tuple(range(actions // 32)) if ends else ()
        self._mask = np.arange(max(lengths)) >= max(lengths) - np.array(lengths)[:, None]
        drawn = np.random.default_rng(0).integers(actions // 32, actions, self._mask.shape)
        self._prompts = np.where(self._mask, drawn, self.pad_token_id)

    def prompt_mask(self) -> Any:
        """True at tokens of a prompt."""
        return self._mask


def share_of_even(tokens: Any, lengths: Any) -> Any:
    """Rewards [B] of answers [B, T].

    >>> share_of_even(np.array([[4, 5], [2, 9]]), np.array([2, 1])).tolist()
    [0.5, 1.0]
    """
    inside = np.arange(tokens.shape[1]) < lengths[:, None]
    return ((tokens % 2 == 0) & inside).sum(1) / np.maximum(lengths, 1)
