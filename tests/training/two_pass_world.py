"""A policy with heads, and a batch that is hard for a gradient that is taken in parts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.policies import TabularLM, make_group_batch, sample_groups, two_pass_scorers
from tests.training.small_transformer import small_transformer
from toy_envs import TokenMDP

V, N, K, T = 4, 3, 4, 5
ROWS = N * K
MDP = TokenMDP(
    V,
    T,
    reward=lambda tokens, lengths: lengths / 6 + 0.1 * (tokens[:, 0] == 1),
    eos_token_id=V - 1,
    prompts=[[V, 0], [V, 1]],
)


class Heads(nn.Module):
    """values before a token, prefix_values after it, log_z of a prompt: from the tokens, or from
    hidden states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(5)
        self.width = width
        self.tokens = nn.Parameter(torch.randn(V + 2, width, generator=g, dtype=torch.float64))
        self.weight = nn.Parameter(torch.randn(width, 2, generator=g, dtype=torch.float64) / width)
        self.log_z = nn.Parameter(torch.randn(2, generator=g, dtype=torch.float64))

    def forward(self, ids: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        states = self.tokens[ids].cumsum(1).tanh()
        both = (states if hidden is None else states + hidden) @ self.weight
        return both[:, -T - 1 : -1, 0], both[:, -T:, 1]


class World:
    """A policy with heads, groups from another policy, a third one as the reference; and the rows'
    scores.
    """

    def __init__(self, kind: str, dropout: float = 0.0) -> None:
        transformer = kind != "table"
        self.policy, self.reference, sampler = (
            small_transformer(MDP, kind, seed, dropout)
            if transformer
            else TabularLM.from_mdp(MDP, seed=seed)
            for seed in (1, 2, 3)
        )
        self.heads = Heads(16)
        self.modules = nn.ModuleList([self.policy, self.heads])
        self.transformer = transformer
        g = torch.Generator().manual_seed(0)
        self.samples = sample_groups(sampler, MDP, K, [0, 1, 0], g)
        self.policy_scores = two_pass_scorers(self.policy, MDP, self.samples, self.reference)[0]
        junk = torch.where(self.samples.mask, 1.0, torch.nan)
        with torch.no_grad():
            self.record = make_group_batch(
                self.policy,
                MDP,
                self.samples,
                self.reference,
                behaviour_values=0.3 * torch.randn(N, K, T, generator=g, dtype=torch.float64),
                step_ids=(torch.arange(T) // 2).expand(N, K, T),
            )
        # The batch need not hold the policy's scores, and what stands after an answer may be
        # anything.
        self.record = replace(self.record, policy_logps=self.record.behaviour_logps * junk)

    def score(self, rows: Tensor) -> dict[str, Tensor]:
        index = self.samples.prompt_index[rows // K]
        ids = torch.cat(
            [torch.from_numpy(MDP.prompts())[index], self.samples.tokens.view(ROWS, T)[rows]], 1
        )
        hidden = self.policy.model(input_ids=ids).last_hidden_state if self.transformer else None
        values, prefix_values = self.heads(ids, hidden)
        own = {"values": values, "prefix_values": prefix_values, "log_z": self.heads.log_z[index]}
        return self.policy_scores(rows) | own

    def gradient(self) -> Tensor:
        """All gradients in one vector; then none."""
        pieces = [
            torch.zeros_like(p) if p.grad is None else p.grad for p in self.modules.parameters()
        ]
        self.modules.zero_grad()
        return torch.cat([piece.flatten() for piece in pieces])

    def batch(self) -> GroupBatch:
        """The batch scored with gradient, all rows at once."""
        fields = self.score(torch.arange(ROWS))
        log_z = fields.pop("log_z").view(N, K)[:, 0]
        return replace(
            self.record, log_z=log_z, **{name: x.view(N, K, T) for name, x in fields.items()}
        )

    def direct(
        self, objective: Callable[..., LossOutput], **settings: Any
    ) -> tuple[Tensor, LossOutput]:
        """What everything is held to: one graph, one loss.backward()."""
        out = objective(self.batch(), **settings)
        if out.loss.requires_grad:
            out.loss.backward()
        return self.gradient(), out


@functools.cache
def world(kind: str) -> World:
    return World(kind)


def distance(x: Tensor, y: Tensor) -> float:
    """Of two gradients, relative to the larger."""
    return float((x - y).norm() / torch.maximum(x.norm(), y.norm()).clamp(min=1e-300))
