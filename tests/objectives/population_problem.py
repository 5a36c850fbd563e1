"""A small token MDP, its optimum by brute force, and the exact minimiser of any objective on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import random_reference
from gnivo_edu.objectives import LossOutput
from gnivo_edu.policies import TabularLM, all_groups, make_group_batch, tabulate
from toy_envs import TokenMDP

Array = NDArray[np.float64]


@dataclass
class Problem:
    """A token MDP, its reference tables and alpha; laws of prefixes by brute force over complete
    answers.
    """

    mdp: TokenMDP
    reference: list[Array]
    alpha: float

    def law(self, tables: list[Array]) -> Array:
        """Probabilities [V**T] of complete answers, shorter ones padded with EOS."""
        logp = np.zeros(1)
        for t, table in enumerate(tables):
            table = table.copy()
            if self.mdp.eos_token_id is not None:
                for number in range(len(table)):
                    if self.mdp.eos_token_id in self.digits(number, t):
                        table[number] = np.where(
                            np.arange(self.mdp.vocab_size) == self.mdp.eos_token_id, 0, -np.inf
                        )
            logp = (logp[:, None] + table).ravel()
        return np.exp(logp)

    def digits(self, number: int, count: int) -> list[int]:
        return [
            number // self.mdp.vocab_size**d % self.mdp.vocab_size for d in reversed(range(count))
        ]

    def optimum(self) -> Array:
        """pi* = pi_ref e^{R/alpha}/Z over complete answers."""
        weight = self.law(self.reference)
        for number in np.flatnonzero(weight):
            answer = self.digits(int(number), self.mdp.horizon)
            eos = self.mdp.eos_token_id
            length = answer.index(eos) + 1 if eos in answer else len(answer)
            weight[number] *= np.exp(self.mdp.reward([answer], [length])[0] / self.alpha)
        return weight / weight.sum()

    def tv(self, tables: list[Array], depth: int | None = None) -> float:
        """Total variation from pi*, of complete answers or of prefixes of `depth` tokens."""
        gap = self.law(tables) - self.optimum()
        if depth is not None:
            gap = gap.reshape(self.mdp.vocab_size**depth, -1).sum(1)
        return float(np.abs(gap).sum() / 2)

    def batch(self, policy: TabularLM, group_size: int) -> GroupBatch:
        """Every group with its probability under the reference."""
        return make_group_batch(policy, self.mdp, all_groups(self.mdp, self.reference, group_size))

    def minimise(
        self,
        objective: Callable[..., LossOutput],
        group_size: int,
        change: dict[str, Any] | None = None,
        **settings: Any,
    ) -> list[Array]:
        """Tables of the policy that minimises the exact expectation of an objective, from the
        reference on.

        The policy is free per prefix; the groups, made once, hold places in its table of complete
        answers."""
        policy = TabularLM.from_tables(self.mdp, self.reference)
        record = self.batch(policy, group_size)
        record = replace(record, policy_logps=record.policy_logps.detach(), **(change or {}))
        samples = all_groups(self.mdp, self.reference, 1)
        place = _places(
            all_groups(self.mdp, self.reference, group_size).tokens, samples.tokens[:, 0]
        )
        optimiser = torch.optim.LBFGS(
            policy.parameters(),
            max_iter=400,
            tolerance_grad=1e-11,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> torch.Tensor:
            optimiser.zero_grad()
            logps = make_group_batch(policy, self.mdp, samples).policy_logps[:, 0]
            loss = objective(
                replace(record, policy_logps=logps[place]), alpha=self.alpha, **settings
            ).loss
            loss.backward()
            return loss

        optimiser.step(closure)
        return tabulate(policy, self.mdp)


def _places(tokens: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Number of the answer, [N, K], of every response."""
    return (tokens[..., None, :] == answers).all(-1).int().argmax(-1)


def make_problem(
    vocab_size: int, horizon: int, eos: int | None, alpha: float = 0.5, seed: int = 5
) -> Problem:
    rewards = np.random.default_rng(seed).random(vocab_size**horizon)
    base = vocab_size ** np.arange(horizon)

    def reward(tokens: Array, lengths: Array) -> Array:
        return rewards[
            (np.where(tokens >= vocab_size, 0 if eos is None else eos, tokens) * base).sum(1)
        ]

    mdp = TokenMDP(vocab_size, horizon, reward, eos_token_id=eos)
    return Problem(mdp, random_reference(vocab_size, horizon, seed), alpha)
