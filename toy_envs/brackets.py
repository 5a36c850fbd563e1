"""Brackets: balanced answers of variable length, closed by an end-of-sequence token."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toy_envs.arguments import whole
from toy_envs.core import TokenMDP


class Brackets(TokenMDP):
    """Write balanced brackets and stop in time: when to end is a choice like any other.

    ## Description
    Tokens are "(", ")" and the end-of-sequence token, shown as ".". A closing bracket too many can
    never be mended; an open one can, as long as there is room.

    Question: is the end-of-sequence token credited as an action, and are answers of unequal length
    treated alike?

    Tags: sparse reward, variable length, point of no return.

    >>> answers = [[0, 1, 2, 0], [0, 0, 1, 2], [0, 0, 1, 1]]  # "()." "(()." and "(())"
    >>> Brackets().reward(answers, [3, 4, 4])
    array([1., 0., 0.])

    ## Action Space
    `Discrete(3)`: 0 opens, 1 closes, 2 (`eos_token_id`) ends the answer.

    ## Observation Space
    `MultiDiscrete`, int64 of length 1 + horizon: `bos_token_id`, the prefix, then `pad_token_id`.

    ## Starting State
    The empty prefix.

    ## Rewards
    1 for a balanced answer of at least one pair, closed by the end-of-sequence token; else 0. An
    answer cut off by the horizon earns 0, balanced or not.

    ## Episode End
    With the end-of-sequence token, or after `horizon` tokens.

    ## Information
    As for every TokenMDP: `action_mask`, `prefix`, `prompt_index`, `illegal_action`.

    ## Arguments
    `horizon` >= 3 (7), `render_mode`.

    ## Exact Optimum
    Under the uniform reference; log Z, KL and entropy in nats. At horizon 7 the rewarded answers
    are C(1) + C(2) + C(3) = 1 + 2 + 5, C the Catalan numbers.

    >>> from toy_envs import optimum
    >>> for alpha in (0.1, 1.0):
    ...     print(optimum(Brackets(), alpha))
    alpha 0.1: log Z = 6.9550, E[R] = 0.9991, KL = 3.0359, entropy = 0.8507
    alpha 1: log Z = 0.0785, E[R] = 0.1195, KL = 0.0410, entropy = 3.1212

    ## References
    Catalan numbers: OEIS A000108.

    ## Version History
    v0: first version.
    """

    def __init__(self, horizon: int = 7, render_mode: str | None = None) -> None:
        (horizon,) = whole(horizon=horizon)
        if horizon < 3:
            raise ValueError(
                f"horizon must be at least 3, room for one pair and its end, got {horizon}"
            )
        super().__init__(3, horizon, eos_token_id=2, vocabulary="().", render_mode=render_mode)

    def _score(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], *_: Any) -> ArrayLike:
        open_brackets = np.cumsum((tokens == 0).astype(np.int64) - (tokens == 1), axis=1)
        balanced = (open_brackets.min(axis=1) >= 0) & (open_brackets[:, -1] == 0)
        closed = (tokens == self.eos_token_id).any(axis=1)
        return balanced & closed & (lengths > 1)
