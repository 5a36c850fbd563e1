"""Exact expectations: multisets against K-tuples, against the other listing of all groups, and
against a plain loop.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from gnivo_edu import exact, objectives
from gnivo_edu.objectives import LossOutput
from gnivo_edu.policies import TabularLM, all_groups, make_group_batch
from gnivo_edu.population import (
    Answers,
    Population,
    expect,
    gradient_covariance,
    point_at,
    sampling_policy,
)
from gnivo_edu.population.atlas import problem
from toy_envs import TokenMDP

ALPHA = 0.6


def small_tree() -> exact.TokenTree:
    """Seven answers of one to two tokens over three actions, one of which ends."""
    mdp = TokenMDP(
        3,
        2,
        reward=lambda tokens, lengths: (7 * tokens[:, 0] + 3 * tokens[:, -1]) % 5 / 4,
        eos_token_id=2,
    )
    return exact.enumerate_tree(mdp, exact.random_reference(3, 2, seed=4))


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers.of(small_tree())


def moved(answers: Answers, seed: int = 0):
    """A point off the reference, with a critic and an explicit value that are wrong."""
    g = torch.Generator().manual_seed(seed)
    point = point_at(answers, ALPHA)
    noise = {
        name: torch.randn(getattr(point, name).shape, generator=g, dtype=torch.float64)
        for name in point.FIELDS
    }
    return type(point)(
        **{name: getattr(point, name) + 0.3 * noise[name] for name in point.FIELDS},
        log_z=point.log_z + 0.1,
    )


@pytest.mark.parametrize(
    "sampler", ["reference", "current", "uniform", {"reference": 0.3, "uniform": 0.7}]
)
@pytest.mark.parametrize("name", objectives.names())
def test_multisets_with_their_multiplicities_give_what_all_tuples_give(answers, name, sampler):
    point = moved(answers)
    listed = [Population.of(answers, 3, sampler, ordered=ordered) for ordered in (False, True)]
    few, all_of_them = (
        expect(objectives.get(name), population, point, alpha=ALPHA) for population in listed
    )
    assert few.loss == pytest.approx(all_of_them.loss, abs=1e-12)
    for field in point.FIELDS:
        torch.testing.assert_close(
            few.gradient[field], all_of_them.gradient[field], rtol=0, atol=1e-12
        )


def test_every_answer_and_every_state_of_the_tree_is_there_once():
    tree = exact.enumerate_tree(
        TokenMDP(3, 3, reward=lambda tokens, lengths: lengths / 3.0, eos_token_id=2),
        exact.random_reference(3, 3, seed=2),
    )
    answers = Answers.of(tree)
    assert len(answers.rewards) == tree.num_sequences == 15
    assert len(answers.depths) == 7  # prefixes over two letters of 0, 1 and 2 tokens
    np.testing.assert_allclose(answers.law(answers.reference).sum(), 1.0, atol=1e-14)
    optimum = answers.tilted(answers.rewards / ALPHA)
    key = answers.from_tables(exact.solve(tree, ALPHA).optimal_step_logps)
    torch.testing.assert_close(optimum[answers.legal], key[answers.legal], rtol=0, atol=1e-13)
    back = answers.from_tables(answers.to_tables(optimum))
    torch.testing.assert_close(back[answers.legal], optimum[answers.legal], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["gnivo", "gvpo", "online_dpo", "sft_winning"])
def test_the_expected_loss_is_that_of_a_table_on_all_groups_and_so_is_its_gradient(name):
    mdp = TokenMDP(
        3,
        2,
        reward=lambda tokens, lengths: (7 * tokens[:, 0] + 3 * tokens[:, -1]) % 5 / 4,
        eos_token_id=2,
    )
    reference = exact.random_reference(3, 2, seed=4)
    answers = Answers.of(exact.enumerate_tree(mdp, reference))
    policy = TabularLM.from_mdp(mdp, seed=9)
    batch = make_group_batch(policy, mdp, all_groups(mdp, reference, 2))
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


def test_a_mixture_draws_whole_answers_from_its_parts(answers):
    mixed = answers.law(sampling_policy(answers, {"reference": 0.25, "uniform": 0.75}, None))
    uniform = answers.law(sampling_policy(answers, "uniform", None))
    torch.testing.assert_close(
        mixed, 0.25 * answers.law(answers.reference) + 0.75 * uniform, rtol=0, atol=1e-14
    )


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


def test_eight_of_sixteen_answers_are_listed_exactly():
    """The number of groups, their total probability, and GVPO's zero gradient at pi* under any
    sampler, at K = 8.
    """
    answers = problem("16 answers")
    population = Population.of(answers, 8, "uniform")
    assert len(population.choice) == math.comb(23, 8) == 490_314
    weight = population.weights(sampling_policy(answers, "uniform", None))
    assert float(weight.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(population.multiplicity.sum()) == 16.0**8


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


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda a: Population.of(a, 0), "group_size must be at least 1"),
        (lambda a: Population.of(a, 40), "too many to list"),
        (lambda a: Population.of(a, 2, draws=500, sampler="current"), "list them all"),
        (lambda a: Population.of(a, 2, draws=5), "at least 100 groups"),
        (
            lambda a: sampling_policy(a, "refernce", None),
            "sampler must be one of reference, current, uniform",
        ),
        (lambda a: sampling_policy(a, {"reference": 0.7}, None), "sum 1"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(answers, build, says):
    with pytest.raises(ValueError, match=says) as error:
        build(answers)
    assert "\n" not in str(error.value)


def test_a_policy_outside_the_support_of_the_reference_is_refused():
    tables = [np.log([[0.9, 0.1]])]
    with np.errstate(divide="ignore"):
        answers = Answers.of(
            exact.enumerate_tree_from_rewards([0.0, 1.0], 2, [np.log([[1.0, 0.0]])])
        )
    with pytest.raises(ValueError, match="to which the reference gives none"):
        answers.from_tables(tables)
