"""Pass@k of completions that are drawn, against enumeration."""

import json

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact, policies
from gnivo_edu.evaluation import (
    evaluate,
    exact_chances,
)
from gnivo_edu.policies.generation import sample_completions
from tests.evaluation.chain import CHAIN, table


def chances(policy, task=CHAIN):
    """The chance of a right answer to each prompt, by enumeration."""
    found = []
    for i in range(len(task.prompts())):
        tree = exact.enumerate_tree(task, policies.tabulate(policy, task, i), i)
        found.append(np.exp(tree.prefix_logps[-1]) @ (tree.rewards >= 1))
    return np.array(found)


def test_pass_at_k_is_that_of_enumeration():
    policy, samples = table(sharp=2.5), 1_000
    p = chances(policy)
    assert ((p > 0.02) & (p < 0.9)).all()
    report = evaluate(policy, CHAIN, samples, ks=(1, 3))
    one = np.sqrt(p * (1 - p) / samples)
    assert (np.abs(report.pass_at(1) - p) < 4 * one).all()
    assert (np.abs(report.pass_at(3) - (1 - (1 - p) ** 3)) < 4 * 3 * (1 - p) ** 2 * one).all()
    assert report.to_json()["pass@1"] == pytest.approx(report.pass_at(1).mean(), abs=1e-13)


def test_a_cooler_policy_is_evaluated_as_such():
    policy = table(sharp=2.5)
    p = exact_chances(policy, CHAIN, temperature=0.5)
    assert exact_chances(policy, CHAIN) == pytest.approx(chances(policy), abs=1e-12)
    assert np.abs(p - chances(policy)).max() > 0.2
    report = evaluate(policy, CHAIN, samples=400, ks=(1,), temperature=0.5)
    assert (np.abs(report.pass_at(1) - p) < 4 * np.sqrt(p * (1 - p) / 400) + 1e-12).all()


def test_the_numbers_of_the_contract():
    report = evaluate(table(sharp=2.5), CHAIN, samples=4, model="sharp").to_json()
    named = [
        "task",
        "model",
        "problems",
        "samples",
        "pass@1",
        "pass@3",
        "interval@1",
        "interval@3",
        "truncated",
    ]
    assert set(named) | {"mean_length"} <= set(report)
    assert (report["task"], report["model"], report["problems"], report["samples"]) == (
        "ArithmeticChain",
        "sharp",
        4,
        4,
    )
    for k in (1, 3):
        low, high = report[f"interval@{k}"]
        assert 0 <= low <= report[f"pass@{k}"] <= high <= 1
    assert json.loads(json.dumps(report)) == report


def test_lengths_and_truncation_are_those_of_the_sampler():
    policy = table()
    report = evaluate(policy, CHAIN, samples=6)
    drawn = sample_completions(policy, CHAIN, 6, range(4))
    assert report.to_json()["mean_length"] == pytest.approx(drawn.lengths.double().mean().item())
    assert report.to_json()["truncated"] == pytest.approx(drawn.truncated.double().mean().item())
    assert 0 < report.to_json()["truncated"] < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 2}, "pass@3 needs at least 3 samples to a problem, got 2"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"prompts": [0, 0]}, "different problems in 0..3"),
        ({"prompts": [4]}, "different problems in 0..3"),
        ({"ks": ()}, "at least one k"),
    ],
)
def test_bad_requests_are_one_line(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(table(), CHAIN, **options)


def test_a_graded_reward_counts_as_solved_from_solved_at_on():
    tree = toy_envs.RandomTree(vocab_size=2, horizon=3)
    policy = policies.TabularLM.from_mdp(tree, seed=0)
    plain, half = (evaluate(policy, tree, samples=200, ks=(1,), solved_at=at) for at in (1.0, 0.5))
    assert plain.to_json()["pass@1"] == 0
    law = np.exp(exact.enumerate_tree(tree, policies.tabulate(policy, tree)).prefix_logps[-1])
    rewards = exact.enumerate_tree(tree).rewards
    assert half.to_json()["pass@1"] == pytest.approx(
        law @ (rewards >= 0.5), abs=4 * 0.5 / np.sqrt(200)
    )
    assert plain.to_json()["reward"] == pytest.approx(law @ rewards, abs=4 * 0.5 / np.sqrt(200))
    assert half.to_json()["interval@1"] is None, "one problem says nothing about others"


def test_a_transformer_is_evaluated_by_the_same_call():
    from gnivo_edu.policies.small import small_transformer

    report = evaluate(small_transformer(CHAIN), CHAIN, samples=3)
    assert report.rewards.shape == (4, 3)
