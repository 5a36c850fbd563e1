"""Scores from all logits at once: short enough to be read as the definition, and what the chunked
kernel is held to.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from gnivo_edu.policies.divergences import entropy_of, kl_of
from gnivo_edu.policies.heads import Head

FIELDS = ("policy_logps", "entropy", "policy_kl")


def dense_scores(
    hidden: Float[Tensor, "M H"],
    head: Head,
    targets: Int[Tensor, " M"],
    fields: Sequence[str] = FIELDS[:2],
    reference: tuple[Float[Tensor, "M G"], Head] | None = None,
) -> dict[str, Float[Tensor, " M"]]:
    """log p(target), entropy and exact KL(p || reference) of M tokens, nats, by plain autograd over
    [M, V] logits.

    p = softmax of `head.logits(hidden)`, in their dtype; `reference` is (hidden states, head) of a
        constant law.

    >>> import torch
    >>> x = torch.tensor([[0.0]])
    >>> dense_scores(x, Head(weight=torch.ones(4, 1)), torch.tensor([2]))["entropy"].exp()
    tensor([4.])
    """
    logps = head.logits(hidden).log_softmax(-1)
    out = {}
    if "policy_logps" in fields:
        out["policy_logps"] = logps.gather(-1, targets[:, None])[:, 0]
    if "entropy" in fields:
        out["entropy"] = entropy_of(logps)
    if "policy_kl" in fields:
        if reference is None:
            raise ValueError("policy_kl needs a reference: give its hidden states and its head")
        out["policy_kl"] = kl_of(logps, reference[1].logits(reference[0]).log_softmax(-1).detach())
    return out
