"""Scores from all logits at once: short enough to be read as the definition, and what the chunked
kernel is held to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gnivo_edu.policies.heads import Head

FIELDS = ("policy_logps", "entropy", "policy_kl")


def dense_scores(
    hidden: Float[Tensor, "M H"],
    head: Head,
    targets: Int[Tensor, " M"],
    fields: Sequence[str] = FIELDS[:2],
    reference: tuple[Float[Tensor, "M G"], Head] | None = None,
    kl_top_k: int | None = None,
) -> dict[str, Float[Tensor, " M"]]:
    """log p(target), entropy and exact KL(p || reference) of M tokens, nats, by plain autograd over
    [M, V] logits.

    p = softmax of `head.logits(hidden)`, in their dtype; `reference` is (hidden states, head) of a
    constant law; `kl_top_k` as in `law_scores`.

    >>> x = torch.tensor([[0.0]])
    >>> dense_scores(x, Head(weight=torch.ones(4, 1)), torch.tensor([2]))["entropy"].exp()
    tensor([4.])
    """
    constant = None
    if reference is not None and "policy_kl" in fields:
        states, other = reference
        constant = other.logits(states).log_softmax(-1).detach()
    logps = head.logits(hidden).log_softmax(-1)
    return law_scores(logps, targets, fields=fields, reference=constant, kl_top_k=kl_top_k)


def law_scores(
    logps: Float[Tensor, "M V"],
    targets: Int[Tensor, " M"],
    fields: Sequence[str] = FIELDS,
    reference: Float[Tensor, "M V"] | None = None,
    kl_top_k: int | None = None,
) -> dict[str, Float[Tensor, " M"]]:
    """The same from the log-probabilities of every action, and of every action under the
    reference.

    `kl_top_k`: of the KL only the terms p(a) log p(a)/q(a) of the k likeliest actions under p, no
    law renormalised: no KL, and below 0 where those are likelier under q. None: all terms.

    >>> p, q = torch.tensor([[0.5, 0.5, 0.0]]).log(), torch.tensor([[0.25, 0.75, 0.0]]).log()
    >>> scores = law_scores(p, torch.tensor([0]), reference=q)
    >>> scores["entropy"], scores["policy_kl"]
    (tensor([0.6931]), tensor([0.1438]))
    """
    check_fields(fields, kl_top_k)
    scores = {}
    if "policy_logps" in fields:
        scores["policy_logps"] = logps.gather(-1, targets[:, None])[:, 0]
    if "entropy" in fields:
        # 0 log 0 is 0, and so is its gradient: the logarithm is taken out where p(a) = 0.
        scores["entropy"] = -(logps.exp() * logps.masked_fill(logps == -torch.inf, 0.0)).sum(-1)
    if "policy_kl" in fields:
        if reference is None:
            raise ValueError("policy_kl needs a reference: give its hidden states and its head")
        # As above; inf where q(a) = 0 < p(a).
        impossible = logps == -torch.inf
        log_ratio = logps.masked_fill(impossible, 0.0) - reference.masked_fill(impossible, 0.0)
        terms = logps.exp() * log_ratio
        if kl_top_k is not None:
            terms = terms.gather(-1, top_actions(logps.detach(), kl_top_k))
        scores["policy_kl"] = terms.sum(-1)
    return scores


def top_actions(x: Float[Tensor, "M V"], k: int) -> Int[Tensor, "M k"]:
    """The k actions with the largest x, in no order; all of them if there are fewer."""
    return x.topk(min(k, x.shape[-1]), dim=-1, sorted=False).indices


def check_fields(fields: Sequence[str], kl_top_k: int | None = None) -> None:
    """Raise ValueError unless all of them can be scored, the KL over at least one action."""
    if kl_top_k is not None and kl_top_k < 1:
        raise ValueError(f"kl_top_k must be at least 1 action, or None for all, got {kl_top_k}")
    if unknown := set(fields) - set(FIELDS):
        raise ValueError(
            f"{min(unknown)} is nothing that can be scored; known: {', '.join(FIELDS)}"
        )
