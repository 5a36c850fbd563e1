"""RandomTree: a reward of its own for every answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toy_envs.arguments import whole
from toy_envs.core import TokenMDP


class RandomTree(TokenMDP):
    """Every complete answer has its own random reward, so nothing is there to generalise from.

    ## Description
    The V**T rewards are drawn once, independent and uniform on [0, 1], from `tree_seed`.

    Question: is every prefix given its own value, where neighbours tell nothing about one another?

    Tags: dense reward, no structure, exactness.

    >>> RandomTree(vocab_size=2, horizon=2).reward([[0, 0], [0, 1], [1, 0]], [2, 2, 2]).round(3)
    array([0.637, 0.27 , 0.041])

    ## Action Space
    `Discrete(vocab_size)`: the token to append.

    ## Observation Space
    `MultiDiscrete`, int64 of length 1 + horizon: `bos_token_id`, the prefix, then `pad_token_id`.

    ## Starting State
    The empty prefix.

    ## Rewards
    The answer's own number in [0, 1]; 0 for an unfinished answer.

    ## Episode End
    After `horizon` tokens.

    ## Information
    As for every TokenMDP: `action_mask`, `prefix`, `prompt_index`, `illegal_action`.

    ## Arguments
    `vocab_size` (4), `horizon` (4), `tree_seed` >= 0 (0), `render_mode`. At most 2**24 answers,
    else ValueError.

    ## Exact Optimum
    Under the uniform reference; log Z, KL and entropy in nats.

    >>> from toy_envs import optimum
    >>> for alpha in (0.1, 1.0):
    ...     print(optimum(RandomTree(), alpha))
    alpha 0.1: log Z = 7.9743, E[R] = 0.9131, KL = 1.1563, entropy = 4.3889
    alpha 1: log Z = 0.5799, E[R] = 0.6222, KL = 0.0422, entropy = 5.5030

    ## References
    Ours; an unstructured control in the spirit of bsuite (Osband et al. 2020, arXiv:1908.03568).

    ## Version History
    v0: first version.
    """

    def __init__(
        self,
        vocab_size: int = 4,
        horizon: int = 4,
        tree_seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        vocab_size, horizon, tree_seed = whole(
            vocab_size=vocab_size, horizon=horizon, tree_seed=tree_seed
        )
        super().__init__(vocab_size, horizon, render_mode=render_mode)
        if tree_seed < 0:
            raise ValueError(f"tree_seed must be 0 or more, got {tree_seed}")
        if horizon * math.log2(vocab_size) > 24:
            raise ValueError(
                f"{vocab_size}**{horizon} answers are more than 2**24; make the tree smaller"
            )
        self._rewards = np.random.default_rng(tree_seed).random(vocab_size**horizon)
        self._places = vocab_size ** np.arange(horizon - 1, -1, -1)

    def _score(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], *_: Any) -> ArrayLike:
        complete = lengths == self.horizon
        # The number of an answer, its tokens read as digits in base V; 0 for an unfinished one.
        leaves = np.where(complete[:, None], tokens, 0) @ self._places
        return np.where(complete, self._rewards[leaves], 0.0)
