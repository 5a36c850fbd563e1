"""DigitSum: a graded reward that forgets the order of the tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toy_envs.arguments import whole
from toy_envs.core import TokenMDP


class DigitSum(TokenMDP):
    """Digits whose sum should hit a target: the nearer, the better.

    ## Description
    Tokens are the digits 0..V-1. The value of a prefix depends on its length and its sum alone, so
    many prefixes share one value.

    Question: do prefixes that are worth the same get the same value, and is partial success
    credited?

    Tags: graded reward, aliased prefixes, every step can still be mended.

    >>> DigitSum().reward([[3, 3, 3, 0, 0], [0, 3, 3, 0, 3], [0, 0, 0, 0, 0]], [5, 5, 5])
    array([1., 1., 0.])

    ## Action Space
    `Discrete(vocab_size)`: the digit to append.

    ## Observation Space
    `MultiDiscrete`, int64 of length 1 + horizon: `bos_token_id`, the prefix, then `pad_token_id`.

    ## Starting State
    The empty prefix.

    ## Rewards
    1 - |sum - target| / largest possible distance, in [0, 1]; 0 for an unfinished answer.

    ## Episode End
    After `horizon` tokens.

    ## Information
    As for every TokenMDP: `action_mask`, `prefix`, `prompt_index`, `illegal_action`.

    ## Arguments
    `vocab_size` in 2..10 (4), `horizon` (5), `target` in 0..(vocab_size - 1) * horizon (9),
    `render_mode`.

    ## Exact Optimum
    Under the uniform reference; log Z, KL and entropy in nats.

    >>> from toy_envs import optimum
    >>> for alpha in (0.1, 1.0):
    ...     print(optimum(DigitSum(), alpha))
    alpha 0.1: log Z = 8.5934, E[R] = 0.9303, KL = 0.7100, entropy = 6.2215
    alpha 1: log Z = 0.7586, E[R] = 0.7757, KL = 0.0171, entropy = 6.9144

    ## References
    Ours.

    ## Version History
    v0: first version.
    """

    def __init__(
        self, vocab_size: int = 4, horizon: int = 5, target: int = 9, render_mode: str | None = None
    ) -> None:
        vocab_size, horizon, target = whole(vocab_size=vocab_size, horizon=horizon, target=target)
        super().__init__(vocab_size, horizon, render_mode=render_mode)
        if not 2 <= vocab_size <= 10:
            raise ValueError(
                f"DigitSum writes digits: vocab_size must be in 2..10, got {vocab_size}"
            )
        largest = (vocab_size - 1) * horizon
        if not 0 <= target <= largest:
            raise ValueError(
                f"target must be a sum that can be reached, 0..{largest}, got {target}"
            )
        self.target = target
        self._largest_distance = max(target, largest - target)

    def _score(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], *_: Any) -> ArrayLike:
        # An unfinished answer's padding is counted in, but its reward is 0 all the same.
        distance = np.abs(tokens.sum(axis=1) - self.target)
        return np.where(lengths == self.horizon, 1 - distance / self._largest_distance, 0.0)
