"""The KL to the initial model that a run may add to its loss: its value, and its gradient, of which
there are two.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.surrogate import average, needed, suffix_sums
from gnivo_edu.training.config import KLGradient


def kl_of_answers(batch: GroupBatch, gradient: KLGradient) -> Float[Tensor, ""]:
    """Mean over answers of sum_t D_t, nats; D_t = KL(pi || pi_0) of the law of token t, which is
    `policy_kl`.

        KL(pi || pi_0) of answers = E_pi sum_t D_t,
        its gradient = E_pi [ sum_t grad D_t + sum_l (sum_{t > l} D_t) grad log pi(y_l) ].

    The second sum is there because a token chooses the states that come after it. `gradient`:
    "answers" has both sums: on answers of the policy itself it is, on average, the gradient of that
    KL. "states" has the first alone: the states are held where they were met, and with a reward the
    run rests where no token pays for the KL of later ones (VIMPO's pi_V). Both have the same value.
    On answers of another policy (of the reference, of earlier steps, or after the first of several
    updates) both are means along its answers, without importance weights, and neither is the
    gradient of a KL of answers.

    >>> import torch
    >>> half = torch.full((1, 1, 2), 0.5).log()
    >>> batch = GroupBatch(
    ...     policy_logps=half.requires_grad_(), behaviour_logps=half.detach(), mask=half < 0,
    ...     rewards=torch.zeros(1, 1), policy_kl=torch.tensor([[[0.1, 0.3]]]),
    ... )
    >>> kl_of_answers(batch, "answers").backward()  # the first token pays for the second one's KL
    >>> half.grad
    tensor([[[0.3000, 0.0000]]])
    """
    kl = needed(batch, "policy_kl", name="kl_to_initial")
    if gradient == "answers":
        later = suffix_sums(kl.detach(), 1.0) - kl.detach()
        score = later * batch.policy_logps.masked_fill(batch.outside, 0.0)
        kl = kl + score - score.detach()  # a gradient, and no value
    # Of whole answers, so that its coefficient is a price per nat, like alpha.
    return average(batch, kl, normaliser="seq-mean-token-sum")
