"""What an update has made of the policy: how far it is from the initial model, and whether it still
gives numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.policies.score_model import score_rows
from gnivo_edu.training.processes import Processes
from gnivo_edu.training.rollout import Drawn, Rollouts


@torch.no_grad()
def kl_to_initial(
    rollouts: Rollouts, drawn: Drawn, parts: Sequence[Tensor]
) -> Float[Tensor, " rows"]:
    """Exact KL(policy || initial model) along the answers of some rows, nats, summed over their
    tokens.

    Its mean over answers of the policy is an unbiased estimate of the KL of the two laws of
    answers, never negative. On answers of another sampler (sampler=reference, or after several
    updates on one draw) it is a mean along theirs."""
    with rollouts._precision():
        scored = [
            score_rows(
                rollouts.policy,
                *rollouts._answers(drawn, rows),
                reference=rollouts.initial,
                fields=("policy_kl",),
                temperature=rollouts.config.temperature,
            )["policy_kl"]
            for rows in parts
        ]
    return torch.cat([x.sum(-1) for x in scored])


def moved(
    rollouts: Rollouts,
    processes: Processes,
    drawn: Drawn,
    batch: GroupBatch,
    parts: Sequence[Tensor],
    due: bool,
) -> dict[str, float]:
    """`kl_to_initial`, nats: from the batch where the loss has that KL already, else measured when
    it is due.
    """
    config = rollouts.config
    if batch.policy_kl is not None and (config.kl_to_initial or config.reference == "initial"):
        return {
            "kl_to_initial": float(batch.policy_kl.masked_fill(~batch.mask, 0.0).sum(-1).mean())
        }
    if not due:
        return {}
    found = processes.collect(lambda: {"kl": kl_to_initial(rollouts, drawn, parts)})
    return {"kl_to_initial": float(found["kl"].mean())}


@torch.no_grad()
def trouble(rollouts: Rollouts, drawn: Drawn, rows: Tensor, parameters: Iterable[Tensor]) -> str:
    """What is wrong with the weights after an update, "" if nothing: not all finite, or nan where
    rows are scored.

    Weights may be finite and far too large: they give nan with the next answer. So a few rows are
    scored, each time."""
    if not all(bool(p.isfinite().all()) for p in parameters):
        return "after the update not all weights are finite"
    with rollouts._precision():
        logps = rollouts._score(rollouts.policy, drawn, rows, ("policy_logps",))["policy_logps"]
    return "after the update the policy gives nan" if bool(logps.isnan().any()) else ""
