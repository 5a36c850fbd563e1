"""VIMPO: a value loss without a critic, and an actor that it advises."""

from __future__ import annotations

from functools import partial

from jaxtyping import Float
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import (
    average,
    behaviour_logratio,
    centred,
    check_clip,
    check_group,
    clipped_loss,
    clipped_share,
    group_metrics,
    suffix_sums,
    token_kl,
    whiten,
)
from gnivo_edu.objectives.vimpo_options import (
    Advantages,
    Baseline,
    TokenKL,
    Value,
    check_options,
    check_token_kl,
    matching_weight,
    sampler_kl,
)

SMALLEST_SCALE = 1e-4  # reward^2: a mean squared target below it is no scale to divide by


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
    value: Value = "raw",
    detached: bool = True,
    huber: float | None = None,
    cap: float | None = None,
    normalised: bool = False,
    value_weight: float = 1.0,
    advantages: Advantages = "implicit",
    actor_ratio: float | None = None,
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
    (`policy_kl`: a sum over all tokens, or, where it was scored with `kl_top_k`, over the policy's
    k likeliest), or "k2", "k3" of the token. `dual_clip` bounds the loss at - dual_clip A where A <
    0. Reasoning steps: pass `batch.by_step()`.

    Options of its code, off unless given. `detached=False`: L_V is differentiated through kappa
    too. `huber` d, reward: x^2/2 becomes d (|x| - d/2) beyond d. `cap`: b is at most this reward.
    `normalised`: L_V is divided by the batch's mean (R_i - b)^2. `value_weight`: L_V times this.
    `advantages="group"`: GRPO's (R_i - mean)/(std + 1e-6) in place of A_t. `actor_ratio` r: c_A
    such that the actor's gradient by log-probabilities has r times the root mean square of L_V's.
    `value="soft"`, for actor=0: 1/2 ( sum_t rho_t - (R_i - b) )^2, b the mean of R - sum_t kappa_t,
    kappa the sampler's and also "k1" (for "raw" it is refused: rho - kappa would be 0 throughout).

    Population minimiser, on-policy. L_V (actor=0) with the leave-one-out mean: pi_V(a|s)
    proportional to pi_ref e^{Q(s,a)/alpha}, Q the raw expected reward under pi_V itself; with K so
    large that b = E R its residual is 0 there. pi_V is pi* = pi_ref e^{R/alpha}/Z for one-step
    responses only: the KL of later states, which pi* counts, is missing. With b = "mean" the target
    shrinks by 1 - 1/K, and the end point is pi_V at a = alpha K/(K - 1). What is left of the
    residual in both does not depend on the response itself: so `huber` moves neither, nor
    `detached=False` alone, and `cap` only the second. "soft" ends at pi* with the leave-one-out
    mean; with "mean" at pi_ref e^{Q/a}, Q the expected R - alpha KL of what follows. Off-policy the
    residual is not centred, and spurious solutions exist. The actor's expected gradient on-policy
    is - alpha grad KL(pi || pi_ref) at fixed occupancies, over the mean length, before whitening:
    it climbs the KL, so with actor > 0 it is neither. GRPO's actor tilts by its own advantages.
    Over the mean length: a token's weight falls with it in L_A, and not in L_V. The published actor
    = 5e-3 is one for answers of thousands of tokens; on those of a dozen it wins, and the policy
    climbs the KL away from all reward (`recipes/arithmetic/results.md`).

    Source: arXiv 2606.20008 (second-hand), its code backprop07/VIMPO (read and run) and its README.
    Departures: leave-one-out is ours. "soft" with kl="exact" takes `policy_kl`, the sampler's only
    at the first of several updates. `actor_ratio` compares gradients by log-probabilities, where
    its code has those by logits and running means of both; like its code it looks at L_V before
    `value_weight` and `normalised`. A mean squared target below 1e-4 counts as 1e-4, where its code
    stops. Refreshing the reference is the trainer's: reference=refreshed, every `refresh_every`
    steps; notebooks/moving_reference.md says what this does to values, end and loss. Whitening is
    one process's: Bessel's variance + 1e-8 inside the root.

    Metrics: `reward`, mean; `logratio`, mean log pi_theta/pi_ref of responses, nats; `tied_groups`;
    `value_loss`, reward^2, as it is in L; `kl`, token mean, nats; but for "soft" also `actor_loss`,
    `advantage`, root mean square of the raw A_t, reward, and `clipped`; with `actor_ratio` the c_A
    it makes, `actor_weight`. Raises ValueError on K = 1, alpha <= 0, negative weights, lam outside
    0..1, kl="k1", huber <= 0, missing `policy_kl`, and "soft" with an actor.

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
    check_options(
        value, kl=kl, baseline=baseline, advantages=advantages, actor=actor,
        actor_ratio=actor_ratio, value_weight=value_weight, huber=huber, cap=cap,
    )  # fmt: skip
    leave_one_out = baseline == "leave_one_out"
    if value == "soft":
        kl_tokens = sampler_kl(batch, kl)
        prediction = alpha * batch.sequence_logratio
        charge = alpha * kl_tokens.sum(-1)
        target = centred(batch.rewards - charge, leave_one_out) + charge
    else:
        kl_tokens = detached_kl(batch, kl)
        delta = alpha * (batch.logratio - (kl_tokens if detached else token_kl(batch, kl)))
        # The end of a response is worth its reward: rho - kappa must add up to R - b.
        prediction = delta.sum(-1)
        target = centred(batch.rewards, leave_one_out)
    if cap is not None:
        target = target.maximum(batch.rewards - cap)  # R - min(b, cap)
    residual = prediction - target
    # The slope of a response's loss in its residual: without Huber's bound the loss is x^2/2.
    slope = residual if huber is None else residual.clamp(-huber, huber)
    value_loss = value_weight * batch.group_mean((slope * (residual - slope / 2)).mean(1))
    if normalised:
        scale = batch.group_mean(target.square().mean(1))
        value_loss = value_loss / scale.clamp(min=SMALLEST_SCALE)
    metrics = group_metrics(batch) | {
        "value_loss": value_loss.detach(),
        "kl": average(batch, kl_tokens, normaliser="token-mean"),
    }
    if value == "soft":
        return LossOutput(value_loss, metrics)

    raw = implicit_advantages(delta, lam)
    if advantages == "implicit":
        advised = whiten(batch, raw) if whitened else raw
    else:
        deviation = batch.rewards.std(1, keepdim=True) + 1e-6
        advised = (centred(batch.rewards) / deviation)[..., None].expand_as(raw)
    logratio = behaviour_logratio(batch)
    surrogate = partial(
        clipped_loss, advantages=advised, low=clip_low, high=clip_high, dual_clip=dual_clip
    )
    actor_loss = average(batch, surrogate(logratio), normaliser="token-mean")
    metrics |= {
        "actor_loss": actor_loss.detach(),
        "advantage": average(batch, raw.square(), normaliser="token-mean").sqrt(),
        "clipped": clipped_share(batch, logratio, mask=batch.mask, low=clip_low, high=clip_high),
    }
    if actor_ratio is not None:
        pull = alpha * slope.detach()
        weight = actor_ratio * matching_weight(batch, pull, loss=surrogate, logratio=logratio)
        metrics["actor_weight"] = weight
        return LossOutput(value_loss + weight * actor_loss, metrics)
    return LossOutput(value_loss + actor * actor_loss if actor else value_loss, metrics)


def detached_kl(batch: GroupBatch, kl: TokenKL) -> Float[Tensor, "N K T"]:
    """KL(pi_theta || pi_ref) at each token, nats: a constant, 0 outside the mask."""
    check_token_kl(kl)
    return token_kl(batch, kl).detach()


def implicit_advantages(delta: Float[Tensor, "N K T"], lam: float) -> Float[Tensor, "N K T"]:
    """A_t = sum_{l >= t} lam^(l - t) delta_l, reward units, detached: GAE with rho - kappa."""
    if not 0 <= lam <= 1:
        raise ValueError(f"lam must lie in 0..1, got {lam}")
    return suffix_sums(delta.detach(), lam)
