"""GRPO: group relative policy optimisation, with its usual switches."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import (
    Normaliser,
    average,
    behaviour_logratio,
    centred,
    check_choice,
    check_clip,
    check_group,
    clipped_loss,
    clipped_share,
    group_metrics,
    moments,
    token_kl,
)

KLTerm = Literal["k3", "exact", "sequence", "none"]
Scale = Literal["group", "batch", "none"]


def grpo(
    batch: GroupBatch,
    alpha: float = 0.04,
    kl: KLTerm = "k3",
    scale: Scale = "group",
    normaliser: Normaliser = "seq-mean-token-mean",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    max_length: int | None = None,
) -> LossOutput:
    r"""GRPO: clipped policy gradient with group-relative advantages, and a KL term in the loss.

        A_i = (R_i - mean R)/(std R + 1e-4),   a constant,
        u_it = pi_theta/pi_b of token t,   pi_b sampled,
        L = average over tokens of
            - min( u A, clip(u, 1 - clip_low, 1 + clip_high) A ) + alpha k_it.

    `alpha`: reward per nat (the paper's beta). `kl`, what k is: "k3", e^{-x} - 1 + x with x = log
    pi_theta/pi_ref of the token; "exact", KL(pi_theta || pi_ref) of the next-token law
    (`policy_kl`); "sequence", h^2/(2 T_i) with h the sum of x over the response: a sum over its
    tokens is h^2/2, whose on-policy gradient is the reverse KL's of whole responses; "none".
    `scale`: standard deviation of the group, of the batch, or none. `normaliser`: see
    `surrogate.average`; TRL's names are grpo = "seq-mean-token-mean", dapo and bnpo = "token-mean",
    dr_grpo = "seq-mean-token-sum-norm" with `max_length`. Reasoning steps: pass `batch.by_step()`,
    a step is one action with one ratio.

    Population minimiser: none for E[R] - alpha KL; where its on-policy expected gradient vanishes
    depends on `kl`. "k3" has the gradient of the *forward* KL(pi_ref || pi): for one-step responses
    pi = alpha pi_ref/(alpha - A(y)), A(y) = E[A_i | y_i = y] at this K and under pi itself, at any
    alpha > 0, since alpha - A is alpha pi_ref/pi; on a tree, under "seq-mean-token-sum", the same
    law per state with A(s, a) - E_pi A(s, .). "sequence", under token sums: pi proportional to
    pi_ref e^{A(y)/alpha}, that is pi* at alpha K/(K - 1) with scale "none", and a temperature per
    prompt with std; the default 1/T_i moves it. "exact" ignores that actions choose later states:
    it is that tilt for one-step responses only, and VIMPO's pi_V at alpha K/(K - 1) on a tree
    (token sums, no std). "none": the best response. 1/T_i favours short right answers and long
    wrong ones.

    Source: arXiv 2402.03300 (not opened), TRL 1.16 `GRPOTrainer` (run), verl. Departures: defaults
    are the paper's, where TRL's are now dapo and beta = 0; TRL multiplies k3 by the ratio u (its
    on-policy gradient is then that of x^2/2) unless use_bias_correction_kl=False, which is what is
    computed here; "sequence" is ours; the 1e-4 is TRL's (verl: 1e-6); std has Bessel's factor.

    Metrics: `reward`, mean; `logratio`, mean h, nats; `tied_groups` (their A is 0); `clipped`,
    share of token ratios out of range; `kl`, token mean of k, nats. Raises ValueError on K = 1,
    alpha <= 0, unknown names, missing `policy_kl`.

    >>> import torch
    >>> half = torch.full((1, 2, 1), 0.5).log().requires_grad_()
    >>> rewards = torch.tensor([[1.0, 0.0]])
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=rewards, mask=half < 0
    ... )
    >>> grpo(batch, scale="none").loss.backward()  # advantages 1/2 and -1/2, a mean over two
    >>> half.grad.flatten()
    tensor([-0.2500,  0.2500])
    """
    check_group(batch, "grpo")
    advantages = group_advantages(batch, scale)
    return surrogate_with_kl(
        batch,
        advantages,
        alpha=alpha,
        kl=kl,
        normaliser=normaliser,
        clip_low=clip_low,
        clip_high=clip_high,
        max_length=max_length,
    )


def group_advantages(batch: GroupBatch, scale: Scale) -> Float[Tensor, "N K"]:
    """R_i minus the group mean, over (std + 1e-4) of the group or of the batch; a constant."""
    check_choice("scale", scale, literal=Scale)
    advantages = centred(batch.rewards)
    if scale == "group":
        return advantages / (batch.rewards.std(1, keepdim=True) + 1e-4)
    if scale == "batch":
        return advantages / (moments(batch, batch.rewards)[1].sqrt() + 1e-4)
    return advantages


def surrogate_with_kl(
    batch: GroupBatch,
    advantages: Float[Tensor, "N K"],
    alpha: float,
    kl: KLTerm,
    normaliser: Normaliser,
    clip_low: float,
    clip_high: float,
    max_length: int | None,
) -> LossOutput:
    """The clipped loss of GRPO and Dr. GRPO, plus alpha times the KL term, averaged over tokens."""
    check_alpha(alpha)
    check_clip(clip_low, clip_high)
    check_choice("kl", kl, literal=KLTerm)
    logratio = behaviour_logratio(batch)
    per_token = clipped_loss(logratio, advantages[..., None], low=clip_low, high=clip_high)
    clipped = clipped_share(batch, logratio, mask=batch.mask, low=clip_low, high=clip_high)
    metrics = group_metrics(batch) | {"clipped": clipped}
    if kl != "none":
        if kl == "sequence":
            # h^2/2 of the response, shared out among its tokens.
            shares = batch.sequence_logratio.square() / (2 * batch.lengths.clamp(min=1))
            k = shares[..., None].expand_as(logratio)
        else:
            k = token_kl(batch, kl)
        per_token = per_token + alpha * k
        metrics["kl"] = average(batch, k.detach(), normaliser="token-mean")
    loss = average(batch, per_token, normaliser=normaliser, max_length=max_length)
    return LossOutput(loss, metrics)
