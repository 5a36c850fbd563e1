"""VIMPO: a value loss without a critic, and an actor that it advises."""

from __future__ import annotations

import math
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import (
    average,
    behaviour_logratio,
    centred,
    check_choice,
    check_clip,
    check_group,
    clipped_loss,
    clipped_share,
    group_metrics,
    suffix_sums,
    token_kl,
    whiten,
)

Baseline = Literal["mean", "leave_one_out"]
TokenKL = Literal["exact", "k2", "k3"]


def vimpo(
    batch: GroupBatch,
    alpha: float = 5e-4,
    actor: float = 5e-3,
    lam: float = 1.0,
    baseline: Baseline = "mean",
    kl: TokenKL = "exact",
    whitened: bool = True,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    dual_clip: float | None = 10.0,
) -> LossOutput:
    r"""VIMPO: value loss plus `actor` times a clipped actor loss, both from implicit values.

        rho_t = alpha log pi_theta/pi_ref(a_t|s_t),
        kappa_t = alpha KL(pi_theta || pi_ref)(s_t),   detached,
        L_V = mean over responses of  1/2 ( sum_t (rho_t - kappa_t) - (R_i - b) )^2,
        A_t = sum_{l >= t} lam^(l - t) (rho_l - kappa_l), detached and whitened over the tokens of
            the batch,
        L_A = token mean of  - min( u A, clip(u, 1 - clip_low, 1 + clip_high) A ),
        u = pi_theta/pi_b of the token,
        L = L_V + actor L_A.

    `alpha`: reward per nat (the paper's beta). `actor`: c_A, reward^2; 0 is the value loss alone.
    `baseline` b: the "mean" of the group, R_i included, or the "leave_one_out" mean. `kl`: "exact"
    (`policy_kl`), or "k2", "k3" of the token; "k1" is refused, since rho - kappa would be zero
    throughout. `dual_clip` bounds the loss at - dual_clip A where A < 0. Reasoning steps: pass
    `batch.by_step()`.

    Population minimiser, on-policy. L_V (actor=0) with the leave-one-out mean: pi_V(a|s)
    proportional to pi_ref e^{Q(s,a)/alpha}, Q the raw expected reward under pi_V itself; with K so
    large that b = E R its residual is 0 there. pi_V is pi* = pi_ref e^{R/alpha}/Z for one-step
    responses only: the KL of later states, which pi* counts, is missing. With b = "mean" the target
    shrinks by 1 - 1/K, and the end point is pi_V at alpha K/(K - 1). Off-policy the residual is not
    centred, and spurious solutions exist. The actor's expected gradient on-policy is - alpha grad
    KL(pi || pi_ref) at fixed occupancies before whitening: it climbs the KL, so with actor > 0 it
    is neither.

    Source: arXiv 2606.20008 (second-hand), its code backprop07/VIMPO (read and run) and its README.
    Departures: leave-one-out is ours. Left out: Huber loss, cap on the baseline, top-k KL, adaptive
    c_A, the "soft" variant, refreshing the reference. Whitening is one process's: Bessel's variance
    + 1e-8 inside the root.

    Metrics: `reward`, mean; `logratio`, mean log pi_theta/pi_ref of responses, nats; `tied_groups`;
    `value_loss`, reward^2; `actor_loss`; `kl`, token mean, nats; `advantage`, root mean square of
    the raw A_t, reward; `clipped`. Raises ValueError on K = 1, alpha <= 0, actor < 0, lam outside
    0..1, kl="k1", missing `policy_kl`.

    >>> import torch
    >>> half = torch.full((1, 2, 1), 0.5).log()
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=torch.tensor([[1.0, 0.0]]),
    ...     mask=half < 0, policy_kl=torch.zeros(1, 2, 1),
    ... )
    >>> vimpo(batch).metrics["value_loss"]  # (0.5^2 + 0.5^2)/2/2
    tensor(0.1250)
    """
    check_alpha(alpha)
    check_group(batch, "vimpo")
    check_clip(clip_low, clip_high, dual=dual_clip)
    check_choice("baseline", baseline, literal=Baseline)
    if not (math.isfinite(actor) and actor >= 0):
        raise ValueError(f"actor must be a number >= 0, the weight of the actor loss, got {actor}")
    kl_tokens = detached_kl(batch, kl)
    delta = alpha * (batch.logratio - kl_tokens)
    # The end of a response is worth its reward: rho - kappa must add up to R - b.
    residual = delta.sum(-1) - centred(batch.rewards, baseline == "leave_one_out")
    value_loss = batch.group_mean(residual.square().mean(1)) / 2

    raw = implicit_advantages(delta, lam)
    advantages = whiten(batch, raw) if whitened else raw
    logratio = behaviour_logratio(batch)
    per_token = clipped_loss(
        logratio, advantages, low=clip_low, high=clip_high, dual_clip=dual_clip
    )
    actor_loss = average(batch, per_token, normaliser="token-mean")
    metrics = group_metrics(batch) | {
        "value_loss": value_loss.detach(),
        "actor_loss": actor_loss.detach(),
        "kl": average(batch, kl_tokens, normaliser="token-mean"),
        "advantage": average(batch, raw.square(), normaliser="token-mean").sqrt(),
        "clipped": clipped_share(batch, logratio, mask=batch.mask, low=clip_low, high=clip_high),
    }
    return LossOutput(value_loss + actor * actor_loss if actor else value_loss, metrics)


def detached_kl(batch: GroupBatch, kl: TokenKL) -> Float[Tensor, "N K T"]:
    """KL(pi_theta || pi_ref) at each token, nats: a constant, 0 outside the mask."""
    if kl == "k1":
        raise ValueError(
            "kl='k1' makes rho - kappa zero at every token: take 'exact' (policy_kl), 'k2' or 'k3'"
        )
    check_choice("kl", kl, literal=TokenKL)
    return token_kl(batch, kl).detach()


def implicit_advantages(delta: Float[Tensor, "N K T"], lam: float) -> Float[Tensor, "N K T"]:
    """A_t = sum_{l >= t} lam^(l - t) delta_l, reward units, detached: GAE with rho - kappa."""
    if not 0 <= lam <= 1:
        raise ValueError(f"lam must lie in 0..1, got {lam}")
    return suffix_sums(delta.detach(), lam)
