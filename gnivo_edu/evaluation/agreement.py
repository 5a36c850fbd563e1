"""Implicit values of a policy against the exact ones of its problem: a rank correlation, an RMS,
and a control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gnivo_edu import exact
from gnivo_edu.exact import Array
from gnivo_edu.exact.theorems import prefix_log_law
from gnivo_edu.policies.scoring import tabulate
from gnivo_edu.statistics import rank_correlation


@dataclass(frozen=True, kw_only=True, eq=False)
class ValueAgreement:
    """Implicit and exact values of n prefixes, float64 [n], nats.

    `implicit` is log pi/pi_ref of the prefix plus the exact log Z of its prompt, `exact` is V = log
    E_ref[e^{R/alpha}]. `prompt`, `depth` (tokens) int64 [n]; `prefix` the prefix's number in base V
    at that depth; `logp` its log-probability under the reference. `shuffled` are the implicit
    values dealt out anew among the prefixes of one prompt and depth: what depth alone explains.
    """

    implicit: Array
    exact: Array
    shuffled: Array
    prompt: NDArray[np.int64]
    depth: NDArray[np.int64]
    prefix: NDArray[np.int64]
    logp: Array

    @cached_property
    def rank_correlation(self) -> float:
        """Spearman's rank correlation of implicit and exact values."""
        return rank_correlation(self.implicit, self.exact)

    @cached_property
    def rms(self) -> float:
        """Root mean square of implicit minus exact, nats; every prefix counts the same."""
        return _rms(self.implicit - self.exact)

    @cached_property
    def shuffled_rank_correlation(self) -> float:
        """The control: 0 where the depth says nothing about the value."""
        return rank_correlation(self.shuffled, self.exact)

    @cached_property
    def shuffled_rms(self) -> float:
        """The control, nats."""
        return _rms(self.shuffled - self.exact)


def value_agreement(
    policy: nn.Module,
    reference: nn.Module,
    task: Any,
    alpha: float,
    prompts: Sequence[int] | None = None,
    seed: int = 0,
) -> ValueAgreement:
    """Enumerate a task under the reference and compare its values with those that a policy acts on.

        implicit  log pi(s_t)/pi_ref(s_t) + log Z
        exact     V(s_t) = log E_ref[e^{R/alpha} given s_t]

    Both are equal at every prefix if and only if the policy is optimal for (reference, R, alpha)
    (Theorem 1 of GN-IVO). Compared are all prefixes of 1..T tokens that the reference can write,
    complete answers among them, each once. `policy`, `reference`: causal LMs; `task`: a token MDP
    with V**T sequences that can be enumerated; `prompts`: numbers of its prompts, all by default;
    `seed` deals out the control. Raises ValueError on alpha <= 0, on an unknown prompt, on prompts
    of different lengths (their tables cannot be written out) and on a task that is too large.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import RandomTree
    >>> mdp = RandomTree(vocab_size=2, horizon=3)
    >>> reference = TabularLM.from_mdp(mdp, seed=0)
    >>> key = exact.solve(exact.enumerate_tree(mdp, tabulate(reference, mdp)), alpha=0.5)
    >>> optimal = TabularLM.from_tables(mdp, key.optimal_step_logps)
    >>> values = value_agreement(optimal, reference, task=mdp, alpha=0.5)
    >>> len(values.exact), round(values.rank_correlation, 12)
    (14, 1.0)
    >>> values.rms < 1e-12, values.shuffled_rms > 0.1
    (True, True)
    """
    keys = answer_keys(reference, task, alpha=alpha, prompts=prompts)
    return agreement_with(policy, task, keys=keys, seed=seed)


def answer_keys(
    reference: nn.Module, task: Any, alpha: float, prompts: Sequence[int] | None = None
) -> list[exact.Solution]:
    """The exact solution of each prompt under a reference: what stays the same while a policy
    learns.
    """
    count = len(task.prompts())
    index = list(range(count)) if prompts is None else [int(i) for i in prompts]
    if not index or not all(0 <= i < count for i in index):
        raise ValueError(f"prompts must be in 0..{count - 1}, got {index[:20]}")
    trees = (
        exact.enumerate_tree(task, tabulate(reference, task, prompt_index=i), prompt_index=i)
        for i in index
    )
    return [exact.solve(tree, alpha) for tree in trees]


def agreement_with(
    policy: nn.Module, task: Any, keys: Sequence[exact.Solution], seed: int = 0
) -> ValueAgreement:
    """`value_agreement` with the answer keys at hand."""
    rng = np.random.default_rng(seed)
    parts: list[dict[str, Any]] = []
    for key in keys:
        tree = key.tree
        law = prefix_log_law(tabulate(policy, task, prompt_index=tree.prompt_index))
        ongoing = np.ones(1, dtype=bool)  # prefixes of t - 1 tokens after which something is chosen
        for t in range(1, tree.horizon + 1):
            chosen = np.repeat(ongoing, tree.vocab_size)
            prefix = tree.reachable(t)
            prefix = prefix[chosen[prefix]]
            logp = tree.prefix_logps[t][prefix]
            implicit = law[t][prefix] - logp + key.log_z
            parts.append(
                {
                    "implicit": implicit,
                    "exact": key.values[t][prefix],
                    "shuffled": rng.permutation(implicit),
                    "prompt": np.full(len(prefix), tree.prompt_index),
                    "depth": np.full(len(prefix), t),
                    "prefix": prefix,
                    "logp": logp,
                }
            )
            # An answer that has ended is one prefix, not one more at every depth that follows.
            ongoing = chosen & (np.arange(len(chosen)) % tree.vocab_size != tree.eos_token_id)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return ValueAgreement(**columns)


def _rms(gap: Array) -> float:
    return float(np.sqrt((gap**2).mean()))
