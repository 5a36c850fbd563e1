import math

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact, training
from gnivo_edu.policies import TabularLM, tabulate
from gnivo_edu.training.algorithm1 import distance_from_key


@pytest.mark.slow
def test_sampled_groups_find_the_optimum_of_a_random_tree():
    """The issue's bar: V=4, T=4, K=8, raw weights, alpha 0.3, KL(pi* || pi) below 0.01."""
    seen = []
    run = training.train(
        toy_envs.RandomTree(), 0.3, 8, record_at=[16, 64, 1024], seed=0, on_record=seen.append
    )
    assert seen == run.records
    groups, kls = [r.groups for r in run.records], [r.kl for r in run.records]
    assert groups == [0, 16, 64, 1024, 16000]
    assert kls[-1] < 0.01
    assert kls[0] > 0.3
    assert kls == sorted(kls, reverse=True)
    assert run.records[-1].value_error < 0.3
    assert run.to_dicts()[-1]["kl"] == kls[-1]


def test_training_is_deterministic_given_its_seed():
    first, second, other = (
        training.train(toy_envs.Brackets(horizon=3), 0.5, 4, steps=10, seed=seed).tables[-1]
        for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.slow
def test_softmax_weights_stop_short_of_the_optimum():
    raw, softmax = (
        training.train(toy_envs.RandomTree(3, 3), 0.1, 2, steps=800, weights=weights, seed=0)
        .records[-1]
        .kl
        for weights in ("raw", "softmax")
    )
    assert softmax > 5 * raw


def test_distance_from_key_against_plain_sums():
    tree = exact.enumerate_tree(toy_envs.RandomTree(2, 3), exact.random_reference(2, 3, 0))
    key, tables = exact.solve(tree, 0.4), exact.random_reference(2, 3, 1)
    kl, error = distance_from_key(tables, key)
    expected_kl, expected_error = 0.0, 0.0
    for answer in tree.answers():
        logp = ref = 0.0
        for t, token in enumerate(answer):
            number = int("".join(map(str, answer[:t])) or "0", 2)
            logp += tables[t][number, token]
            ref += tree.step_logps[t][number, token]
            implicit = logp - ref + key.log_z
            expected_error = max(expected_error, abs(implicit - key.soft_value(answer[: t + 1])))
        expected_kl += math.exp(key.optimal_logprob(answer)) * (key.optimal_logprob(answer) - logp)
    assert kl == pytest.approx(expected_kl, abs=1e-12)
    assert error == pytest.approx(expected_error, abs=1e-12)
    at_optimum = distance_from_key(key.optimal_step_logps, key)
    assert at_optimum == pytest.approx((0, 0), abs=1e-12)


def test_credits_of_the_optimal_policy_are_the_true_ones():
    problem = toy_envs.PosterProblem()
    key = exact.solve(exact.enumerate_tree(problem), 0.5)
    policy = TabularLM.from_tables(problem, key.optimal_step_logps)
    run = training.TrainingRun(policy, [], [tabulate(policy, problem)], key)
    for answer in problem.examples.values():
        assert run.credits(0, answer) == pytest.approx(key.step_credit(answer), abs=1e-12)


@pytest.mark.slow
def test_a_refreshed_reference_moves_the_answer_key():
    mdp = toy_envs.RandomTree(vocab_size=2, horizon=3)
    fixed = training.train(mdp, 0.5, 8, steps=200, seed=0)
    moving = training.train(mdp, 0.5, 8, steps=200, refresh_every=50, seed=0)
    assert fixed.records[-1].refreshes == 0
    assert moving.records[-1].refreshes == 3
    initial = exact.solve(exact.enumerate_tree(mdp), 0.5)

    def reward(run):
        return float(
            np.exp(exact.enumerate_tree(mdp, run.tables[-1]).prefix_logps[-1])
            @ initial.tree.rewards
        )

    assert reward(moving) > reward(fixed) + 0.02, (
        "a moving reference overshoots the optimum of the initial one"
    )
    assert moving.key.log_z != pytest.approx(fixed.key.log_z, abs=1e-3)


def test_bad_requests_are_one_clear_line():
    mdp = toy_envs.RandomTree(2, 2)
    with pytest.raises(ValueError, match="alpha"):
        training.train(mdp, 0)
    with pytest.raises(ValueError, match="at least 2"):
        training.train(mdp, 0.5, group_size=1)
    with pytest.raises(ValueError, match="gnivo"):
        training.train(mdp, 0.5, objective="gnvo")
