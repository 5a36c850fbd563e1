"""CriticalStep: one step decides, the others are noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toy_envs.arguments import whole
from toy_envs.core import TokenMDP


class CriticalStep(TokenMDP):
    """One decisive step among many that do not matter.

    ## Description
    The reward depends on the token at `critical_step` alone (steps are counted from 1). Under a
    reference that chooses its steps independently, the exact credit of every other step is 0.

    Question: is the credit put on the step that decides, and on no other?

    Tags: sparse reward, localised credit, distractors.

    >>> CriticalStep().reward([[0, 0, 1, 0, 0], [1, 1, 0, 1, 1]], [5, 5])
    array([1., 0.])

    ## Action Space
    `Discrete(vocab_size)`: the token to append.

    ## Observation Space
    `MultiDiscrete`, int64 of length 1 + horizon: `bos_token_id`, the prefix, then `pad_token_id`.

    ## Starting State
    The empty prefix.

    ## Rewards
    1 if the token at `critical_step` is `right_token`, else 0; 0 for an unfinished answer.

    ## Episode End
    After `horizon` tokens.

    ## Information
    As for every TokenMDP: `action_mask`, `prefix`, `prompt_index`, `illegal_action`.

    ## Arguments
    `vocab_size` >= 2 (3), `horizon` (5), `critical_step` in 1..horizon (3), `right_token` (1),
    `render_mode`.

    ## Exact Optimum
    Under the uniform reference log Z = log(1 + (e^{1/alpha} - 1)/V), whatever the horizon; log Z,
    KL and entropy in nats.

    >>> from toy_envs import optimum
    >>> for alpha in (0.1, 1.0):
    ...     print(optimum(CriticalStep(), alpha))
    alpha 0.1: log Z = 8.9015, E[R] = 0.9999, KL = 1.0976, entropy = 4.3954
    alpha 1: log Z = 0.4528, E[R] = 0.5761, KL = 0.1233, entropy = 5.3698

    ## References
    Ours; compare `umbrella_chain` in bsuite (Osband et al. 2020, arXiv:1908.03568).

    ## Version History
    v0: first version.
    """

    def __init__(
        self,
        vocab_size: int = 3,
        horizon: int = 5,
        critical_step: int = 3,
        right_token: int = 1,
        render_mode: str | None = None,
    ) -> None:
        critical_step, right_token = whole(critical_step=critical_step, right_token=right_token)
        super().__init__(vocab_size, horizon, render_mode=render_mode)
        if vocab_size < 2:
            raise ValueError(
                f"vocab_size must be at least 2, or nothing is decided, got {vocab_size}"
            )
        if not 1 <= critical_step <= horizon:
            raise ValueError(f"critical_step must be in 1..{horizon}, got {critical_step}")
        if not 0 <= right_token < vocab_size:
            raise ValueError(f"right_token must be in 0..{vocab_size - 1}, got {right_token}")
        self.critical_step = critical_step
        self.right_token = right_token

    def _score(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], *_: Any) -> ArrayLike:
        return (tokens[:, self.critical_step - 1] == self.right_token) & (lengths == self.horizon)
