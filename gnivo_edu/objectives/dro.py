"""DRO: direct reward optimisation, a squared error with a policy and a value."""

from __future__ import annotations

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.groups import check_alpha
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.surrogate import needed, response_metrics


def dro(batch: GroupBatch, alpha: float = 1.0, scaled: bool = True) -> LossOutput:
    r"""DRO: the reward minus a learnt value is what the log-ratio should be, in one squared error.

        e_i = R_i - V(x) - alpha h_i,   h_i = log pi_theta(y_i)/pi_ref(y_i),
        L = mean over responses of  1/2 e_i^2  with h detached  +  c/2 e_i^2  with V detached,
        c = 1/alpha if `scaled`, else 1.

    V(x) is `values` at the first token, reward units. The gradients are (V - R + alpha h) grad V
    for the value and, if scaled, - [ (R - V) grad log pi - (alpha/2) grad h^2 ] for the policy: the
    paper's tau/2 and its 1/tau. The loss is twice 1/2 e^2 where c = 1; a gradient is what it is
    for. `alpha`: reward per nat (the paper's tau). Whole responses only: reasoning steps change
    nothing. No group is needed: K = 1 is allowed.

    Population minimiser: loss 0 at pi* = pi_ref e^{R/alpha}/Z and V* = alpha log Z, and nowhere
    else if the sampler has the support of the reference, on-policy or not. V is not a mere
    baseline: with a wrong, fixed V, alpha h = R - V - (pi/mu)(V^pi - V), mu the sampler and V^pi =
    E_mu[R - alpha h] (Proposition 1); on-policy it is one. With V profiled out it is GVPO.

    Source: arXiv 2405.19107 (read), Eq. 8. Other losses called DRO are not this one: verl's (a
    quadratic penalty on the ratio to the old policy, no V), SkyRL's (an exponential tilt),
    Tinker's, and `dro_actor_loss` in OREO's code. Departures: one value per prompt, where the
    paper's practice is one per token (see `oreo`); the two losses are added, where the paper steps
    two networks; one network with shared layers mixes them at weights 1 and c.

    Metrics: `reward`, mean; `logratio`, mean h, nats; `residual`, root mean square of e, reward
    units; `value`, mean V, reward units. Raises ValueError without `values` and on alpha <= 0.

    >>> import torch
    >>> half = torch.full((1, 2, 1), 0.5).log()
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, rewards=torch.tensor([[1.0, 0.0]]),
    ...     mask=half < 0, values=torch.full((1, 2, 1), 0.5),
    ... )
    >>> dro(batch, alpha=1.0).loss  # 0.5^2/2 for each of the two parts
    tensor(0.2500)
    """
    check_alpha(alpha)
    value = needed(batch, "values", name="dro")[..., 0]
    h = batch.sequence_logratio
    # One residual, twice: each part holds the other one fixed.
    value_residual = batch.rewards - value - alpha * h.detach()
    policy_residual = batch.rewards - value.detach() - alpha * h
    value_loss = batch.group_mean(value_residual.square().mean(1)) / 2
    # The paper divides the gradient of the policy by alpha, that of the value by nothing.
    policy_loss = batch.group_mean(policy_residual.square().mean(1)) / (2 * alpha if scaled else 2)
    metrics = response_metrics(batch) | {
        "residual": (2 * value_loss.detach()).sqrt(),
        "value": batch.group_mean(value.detach().mean(1)),
    }
    return LossOutput(value_loss + policy_loss, metrics)
