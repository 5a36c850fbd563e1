"""The gradient of a loss in what is scored: where it is zero, what it is by hand, and what is said
where it is not finite.
"""

from __future__ import annotations

import functools
import inspect

import pytest
import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.training import coefficients, two_pass_step
from gnivo_edu.training.field_gradients import LIVE
from tests.training.two_pass_world import K, N, world


def test_what_an_objective_detaches_has_no_coefficients() -> None:
    taken = coefficients(objectives.vimpo, world("table").batch(), alpha=0.1, actor=1.0)
    assert set(taken.by_field) == set(LIVE)
    used = {name for name, c in taken.by_field.items() if c.any()}
    assert used == {"policy_logps"}, "kappa, the exact KL, is a constant in VIMPO"
    exact_kl = coefficients(objectives.grpo, world("table").batch(), kl="exact")
    assert {name for name, c in exact_kl.by_field.items() if c.any()} == {
        "policy_logps",
        "policy_kl",
    }
    outside = ~world("table").record.mask
    assert not any(c[outside].any() for name, c in exact_kl.by_field.items() if name != "log_z")


def test_coefficients_of_gvpo_sum_to_zero_in_each_group() -> None:
    """They are - alpha/(N (K - 1)) times the centred residual, at every token of a response."""
    here = world("table")
    own = here.batch()
    c = coefficients(objectives.gvpo, own, alpha=0.3).by_field["policy_logps"]
    bracket = own.rewards - 0.3 * own.sequence_logratio.detach()
    by_hand = -0.3 / (N * (K - 1)) * (bracket - bracket.mean(1, keepdim=True))
    assert torch.allclose(c, by_hand[..., None] * own.mask, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("split", [None, 5])
def test_coefficients_that_are_not_finite_name_the_objective_and_the_field(
    split: int | None,
) -> None:
    here = world("table")

    def far(rows: Tensor) -> dict[str, Tensor]:
        fields = here.policy_scores(rows)
        return fields | {"policy_logps": fields["policy_logps"] - 1000}

    # Those of the registry look at their loss themselves; another's is looked at here.
    unchecked = inspect.unwrap(objectives.grpo)
    for grpo, words in (
        (unchecked, r"grpo gives a coefficient of policy_logps .* at \[0, 0, 0\], with loss inf"),
        (objectives.grpo, r"loss of grpo is inf: at \[\d, \d, \d\] .* -1\d\d\d nats"),
    ):
        with pytest.raises(ValueError, match=words):
            two_pass_step(functools.partial(grpo, kl="k3"), here.record, far, split)
