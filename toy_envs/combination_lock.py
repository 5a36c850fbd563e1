"""CombinationLock: one rewarded answer among V**T."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toy_envs.arguments import whole
from toy_envs.core import Prefix, TokenMDP


class CombinationLock(TokenMDP):
    """A needle in a haystack: only the secret code opens the lock.

    ## Description
    The code, `horizon` tokens long, is drawn once from `code_seed`.

    Question: how far does credit reach, when every step must be right and nothing says which one
    was not? Under the uniform reference each right token multiplies the chance of success by V.

    Tags: sparse reward, exploration, all steps matter alike.

    >>> lock = CombinationLock()
    >>> lock.code
    (2, 1, 1, 0, 0)
    >>> lock.reward([lock.code, (0, 0, 0, 0, 0)], [5, 5])
    array([1., 0.])

    ## Action Space
    `Discrete(vocab_size)`: the token to append.

    ## Observation Space
    `MultiDiscrete`, int64 of length 1 + horizon: `bos_token_id`, the prefix, then `pad_token_id`.

    ## Starting State
    The empty prefix.

    ## Rewards
    1 for the code, else 0.

    ## Episode End
    After `horizon` tokens, whether or not the lock can still open.

    ## Information
    As for every TokenMDP: `action_mask`, `prefix`, `prompt_index`, `illegal_action`.

    ## Arguments
    `vocab_size` (3), `horizon` (5), `code_seed` >= 0 (0), `render_mode`.

    ## Exact Optimum
    Under the uniform reference log Z = log(1 + (e^{1/alpha} - 1)/V**T); log Z, KL and entropy in
    nats.

    >>> from toy_envs import optimum
    >>> for alpha in (0.1, 1.0):
    ...     print(optimum(CombinationLock(), alpha))
    alpha 0.1: log Z = 4.5179, E[R] = 0.9891, KL = 5.3735, entropy = 0.1196
    alpha 1: log Z = 0.0070, E[R] = 0.0111, KL = 0.0041, entropy = 5.4890

    ## References
    The combination-lock family of exploration problems; compare `deep_sea` in bsuite (Osband et al.
    2020, arXiv:1908.03568).

    ## Version History
    v0: first version.
    """

    def __init__(
        self,
        vocab_size: int = 3,
        horizon: int = 5,
        code_seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        vocab_size, horizon, code_seed = whole(
            vocab_size=vocab_size, horizon=horizon, code_seed=code_seed
        )
        super().__init__(vocab_size, horizon, render_mode=render_mode)
        if code_seed < 0:
            raise ValueError(f"code_seed must be 0 or more, got {code_seed}")
        code = np.random.default_rng(code_seed).integers(vocab_size, size=horizon)
        self.code: Prefix = tuple(code.tolist())

    def _score(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], *_: Any) -> ArrayLike:
        return (tokens == self.code).all(axis=1)
