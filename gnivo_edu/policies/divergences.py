"""What a next-token law says as a whole: its entropy, and its exact KL from another one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def entropy_of(logps: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """- sum_a p(a) log p(a), nats; actions of probability 0 add nothing, to the gradient either.

    >>> entropy_of(torch.tensor([[0.5, 0.5, 0.0]]).log())
    tensor([0.6931])
    """
    return -(logps.exp() * logps.masked_fill(logps == -torch.inf, 0.0)).sum(-1)


def kl_of(logps: Float[Tensor, "*B V"], reference: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """KL(p || q) = sum_a p(a) log p(a)/q(a), nats; inf where q(a) = 0 < p(a).

    >>> kl_of(torch.tensor([0.5, 0.5, 0.0]).log(), torch.tensor([0.25, 0.75, 0.0]).log())
    tensor(0.1438)
    """
    impossible = logps == -torch.inf
    return (
        logps.exp() * (logps.masked_fill(impossible, 0.0) - reference.masked_fill(impossible, 0.0))
    ).sum(-1)
