"""Completions as they are drawn: a token to each row at a time, until all rows have ended."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gnivo_edu.policies.cached_rows import Rows
from gnivo_edu.policies.sampling import SampledGroups
from gnivo_edu.policies.sampling_law import SamplingLaw, inverse_cdf
from toy_envs import TokenMDP


def look_every(device: torch.device) -> int:
    """At every how many tokens to look which rows have ended: an accelerator has to be waited for,
    a CPU has not.
    """
    return 1 if device.type == "cpu" else 8


class Drawn:
    """Completions as they are drawn, row by row of a batch of `rows`."""

    def __init__(self, task: TokenMDP, rows: int, device: torch.device) -> None:
        self.tokens = torch.full((rows, task.horizon), task.pad_token_id, device=device)
        self.logps: Tensor | None = None
        self.pad = task.pad_token_id
        self.ends = torch.zeros(task.vocab_size, dtype=torch.bool, device=device)
        self.ends[[i for i in task.eos_token_ids if i < task.vocab_size]] = True
        self.has_ends = len(task.eos_token_ids) > 0

    def fill(
        self,
        places: Int[Tensor, " B"],
        rows: Rows,
        law: SamplingLaw,
        uniforms: Float[Tensor, "B T"],
    ) -> None:
        """Draw the completions at these places, token by token, until all have ended.

        Nothing waits for the device but a look, at every so many tokens, at which rows have ended:
        until then they go on, and what they draw behind their end is left out by `groups`.
        """
        B, T = uniforms.shape
        alive = places.to(self.tokens.device)
        if alive.device.type != "mps":  # which has no float64
            uniforms = uniforms.to(alive.device)
        streams = torch.arange(B, device=uniforms.device)  # whose uniforms are whose
        ended = torch.zeros(B, dtype=torch.bool, device=alive.device)
        for t in range(T):
            logps = law.log_probabilities(rows.logits)
            token = inverse_cdf(logps, uniforms[streams, t])
            chosen = logps.gather(1, token[:, None])[:, 0]
            if self.logps is None:
                self.logps = chosen.new_zeros(self.tokens.shape)
            self.tokens[alive, t] = token
            self.logps[alive, t] = chosen
            ended |= self.ends[token]
            last = t + 1 == T
            if last or t % look_every(alive.device) == 0:
                order = going_first(ended, chosen)
                if last or not len(order):
                    return
                if len(order) < len(alive):
                    alive, ended, token = (x[order.to(x.device)] for x in (alive, ended, token))
                    streams = streams[order.to(streams.device)]
                    rows.keep(order.to(alive.device))
            rows.append(token)

    def groups(self, index: Int[Tensor, " N"], law: SamplingLaw) -> SampledGroups:
        """The completions, K to a prompt; truncated: at the horizon without the end that the task
        has.
        """
        assert self.logps is not None
        groups = (len(index), -1)
        # No action is drawn in the padding, so that a padding token that is also an end adds none.
        ends = self.ends[self.tokens.clamp(max=len(self.ends) - 1)]
        inside = ends.cumsum(1) - ends.long() == 0  # an end itself belongs to its completion
        ended = (ends & inside).any(1)
        return SampledGroups(
            tokens=self.tokens.masked_fill(~inside, self.pad).unflatten(0, groups),
            lengths=inside.sum(1).unflatten(0, groups),
            logps=self.logps.masked_fill(~inside, 0.0).unflatten(0, groups),
            truncated=(~ended & self.has_ends).unflatten(0, groups),
            prompt_index=index.to(self.tokens.device),
            law=law,
        )


def going_first(ended: Bool[Tensor, " B"], chosen: Float[Tensor, " B"]) -> Int[Tensor, " b"]:
    """Numbers of the rows that go on, on the CPU: those that stand last take the places of those
    that ended, and the others stay where they are. Raises ValueError where a chosen log-probability
    is nan.

    >>> ended = torch.tensor([False, True, False, True, False, False])
    >>> going_first(ended, torch.zeros(6))
    tensor([0, 4, 2, 5])
    """
    state = torch.stack([ended, chosen.isnan()]).cpu().numpy()  # the device is waited for once
    if state[1].any():
        raise ValueError(
            "the policy gives nan: load it in float32, with attn_implementation='sdpa'"
        )
    going = np.flatnonzero(~state[0])
    order = np.arange(len(going))
    order[state[0][: len(going)]] = going[going >= len(going)]
    return torch.from_numpy(order)
