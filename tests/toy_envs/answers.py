"""Every answer of a small environment, with its reward."""

from itertools import product

import numpy as np

from toy_envs import TokenMDP


def every_answer(env: TokenMDP) -> tuple[np.ndarray, np.ndarray]:
    """All V**T rows of tokens; the environment itself stops at the first end-of-sequence token."""
    tokens = np.array(list(product(range(env.vocab_size), repeat=env.horizon)))
    return tokens, env.reward(tokens, np.full(len(tokens), env.horizon))
