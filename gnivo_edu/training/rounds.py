"""What a moving reference does: exact minimisation in every round, against pi_n = pi_0 e^{nR/alpha}
/ Z_n.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gnivo_edu import exact
from gnivo_edu.machine import one_thread
from gnivo_edu.objectives import gnivo
from gnivo_edu.policies import TabularLM, all_groups, make_group_batch, tabulate
from gnivo_edu.training.algorithm1 import distance_from_key


@dataclass(frozen=True)
class ExactRound:
    """One refresh of the reference: `kl` and `value_error` (nats) of the fitted policy from pi_0
    e^{nR/alpha} / Z_n.

    `expected_reward` is that of the fitted policy, reward units; with every round it climbs towards
    the largest."""

    round: int
    kl: float
    value_error: float
    expected_reward: float


@one_thread()
def exact_rounds(mdp: Any, alpha: float, rounds: int = 3, group_size: int = 2) -> list[ExactRound]:
    """Minimise the exact GN-IVO loss over all groups, set pi_old <- pi_theta, and again.

    After n rounds pi_n = pi_0 e^{nR/alpha} / Z_n: without a KL to the initial model nothing stops
    the collapse on the best answer. Every K-tuple of answers enters with its probability, in
    float64, minimised by L-BFGS.

    >>> import toy_envs
    >>> last = exact_rounds(toy_envs.RandomTree(vocab_size=2, horizon=2), alpha=0.5, rounds=2)[-1]
    >>> last.round, last.kl < 1e-10, last.value_error < 1e-5
    (2, True, True)
    """
    policy = TabularLM.from_mdp(mdp)
    start = exact.enumerate_tree(mdp, tabulate(policy, mdp))
    done = []
    for n in range(1, rounds + 1):
        reference = tabulate(policy, mdp)
        samples = all_groups(mdp, reference, group_size=group_size)
        _minimise(policy, mdp, samples=samples, alpha=alpha)
        tables = tabulate(policy, mdp)
        kl, error = distance_from_key(tables, exact.solve(start, alpha / n))
        fitted = exact.enumerate_tree(mdp, tables)
        reward = float(np.exp(fitted.prefix_logps[-1]) @ fitted.rewards)
        done.append(ExactRound(n, kl, value_error=error, expected_reward=reward))
    return done


def _minimise(policy: TabularLM, mdp: Any, samples: Any, alpha: float) -> None:
    optimiser = torch.optim.LBFGS(
        policy.parameters(),
        lr=1.0,
        max_iter=1000,
        history_size=50,
        tolerance_grad=1e-13,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = gnivo(
            make_group_batch(policy, mdp, samples=samples), alpha=alpha, reward_max=1.0
        ).loss
        loss.backward()
        return loss

    optimiser.step(closure)
