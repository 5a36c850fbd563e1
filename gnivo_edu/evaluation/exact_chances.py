"""The chance of a right answer, by enumeration: what every estimate of Pass@k is an estimate of."""

from __future__ import annotations

from typing import Any

import numpy as np

from gnivo_edu.evaluation.pass_at_k import Array
from gnivo_edu.exact import enumerate_tree


def exact_chances(
    policy: Any, task: Any, temperature: float = 1.0, solved_at: float = 1.0
) -> Array:
    """The chance that one completion is right, for every prompt of a finite token MDP, float64 [N].

    Every answer is listed. The policy is any causal LM; every step's law is raised to
    1/`temperature` and normalised, as the sampler does. Right: a reward of at least `solved_at`.
    With p a chance, Pass@k is 1 - (1 - p)^k. Raises ValueError on a temperature that is not above
    0, and where the answers are too many to list.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import TokenMDP
    >>> coin = TokenMDP(2, 1, reward=lambda tokens, lengths: tokens[:, 0])
    >>> policy = TabularLM.from_tables(coin, [np.log([[0.2, 0.8]])])
    >>> exact_chances(policy, coin).round(4), exact_chances(policy, coin, temperature=0.5).round(4)
    (array([0.8]), array([0.9412]))
    """
    from gnivo_edu.policies import tabulate

    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    found = []
    for i in range(len(task.prompts())):
        tables = []
        for table in tabulate(policy, task, i):
            warmed = table / temperature
            tables.append(warmed - np.logaddexp.reduce(warmed, axis=1, keepdims=True))
        tree = enumerate_tree(task, tables, i)
        found.append(float(np.exp(tree.prefix_logps[-1])[tree.rewards >= solved_at].sum()))
    return np.array(found)
