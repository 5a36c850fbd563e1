"""Where a policy gradient rests that is held to pi_0 by a KL in the loss, state by state.

Written from the papers, with no call to an objective, as `laws`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.population.answers import Answers
from gnivo_edu.population.laws import Law, mean_over_groups, self_consistent


def self_tilt_by_state(
    answers: Answers,
    scores: Callable[[Law], Float[Tensor, "n T"]],
    temperature: float,
    whole: bool = False,
) -> Law:
    """In every state pi_0 e^{Q/temperature}/Z, Q the expected score of an action under the law
    itself: REINFORCE with a KL to pi_0 that is differentiated at fixed states.

    `scores`: of each token of each answer, [n, T], from the law. `whole`: an action pays for the KL
    of later tokens too, as in the gradient of the KL of whole answers; with scores that are one
    number an answer this is pi_0 e^{score/temperature}/Z.
    """

    def step(law: Law) -> Law:
        policy = answers.from_law(law)
        x = scores(law)
        if whole:
            kl = answers.kl(policy)[answers.states].masked_fill(~answers.mask, 0.0)
            x = x - temperature * (kl.sum(-1, keepdim=True) - kl.cumsum(-1))
        q = answers.by_token(law[:, None] * x) / answers.by_token(law).clamp(min=1e-300)
        return answers.law((answers.reference + q / temperature).log_softmax(-1))

    return self_consistent(step, answers.law(answers.reference))


def gnivo_scores(
    answers: Answers, alpha: float, K: int, last: bool = False
) -> Callable[[Law], Float[Tensor, "n T"]]:
    """What GN-IVO with softmax weights rewards a token with while its reference is the policy: n_l
    (K w - 1), on average over the groups that its answer is in.

    n_l, the number of depths that the l-th token is in: as many as the longest answer of the group
    has from there on; or `last`, the last depth alone: 1.
    """

    def scores(law: Law) -> Float[Tensor, "n T"]:
        def excess(choice: Tensor) -> Tensor:
            return K * (answers.rewards[choice] / alpha).softmax(1)[:, 0] - 1

        def times_longest(choice: Tensor) -> Tensor:
            return answers.lengths[choice].amax(1) * excess(choice)

        mean = mean_over_groups(law, K, excess)[:, None]
        if last:
            return mean.expand_as(answers.mask)
        before = torch.arange(answers.mask.shape[1])  # tokens before the l-th
        return mean_over_groups(law, K, times_longest)[:, None] - before * mean

    return scores
