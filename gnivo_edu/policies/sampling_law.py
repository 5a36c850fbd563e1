"""The law of the next token (temperature, top-k, top-p: one object for sampling and scoring) and
draws from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# Logits are divided by it: below, they overflow in half precision; above, they are all alike.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1e-3, 1e6


@dataclass(frozen=True, kw_only=True)
class SamplingLaw:
    """How logits of the actions become probabilities: divided by `temperature`, cut to `top_k`,
    then to `top_p`.

    `top_k`: the k most probable actions are kept (more where they tie). `top_p`: the most probable
    actions are kept, as few as reach that mass; of equal ones the first. What is kept is
    renormalised. Neither is on by default. Raises ValueError on a temperature outside 0.001 to
    1,000,000, top_k < 1, and top_p outside (0, 1].

    Source of top-p: Holtzman et al., The Curious Case of Neural Text Degeneration (arXiv
    1904.09751)."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not LOWEST_TEMPERATURE <= self.temperature <= HIGHEST_TEMPERATURE:
            raise ValueError(
                f"temperature must be in {LOWEST_TEMPERATURE:g}..{HIGHEST_TEMPERATURE:,.0f}, or "
                f"logits are lost in rounding, got {self.temperature}"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(
                f"top_k must be at least 1, or None to keep all actions, got {self.top_k}"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(
                f"top_p must be in (0, 1], or None to keep all actions, got {self.top_p}"
            )

    @property
    def truncates(self) -> bool:
        """Whether some actions may be cut off; an implicit value is then not defined on all
        answers.
        """
        return self.top_k is not None or (self.top_p is not None and self.top_p < 1)

    def log_probabilities(self, logits: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
        """Log-probabilities of the actions, nats, -inf where cut off; float32 where the logits are
        less precise.

        >>> SamplingLaw(top_k=2).log_probabilities(torch.tensor([0.6, 0.2, 0.2, 0.0]).log()).exp()
        tensor([0.6000, 0.2000, 0.2000, 0.0000])
        >>> SamplingLaw(top_p=0.7).log_probabilities(torch.tensor([0.6, 0.2, 0.2, 0.0]).log()).exp()
        tensor([0.7500, 0.2500, 0.0000, 0.0000])
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.temperature != 1:
            logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            last_kept = logits.topk(self.top_k).values[..., -1:]
            logits = logits.masked_fill(logits < last_kept, -torch.inf)
        logps = logits.log_softmax(-1)
        if self.top_p is not None and self.top_p < 1:
            # An action is cut off where those before it, in the order of their probability, reach
            # top_p without it.
            ordered, order = logps.sort(descending=True, stable=True)
            before = ordered.exp().cumsum(-1).roll(1, -1)  # mass of the actions before each
            before[..., 0] = 0.0
            cut = torch.zeros_like(logps, dtype=torch.bool).scatter(-1, order, before >= self.top_p)
            logps = logps.masked_fill(cut, -torch.inf).log_softmax(-1)
        return logps


def completion_numbers(prompts: Sequence[int], group_size: int) -> list[tuple[int, int]]:
    """(prompt, number of the completion) of each row: 0..K-1, and on from there where a prompt is
    listed again.

    >>> completion_numbers([5, 5, 7], 2)
    [(5, 0), (5, 1), (5, 2), (5, 3), (7, 0), (7, 1)]
    """
    drawn: Counter[int] = Counter()
    numbers = []
    for prompt in prompts:
        numbers += [(prompt, drawn[prompt] + k) for k in range(group_size)]
        drawn[prompt] += group_size
    return numbers


def uniforms_of(
    seed: int, step: int, rows: Sequence[tuple[int, int]], count: int
) -> Float[Tensor, "B count"]:
    """Uniforms in [0, 1), float64 on the CPU: `count` for each (prompt, number of the completion).

    Philox counts in four words of 64 bits, the lowest first. The key is (seed, step) and the two
    high words are the row, so that no two rows ever read the same block. Raises ValueError on a
    seed or step below 0 or above 2**64 - 1.

    Source: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011).

    >>> bool((uniforms_of(0, 0, [(3, 1), (2, 9)], 4)[1] == uniforms_of(0, 0, [(2, 9)], 4)[0]).all())
    True
    """
    if not (0 <= seed < 2**64 and 0 <= step < 2**64):
        raise ValueError(f"seed and step must be in 0..2**64 - 1, got {seed} and {step}")
    key = np.array([seed, step], dtype=np.uint64)
    counters = np.array([[0, 0, number, prompt] for prompt, number in rows], dtype=np.uint64)
    streams = [
        np.random.Generator(np.random.Philox(counter=counter, key=key)) for counter in counters
    ]
    return torch.from_numpy(np.stack([stream.random(count) for stream in streams]))


def inverse_cdf(logps: Float[Tensor, "B V"], uniforms: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
    """The action at which the cumulative probability first exceeds the uniform; sums are taken in
    float64.

    Taken where `uniforms` lie. An action of probability 0 is never drawn. Of nan
    it makes some action, so that no device is waited for here: who draws then looks at the
    log-probability of what was drawn.

    >>> logps = torch.tensor([[0.25, 0.0, 0.75]]).log().expand(3, 3)
    >>> inverse_cdf(logps, torch.tensor([0.0, 0.2499, 0.25]))
    tensor([0, 0, 2])
    """
    cdf = logps.to(uniforms.device).exp().cumsum(-1, dtype=torch.float64)
    # The sum differs from 1 by rounding; a share of it below 1 always finds an action.
    token = torch.searchsorted(cdf, uniforms[:, None] * cdf[:, -1:], right=True)[:, 0]
    return token.clamp_(max=logps.shape[1] - 1).to(logps.device)
