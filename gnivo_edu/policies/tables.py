"""Any causal LM on a finite token MDP, written out as tables."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gnivo_edu.exact.tree import check_size, digits
from gnivo_edu.policies.scoring import evaluating, next_token_logps
from toy_envs import TokenMDP


def tabulate(
    policy: nn.Module, mdp: TokenMDP, prompt_index: int = 0, batch_size: int = 1024
) -> list[NDArray[np.float64]]:
    """Tables [V**t, V], t = 0..T-1, of the policy's log-probabilities, nats, float64.

    Only the V**(T-1) longest prefixes are fed, `batch_size` at a time; one forward pass gives all
    their shorter prefixes too. Logits are cast to float64, then renormalised over the V actions.
    Rows of finished prefixes are absorbing: 0 at the end-of-sequence token, -inf elsewhere. Raises
    ValueError if the vocabulary is too small, or if the tables would take more than 2 GiB.

    >>> from gnivo_edu.policies import TabularLM
    >>> mdp = TokenMDP(2, 2, eos_token_id=1)
    >>> np.exp(tabulate(TabularLM.from_mdp(mdp), mdp)[1])
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    V, T, eos = mdp.vocab_size, mdp.horizon, mdp.eos_token_id
    check_size(V, T)
    tables = [np.empty((V**t, V)) for t in range(T)]
    with evaluating(policy), torch.inference_mode():
        for start in range(0, V ** (T - 1), batch_size):
            numbers = np.arange(start, min(start + batch_size, V ** (T - 1)))
            prefixes = torch.from_numpy(digits(numbers, V, T - 1))
            logps = (
                next_token_logps(policy, mdp, prefixes, prompt_index, dtype=torch.float64)
                .cpu()
                .numpy()
            )
            for t in range(T):
                # A prefix of t tokens is read off its first extension, the one that goes on with
                # zeros.
                first = numbers % V ** (T - 1 - t) == 0
                tables[t][numbers[first] // V ** (T - 1 - t)] = logps[first, t]
    finished = np.zeros(1, dtype=bool)
    for table in tables:
        table[finished] = np.where(np.arange(V) == eos, 0.0, -np.inf)
        finished = (finished[:, None] | (np.arange(V) == eos)).ravel()
    return tables
