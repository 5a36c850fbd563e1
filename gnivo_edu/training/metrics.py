"""What is logged at every step, under the names that TRL's users know, and what only implicit values have."""

from __future__ import annotations

from typing import Any

import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.surrogate import centred


def rollout_metrics(drawn: dict[str, torch.Tensor]) -> dict[str, float]:
    """Rewards and lengths of one step's answers: rewards in reward units, lengths in tokens."""
    rewards, truncated = drawn["rewards"], drawn["truncated"]
    lengths = drawn["lengths"].double()
    ended = lengths[~truncated]
    spread = rewards.std(1) if rewards.shape[1] > 1 else torch.zeros(len(rewards))
    return {
        "reward": float(rewards.mean()),
        "reward_std": float(spread.mean()),
        "frac_reward_zero_std": float((spread == 0).double().mean()),
        "completions/mean_length": float(lengths.mean()),
        "completions/min_length": float(lengths.min()),
        "completions/max_length": float(lengths.max()),
        "completions/clipped_ratio": float(truncated.double().mean()),
        "completions/mean_terminated_length": float(ended.mean()) if len(ended) else 0.0,
        "num_tokens": int(lengths.sum()),
    }


@torch.no_grad()
def fit_metrics(batch: GroupBatch, alpha: float | None) -> dict[str, float]:
    """How much of the rewards the policy explains: `fit/residual_rms_over_target_rms`, 1 at the reference, 0 at pi*.

        sqrt( sum_i (R_i - mean R - alpha (h_i - mean h))^2 / sum_i (R_i - mean R)^2 ),   h = log pi_theta/pi_ref.

    Beside it `logratio`, the mean of h, and `kl`, the mean exact KL of whole answers where `policy_kl` is known, nats.
    """
    gap = (batch.policy_logps - batch.behaviour_logps).abs()[batch.mask]
    found: dict[str, Any] = {
        "logratio": float(batch.sequence_logratio.mean()),
        # Rounding on the first update of a step; after it, also how far the policy has moved from the sampler.
        "sampling/sampling_logp_difference/mean": float(gap.mean()),
        "sampling/sampling_logp_difference/max": float(gap.max()),
    }
    if batch.policy_kl is not None:
        found["kl"] = float(batch.policy_kl.masked_fill(~batch.mask, 0.0).sum(-1).mean())
    if batch.entropy is not None:
        found["entropy"] = float(batch.entropy[batch.mask].mean())
    target = centred(batch.rewards)
    if alpha is not None and float(target.square().sum()) > 0:
        residual = target - alpha * centred(batch.sequence_logratio)
        found["fit/residual_rms_over_target_rms"] = float((residual.square().sum() / target.square().sum()).sqrt())
    return found
