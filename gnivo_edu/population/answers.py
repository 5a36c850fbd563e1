"""The complete answers of a tree as tensors; a policy is a row of log-probabilities a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gnivo_edu.exact.tree import (
    Tables,
    TokenTree,
    answer_lengths,
    digits,
    enumerate_tree,
    random_reference,
)
from toy_envs import TokenMDP


@dataclass(frozen=True, eq=False)
class Answers:
    """Every answer that has positive probability under a tree's reference, float64.

    n answers, S states (unfinished prefixes that can be reached), V actions, T the horizon. A
    policy here is a tensor [S, V] of log-probabilities, nats, -inf where the reference is -inf.

    `tokens` [n, T]; `lengths` [n]; `rewards` [n]; `states` [n, T], the state before each token (0
    after the end); `ends` [n, T], the prefix after each token (a finished answer is absorbing: it
    stays where it is), P of them; `depths` [S], tokens before the state; `reference` [S, V].

    >>> from gnivo_edu.exact import enumerate_tree_from_rewards
    >>> tree = enumerate_tree_from_rewards([0, 0, 0, 1], vocab_size=2)
    >>> answers = Answers.of(tree)
    >>> answers.states.tolist(), answers.law(answers.reference).tolist()
    ([[0, 1], [0, 1], [0, 2], [0, 2]], [0.25, 0.25, 0.25, 0.25])
    """

    tree: TokenTree
    tokens: Int[Tensor, "n T"]
    lengths: Int[Tensor, " n"]
    rewards: Float[Tensor, " n"]
    states: Int[Tensor, "n T"]
    ends: Int[Tensor, "n T"]
    depths: Int[Tensor, " S"]
    reference: Float[Tensor, "S V"]

    @classmethod
    def of(cls, tree: TokenTree) -> Answers:
        """Read off an enumerated tree."""
        V, T = tree.vocab_size, tree.horizon
        numbers = tree.reachable(T)
        tokens = digits(numbers, V, count=T)
        lengths = answer_lengths(tokens, tree.eos_token_id)
        # The prefix of t tokens of answer i is the number i // V^(T - t) of its depth, in base V.
        # Depths are laid out one after the other, so that depth and number make one integer.
        offsets = np.concatenate([[0], np.cumsum([V**t for t in range(T + 1)])])
        t = np.arange(T)
        inside = t < lengths[:, None]
        before = offsets[t] + numbers[:, None] // V ** (T - t)
        after = offsets[t + 1] + numbers[:, None] // V ** (T - t - 1)
        # Only prefixes that an answer passes through are states; they are numbered in this order.
        prefixes, compact = np.unique(before[inside], return_inverse=True)
        states = np.zeros((len(numbers), T), dtype=np.int64)
        states[inside] = compact
        ended = np.take_along_axis(after, (lengths - 1)[:, None], axis=1)
        _, ends = np.unique(np.where(inside, after, ended), return_inverse=True)
        depths = np.searchsorted(offsets, prefixes, side="right") - 1
        rows = [tree.step_logps[d][k - offsets[d]] for d, k in zip(depths, prefixes, strict=True)]
        return cls(
            tree=tree,
            tokens=torch.from_numpy(tokens),
            lengths=torch.from_numpy(lengths),
            rewards=torch.from_numpy(tree.rewards[numbers]),
            states=torch.from_numpy(states),
            ends=torch.from_numpy(ends.reshape(len(numbers), T)),
            depths=torch.from_numpy(depths),
            reference=torch.from_numpy(np.stack(rows)),
        )

    @cached_property
    def mask(self) -> Bool[Tensor, "n T"]:
        """Ones, then zeros, made from the lengths."""
        return torch.arange(self.tokens.shape[1]) < self.lengths[:, None]

    @cached_property
    def legal(self) -> Bool[Tensor, "S V"]:
        """Actions that the reference can take."""
        return self.reference > -torch.inf

    @property
    def num_ends(self) -> int:
        """P, the number of prefixes of at least one token."""
        return int(self.ends.max()) + 1

    def policy(self, logits: Float[Tensor, "S V"]) -> Float[Tensor, "S V"]:
        """Log-probabilities from logits, over the legal actions; differentiable."""
        return logits.masked_fill(~self.legal, -torch.inf).log_softmax(-1)

    def token_logps(self, policy: Float[Tensor, "S V"]) -> Float[Tensor, "n T"]:
        """log pi of each token of each answer, nats; 0 after the end; differentiable."""
        return policy[self.states, self.tokens].masked_fill(~self.mask, 0.0)

    def law(self, policy: Float[Tensor, "S V"]) -> Float[Tensor, " n"]:
        """Probability of each answer."""
        return self.token_logps(policy).sum(-1).exp()

    def by_token(self, x: Float[Tensor, " n"] | Float[Tensor, "n T"]) -> Float[Tensor, "S V"]:
        """Sum of x, one number an answer or one a token, over the answers that take an action in a
        state; differentiable.
        """
        place = (self.states[self.mask], self.tokens[self.mask])
        per_token = x.view(len(x), -1).expand_as(self.mask)[self.mask]
        return torch.zeros_like(self.reference).index_put(place, per_token, accumulate=True)

    def from_law(self, law: Float[Tensor, " n"]) -> Float[Tensor, "S V"]:
        """The policy with this law of answers; states that it never reaches keep the reference."""
        # pi(a | s) is the mass of the answers that take a in s, over that of those that pass s.
        mass = self.by_token(law)
        total = mass.sum(-1, keepdim=True)
        return torch.where(total > 0, (mass / total).log(), self.reference)

    def tilted(self, rewards_in_nats: Float[Tensor, " n"]) -> Float[Tensor, "S V"]:
        """The policy pi_ref(y) e^{x(y)}/Z of a score x of answers, nats: pi* for x = R/alpha."""
        logs = self.token_logps(self.reference).sum(-1) + rewards_in_nats
        return self.from_law(logs.softmax(0))

    def from_tables(self, tables: Tables) -> Float[Tensor, "S V"]:
        """The policy of tables [V**t, V]; ValueError if an action is outside the reference's."""
        rows = np.stack([tables[d][k] for d, k in self.state_numbers])
        policy = torch.from_numpy(rows).double()
        if bool((policy.masked_fill(self.legal, -torch.inf) > -torch.inf).any()):
            raise ValueError(
                "the policy gives probability to tokens to which the reference gives none"
            )
        return policy

    def to_tables(self, policy: Float[Tensor, "S V"]) -> Tables:
        """Tables [V**t, V] of log-probabilities, t = 0..T-1; the reference's where none passes."""
        tables = [table.copy() for table in self.tree.step_logps]
        for row, (d, k) in zip(policy.detach().numpy(), self.state_numbers, strict=True):
            tables[d][k] = row
        return tables

    @cached_property
    def state_numbers(self) -> list[tuple[int, int]]:
        """Depth and number of each state, its place in the tree's tables and values."""
        return self._places(self.states, shift=0)

    @cached_property
    def end_numbers(self) -> list[tuple[int, int]]:
        """Depth and number of each prefix of at least one token, none of them after an end."""
        return self._places(self.ends, shift=1)

    def _places(self, index: Int[Tensor, "n T"], shift: int) -> list[tuple[int, int]]:
        places = {
            int(index[i, t]): self.tree.index(self.tokens[i, : t + shift].tolist())
            for i, t in self.mask.nonzero().tolist()
        }
        return [places[i] for i in range(len(places))]

    def entropy(self, policy: Float[Tensor, "S V"]) -> Float[Tensor, " S"]:
        """Entropy of the next token in each state, nats; differentiable."""
        return -(policy.exp() * policy.masked_fill(~self.legal, 0.0)).sum(-1)

    def kl(
        self, policy: Float[Tensor, "S V"], other: Float[Tensor, "S V"] | None = None
    ) -> Float[Tensor, " S"]:
        """KL(policy || other), by default the reference, of the next token in each state, nats."""
        ratio = policy - (self.reference if other is None else other)
        return (policy.exp() * ratio.masked_fill(~self.legal, 0.0)).sum(-1)

    def visits(self, policy: Float[Tensor, "S V"]) -> Float[Tensor, " S"]:
        """Probability of passing through each state: its occupancy, since no state is met twice."""
        return self.by_token(self.law(policy)).sum(-1)


def ended_answers(vocab_size: int, rewards: Sequence[float]) -> Answers:
    """All answers of at most three tokens, the last of which ends one, under a random reference.

    `rewards`: in the order of `TokenTree.answers`; 15 of three tokens, 4 of two.
    """
    mdp = TokenMDP(
        vocab_size,
        3,
        reward=lambda tokens, lengths: np.zeros(len(tokens)),
        eos_token_id=vocab_size - 1,
    )
    tree = enumerate_tree(mdp, random_reference(vocab_size, 3, seed=1))
    tree.rewards[tree.reachable(3)] = rewards
    return Answers.of(tree)


def total_variation(p: Float[Tensor, " n"], q: Float[Tensor, " n"]) -> float:
    """Half the sum of |p - q|."""
    return float((p - q).abs().sum() / 2)


def divergence(p: Float[Tensor, " n"], q: Float[Tensor, " n"]) -> float:
    """KL(p || q), nats; terms with p = 0 are 0."""
    return max(0.0, float(torch.where(p > 0, p * (p.clamp(min=1e-300) / q).log(), 0.0).sum()))
