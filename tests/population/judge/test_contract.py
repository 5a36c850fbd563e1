"""The contract: leaks, prompts, groups of two, and what cannot be judged."""

from __future__ import annotations

import pytest
import torch

from gnivo_edu.objectives import LossOutput
from gnivo_edu.population.judge import judge
from gnivo_edu.population.judge.contract import examine
from tests.population.judge.subjects import (
    first_two,
    leaks_padding,
    pairs_only,
    reinforce,
    subject_of,
    token_mean,
)


def test_a_leak_through_a_constant_field_breaks_the_contract():
    def leaks(batch, alpha):
        return reinforce(batch, alpha) * (1 + batch.behaviour_logps.mean())

    assert (
        next(finding.name for finding in examine(leaks, "f", 0.5, {})[1] if not finding.holds)
        == "mask"
    )


@pytest.mark.parametrize(
    ("function", "prompts"), [(reinforce, "mean"), (token_mean, "one"), (leaks_padding, "weighted")]
)
def test_how_it_averages_over_prompts_is_found_out(function, prompts):
    assert subject_of(function).prompts == prompts


def test_a_loss_output_and_a_loss_without_alpha_are_accepted():
    assert subject_of(lambda batch: LossOutput(reinforce(batch, 1.0))).takes_alpha is False


def test_an_objective_of_pairs_is_judged_on_pairs():
    assert subject_of(pairs_only).sizes == (2,)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda batch, alpha: first_two(batch, alpha).item(),
            "returns a float: return the loss as a tensor",
        ),
        (lambda batch, alpha: first_two(batch, alpha) * float("nan"), "nan or inf"),
        (lambda batch, rewards: 0, "cannot be called with a batch and alpha"),
        (lambda batch, alpha: batch.rewards, r"tensor \[3, 2\]: return one number"),
        (lambda batch, alpha: first_two(batch, alpha).detach(), "does not depend on policy_logps"),
        (lambda batch, alpha: first_two(batch, alpha) * torch.rand(()), "two calls"),
        (lambda batch, alpha: batch.reward, "raised AttributeError"),
    ],
)
def test_what_cannot_be_judged_is_one_clear_line(function, words):
    with pytest.raises(ValueError, match=words) as raised:
        judge(function)
    assert "\n" not in str(raised.value)
