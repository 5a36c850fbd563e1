"""Dr. GRPO: GRPO done right, without its two divisions."""

from __future__ import annotations

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.grpo import KLTerm, grpo
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import check_group


def dr_grpo(
    batch: GroupBatch,
    alpha: float = 0.04,
    kl: KLTerm = "none",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    max_length: int | None = None,
) -> LossOutput:
    r"""Dr. GRPO: rewards minus their group mean, summed over tokens and divided by a constant.

        A_i = R_i - mean R, a constant,   u_it = pi_theta/pi_b of token t, pi_b sampled,
        L = 1/max_length  mean over prompts and i of
            sum_t  - min( u A, clip(u, 1 - clip_low, 1 + clip_high) A ) ...

    plus alpha k_it in the sum, with `kl` as in `grpo`; the default has no KL, and `alpha` (reward
    per nat) is then checked and not used. It is `grpo` with scale="none" and
    normaliser="seq-mean-token-sum-norm".
    `max_length`: the longest response the task allows, tokens; None is 1, the plain sum. It only
    rescales the loss. Reasoning steps: pass `batch.by_step()`.

    Population minimiser: on-policy its expected gradient is minus (1 - 1/K) times that of E[R],
    since the group mean includes the response itself: it collapses on the best response. With
    kl="sequence" the 1 - 1/K falls on the reward alone, and the stationary point is pi* = pi_ref
    e^{R/a}/Z at a = alpha K/(K - 1); with "k3", GRPO's law without std.

    Source: arXiv 2503.20783 (not opened) and TRL 1.16, loss_type="dr_grpo" with scale_rewards=False
    (run). Departures: `max_length` defaults to 1; the KL is optional, as in TRL. "sequence" is
    ours.

    Metrics: those of `grpo`. Raises ValueError on K = 1, alpha <= 0, unknown names, missing
    `policy_kl`.

    >>> import torch
    >>> half = torch.full((1, 2, 2), 0.5).log().requires_grad_()
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=torch.tensor([[1.0, 0.0]]),
    ...     mask=torch.tensor([[[1, 1], [1, 0]]]),
    ... )
    >>> # Advantages 1/2 and -1/2, over 2 responses, over max_length.
    >>> dr_grpo(batch, max_length=2).loss.backward()
    >>> half.grad
    tensor([[[-0.1250, -0.1250],
             [ 0.1250,  0.0000]]])
    """
    check_group(batch, "dr_grpo")
    return grpo(
        batch,
        alpha,
        kl=kl,
        scale="none",
        normaliser="seq-mean-token-sum-norm",
        clip_low=clip_low,
        clip_high=clip_high,
        max_length=max_length,
    )
