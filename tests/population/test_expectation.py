"""Exact expectations against another listing of groups, finite differences, and plain loops."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from gnivo_edu import exact, objectives
from gnivo_edu.objectives import LossOutput
from gnivo_edu.policies import TabularLM, all_groups, make_group_batch
from gnivo_edu.population import Answers, Population, expect, gradient_covariance, point_at
from tests.population.problems import ALPHA, REFERENCE, moved, small_mdp


@pytest.mark.parametrize("name", ["gnivo", "gvpo", "online_dpo", "sft_winning"])
def test_the_expected_loss_is_that_of_a_table_on_all_groups_and_so_is_its_gradient(name):
    mdp = small_mdp()
    answers = Answers.of(exact.enumerate_tree(mdp, REFERENCE))
    policy = TabularLM.from_mdp(mdp, seed=9)
    batch = make_group_batch(policy, mdp, all_groups(mdp, REFERENCE, 2))
    loss = objectives.get(name)(batch, alpha=ALPHA).loss
    loss.backward()
    logits = policy.logits.detach()[0]
    rows = torch.tensor([0, 1, 2])  # the empty prefix and the two unfinished ones of one token
    point = point_at(answers, ALPHA, logits[rows].log_softmax(-1))
    got = expect(objectives.get(name), Population.of(answers, 2), point, alpha=ALPHA)
    assert got.loss == pytest.approx(float(loss.detach()), abs=1e-12)
    torch.testing.assert_close(
        got.gradient["logits"], policy.logits.grad[0][rows], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    "name", ["gnivo", "gvpo", "online_dpo", "sft_winning", "group_value", "value_mse"]
)
def test_the_expected_gradient_is_the_slope_of_the_expected_loss(answers, name):
    """Where nothing is detached and the sampler stays: finite differences."""
    population, point = Population.of(answers, 3), moved(answers)
    field = "prefix_values" if name == "group_value" else "logits"
    gradient = expect(objectives.get(name), population, point, alpha=ALPHA).gradient[field]
    for i in range(gradient.numel()):
        losses = []
        for h in (1e-5, -1e-5):
            x = getattr(point, field).clone()
            x.view(-1)[i] += h
            losses.append(
                expect(
                    objectives.get(name),
                    population,
                    type(point)(**vars(point) | {field: x}),
                    alpha=ALPHA,
                )
            )
        assert float(gradient.flatten()[i]) == pytest.approx(
            (losses[0].loss - losses[1].loss) / 2e-5, abs=1e-8
        )


@pytest.mark.parametrize("name", ["gnivo", "grpo", "rloo", "vimpo", "oreo"])
def test_the_covariance_is_that_of_the_gradients_of_single_groups(answers, name):
    """Group by group, in a loop. Settings under which no statistic spans the batch."""
    settings = {"grpo": {"normaliser": "seq-mean-token-sum"}, "vimpo": {"actor": 0.0}}.get(name, {})
    objective = partial(objectives.get(name), alpha=ALPHA, **settings)
    population, point = Population.of(answers, 2, "current"), moved(answers)
    mean, covariance = gradient_covariance(objective, population, point)
    torch.testing.assert_close(
        mean, expect(objective, population, point).gradient["logits"], rtol=0, atol=1e-12
    )
    weight = population.weights(answers.policy(point.logits))
    rows = []
    for choice in population.choice:
        alone = Population(answers, 2, "current", choice[None], torch.ones(1, dtype=torch.float64))
        rows.append(expect(objective, alone, point).gradient["logits"].flatten())
    gradients = torch.stack(rows)
    centred = gradients - weight @ gradients
    torch.testing.assert_close(
        covariance, centred.T @ (weight[:, None] * centred), rtol=0, atol=1e-12
    )


@pytest.mark.slow
def test_a_random_sample_of_groups_says_how_far_off_it_may_be(answers):
    point, alpha = moved(answers), ALPHA
    true = expect(objectives.gvpo, Population.of(answers, 3), point, alpha=alpha)
    assert true.loss_error == 0
    inside, errors = 0, []
    for seed in range(60):
        found = expect(
            objectives.gvpo, Population.of(answers, 3, draws=2_000, seed=seed), point, alpha=alpha
        )
        low, high = found.interval()
        inside += low <= true.loss <= high
        errors.append(found.loss_error)
        assert float((found.gradient["logits"] - true.gradient["logits"]).abs().max()) < 0.1
    assert 50 <= inside <= 60  # 95% intervals
    longer = expect(objectives.gvpo, Population.of(answers, 3, draws=8_000), point, alpha=alpha)
    assert longer.loss_error == pytest.approx(np.mean(errors) / 2, rel=0.5)


@pytest.mark.parametrize("sampler", ["current", "uniform"])
def test_parts_of_the_groups_add_up_to_the_whole(answers, sampler):
    whole, point = Population.of(answers, 3, sampler), moved(answers)
    one, many = (
        expect(objectives.gnivo, replace(whole, parts=n), point, alpha=ALPHA) for n in (1, 7)
    )
    assert many.loss == pytest.approx(one.loss, abs=1e-12)
    torch.testing.assert_close(many.gradient["logits"], one.gradient["logits"], rtol=0, atol=1e-12)


def test_the_current_policy_is_held_fixed_where_it_draws(answers):
    """On-policy REINFORCE: E[R grad log pi], not the derivative of E[R log pi]."""

    def reinforce(batch, alpha):
        logp = batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)
        return LossOutput(batch.group_mean(-(batch.rewards * logp).mean(1)))

    point = moved(answers)
    got = expect(reinforce, Population.of(answers, 1, "current"), point, alpha=ALPHA).gradient[
        "logits"
    ]
    logits = point.logits.clone().requires_grad_()
    expected = -(answers.law(answers.policy(logits)) * answers.rewards).sum()
    torch.testing.assert_close(got, torch.autograd.grad(expected, logits)[0], rtol=0, atol=1e-14)
