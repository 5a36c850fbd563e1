"""PPO with a critic, the KL paid token by token out of the reward."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import (
    average,
    behaviour_divergence,
    behaviour_logratio,
    check_choice,
    check_clip,
    clipped_loss,
    clipped_share,
    kl_estimate,
    needed,
    response_metrics,
    suffix_sums,
    whiten,
)

RewardKL = Literal["k1", "k3"]
Advantages = Literal["rollout", "update"]


def ppo(
    batch: GroupBatch,
    alpha: float = 0.05,
    lam: float = 0.95,
    gamma: float = 1.0,
    kl: RewardKL = "k1",
    whitened: bool = True,
    value_weight: float = 0.1,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    value_clip: float | None = 0.2,
    dual_clip: float | None = None,
    advantages: Advantages = "rollout",
) -> LossOutput:
    r"""PPO: clipped policy loss on generalised advantages, and `value_weight` times a value loss.

        r_t = - alpha k_t, and + R at the last token,
        k_t:  "k1" x, or "k3" e^{-x} - 1 + x,   x = log pi_b/pi_ref of the token,
        d_t = r_t + gamma V_b(s_{t+1}) - V_b(s_t),
        A_t = sum_{l >= t} (gamma lam)^(l - t) d_l,   G_t = A_t + V_b(s_t),
        L_pi = token mean of  - min( u A, clip(u, 1 - clip_low, 1 + clip_high) A ),
        u = pi_theta/pi_b of the token,
        L_V = token mean of  1/2 max( (V - G)^2, (V_b + clip(V - V_b) - G)^2 ),
            the clip to -value_clip..value_clip,
        L = L_pi + value_weight L_V.

    pi_b sampled; V_b is `behaviour_values` (default: `values` without gradient), V is `values`,
    both before the token, reward units; V after the last token is 0, cut off or not. A is whitened
    over the tokens of the batch if `whitened`, after G is made. Only L_pi moves the policy and only
    L_V the critic. `advantages`: "rollout", as published, makes A and G of V_b: with
    `behaviour_values` they are functions of the rollout alone and stay as they are over all updates
    on it; "update" makes them anew of V without gradient, and V_b only clips. `alpha`: reward per
    nat. `value_weight`: 1/reward^2. `value_clip`, reward units; None is no clipping; likewise
    `dual_clip`, a bound - dual_clip A on the loss where A < 0. Reasoning steps: pass
    `batch.by_step()`, a step is one action. K = 1 is allowed.

    Population minimiser: none, it is a gradient estimator. On-policy with "k1", gamma = 1, not
    whitened, the expected gradient of L_pi is minus that of J = E[R] - alpha KL(pi || pi_ref) over
    the mean length (held fixed, as the normaliser is), at lam = 1 with any critic, or with the
    exact critic at any lam: stationary at pi* = pi_ref e^{R/alpha}/Z. Whitening subtracts one
    number and rescales by another. An inexact critic with lam < 1, and "k3", bias it.

    Source: arXiv 1707.06347, 1506.02438 and, for language models, TRL's former PPO trainer (read)
    and verl's core algorithms (run). Departures: verl steps policy and critic apart; their losses
    are added here. `dual_clip` is 3 in verl and absent in TRL. The default of `value_weight` is
    TRL's.

    Metrics: `reward`, mean; `logratio`, mean log-ratio of responses, nats; `policy_loss`;
    `value_loss`, reward^2; `kl`, token mean of k, nats; `clipped`, share of ratios out of range;
    `explained`, 1 - var(G - V)/var(G) (0 where var(G) is 0). Raises ValueError without `values`, on
    alpha <= 0, lam or gamma outside 0..1, clips that make no sense.

    >>> half = torch.full((1, 1, 2), 0.5).log()
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=torch.ones(1, 1),
    ...     mask=half < 0, values=torch.tensor([[[0.5, 0.5]]]),
    ... )
    >>> ppo(batch, lam=1.0, whitened=False, value_weight=1.0).loss  # A = 1/2: - 1/2 + 1/8
    tensor(-0.3750)
    """
    check_alpha(alpha)
    check_clip(clip_low, clip_high, dual=dual_clip)
    check_choice("kl", kl, literal=RewardKL)
    check_choice("advantages", advantages, literal=Advantages)
    if not (0 <= lam <= 1 and 0 <= gamma <= 1):
        raise ValueError(f"lam and gamma must lie in 0..1, got {lam} and {gamma}")
    if not (
        math.isfinite(value_weight)
        and value_weight >= 0
        and (value_clip is None or value_clip >= 0)
    ):
        raise ValueError(
            f"value_weight and value_clip must be >= 0, got {value_weight} and {value_clip}"
        )
    values = needed(batch, "values", name="ppo")
    source = "values" if batch.behaviour_values is None else "behaviour_values"
    old_values = needed(batch, source, name="ppo").detach()
    k = kl_estimate(behaviour_divergence(batch), kl)
    believed = old_values if advantages == "rollout" else values.detach()
    raw = generalised_advantages(batch, believed, cost=alpha * k, lam=lam, gamma=gamma)
    returns = raw + believed
    blame = whiten(batch, raw) if whitened else raw

    logratio = behaviour_logratio(batch)
    policy_terms = clipped_loss(logratio, blame, low=clip_low, high=clip_high, dual_clip=dual_clip)
    policy_loss = average(batch, policy_terms, normaliser="token-mean")
    errors = (values - returns).square()
    if value_clip is not None:
        # The larger of two errors: a critic that has moved far gets no credit for the move.
        near = old_values + (values - old_values).clamp(-value_clip, value_clip)
        errors = torch.maximum(errors, (near - returns).square())
    value_loss = average(batch, errors, normaliser="token-mean") / 2
    clipped = clipped_share(batch, logratio, mask=batch.mask, low=clip_low, high=clip_high)
    with torch.no_grad():
        spread = _variance(batch, returns)
        unexplained = _variance(batch, returns - values)
        metrics = response_metrics(batch) | {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "kl": average(batch, k, normaliser="token-mean"),
            "clipped": clipped,
            "explained": torch.where(spread > 0, 1 - unexplained / spread, 0.0),
        }
    return LossOutput(policy_loss + value_weight * value_loss, metrics)


def generalised_advantages(
    batch: GroupBatch,
    values: Float[Tensor, "N K T"],
    cost: Float[Tensor, "N K T"],
    lam: float,
    gamma: float = 1.0,
) -> Float[Tensor, "N K T"]:
    """GAE, reward units, from values before each token, 0 outside the mask, and costs of tokens."""
    last = torch.arange(values.shape[-1], device=values.device) == batch.lengths[..., None] - 1
    rewards = torch.where(last, batch.rewards[..., None], 0.0) - cost
    after = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], -1)
    return suffix_sums(rewards + gamma * after - values, gamma * lam)


def _variance(batch: GroupBatch, x: Float[Tensor, "N K T"]) -> Float[Tensor, ""]:
    centre = average(batch, x, normaliser="token-mean")
    return average(batch, (x - centre).square(), normaliser="token-mean")
