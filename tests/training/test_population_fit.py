import numpy as np
import pytest
import torch

from gnivo_edu import exact, objectives
from gnivo_edu.policies import TabularLM, make_group_batch, sample_groups, tabulate, token_logps
from gnivo_edu.policies.small import small_transformer
from gnivo_edu.population import Answers, Population, expect, point_at
from gnivo_edu.training.algorithm1 import distance_from_key
from gnivo_edu.training.population_fit import fit_population
from toy_envs import RandomTree, TokenMDP

ENDED = TokenMDP(
    3,
    3,
    reward=lambda tokens, lengths: (tokens == 1).mean(1) + 0.3 * (lengths == 2),
    eos_token_id=2,
)


def transformer(mdp, architecture="qwen2", seed=1):
    return small_transformer(mdp, "tiny", architecture, torch.float64, seed, initializer_range=0.4)


@pytest.mark.parametrize(
    ("objective", "group_size", "architecture"),
    [("gnivo", 2, "qwen2"), ("gnivo", 3, "llama"), ("gvpo", 2, "qwen2")],
)
def test_a_transformer_reaches_the_optimal_policy(objective, group_size, architecture):
    model, alpha = transformer(ENDED, architecture), 0.5
    answers = Answers.of(exact.enumerate_tree(ENDED, tabulate(model, ENDED)))
    logs = (
        token_logps(model, ENDED, answers.tokens, answers.lengths).sum(1) + answers.rewards / alpha
    )
    optimum = logs.detach().log_softmax(0)
    fit = fit_population(model, ENDED, alpha, group_size, objective)
    found = token_logps(model, ENDED, answers.tokens, answers.lengths).sum(1).detach()
    assert fit.converged
    assert float((found - optimum).abs().max()) < 1e-7
    assert max(fit.records[-1].spread, fit.records[-1].value_error) < 1e-7


def test_its_loss_is_the_expected_loss_over_all_groups():
    model = transformer(ENDED)
    population = Population.of(exact.enumerate_tree(ENDED, tabulate(model, ENDED)), 2)
    fit = fit_population(model, ENDED, 0.5, max_iterations=2)
    policy = population.answers.from_tables(tabulate(model, ENDED))
    top = float(population.answers.rewards.max())
    there = expect(
        objectives.gnivo,
        population,
        point_at(population.answers, 0.5, policy),
        alpha=0.5,
        reward_max=top,
    )
    assert fit.records[-1].loss == pytest.approx(there.loss, rel=1e-12)
    assert not fit.converged
    losses = [record.loss for record in fit.records]
    assert losses == sorted(losses, reverse=True)


def test_a_table_and_a_transformer_end_at_the_same_policy():
    mdp = RandomTree(vocab_size=2, horizon=3)
    model = transformer(mdp)
    table = TabularLM.from_tables(mdp, tabulate(model, mdp))
    for policy in (model, table):
        assert fit_population(policy, mdp, 0.5).converged
    for ours, theirs in zip(tabulate(model, mdp), tabulate(table, mdp), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_answers_may_come_from_another_reference():
    mdp = RandomTree(vocab_size=2, horizon=2)
    reference, model = TabularLM.from_mdp(mdp, seed=3), transformer(mdp)
    fit = fit_population(model, mdp, 0.5, reference=reference)
    assert fit.key.tree.step_logps[1] == pytest.approx(tabulate(reference, mdp)[1])
    assert fit.records[-1].kl < 1e-12


def test_float32_is_refused_and_so_is_a_network_too_large():
    with pytest.raises(ValueError, match="float64"):
        fit_population(small_transformer(ENDED, "tiny"), ENDED, 0.5)
    mdp = TokenMDP(3, 6, reward=lambda tokens, lengths: tokens[:, 0])
    with pytest.raises(ValueError, match="MiB"):
        fit_population(small_transformer(mdp, "small", dtype=torch.float64), mdp, 0.5)


def test_implicit_values_learned_from_samples_approach_the_transformers_own_exact_values():
    mdp, alpha = RandomTree(vocab_size=2, horizon=3), 0.5
    model, reference = transformer(mdp), transformer(mdp)
    key = exact.solve(exact.enumerate_tree(mdp, tabulate(reference, mdp)), alpha)
    before = distance_from_key(tabulate(model, mdp), key)
    optimiser, generator = (
        torch.optim.Adam(model.parameters(), 1e-2),
        torch.Generator().manual_seed(0),
    )
    for _ in range(40):
        samples = sample_groups(reference, mdp, 8, [0] * 8, generator)
        loss = objectives.gnivo(
            make_group_batch(model, mdp, samples), alpha=alpha, reward_max=1.0
        ).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    kl, error = distance_from_key(tabulate(model, mdp), key)
    assert kl < before[0] / 10
    assert error < before[1] / 2
