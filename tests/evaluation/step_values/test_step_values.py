"""Implicit, Monte-Carlo and exact values of every step agree where theory says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnivo_edu import exact
from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.evaluation.step_values.asked import Asked
from gnivo_edu.evaluation.step_values.continuations import Budget, Continuations
from gnivo_edu.evaluation.step_values.estimate import estimate_value
from gnivo_edu.policies import TabularLM, token_logps
from tests.evaluation.step_values.small_tasks import ALPHA, TASKS, random_tables, solved, table_of
from toy_envs import TokenMDP


def test_credits_of_an_answer_sum_to_its_log_ratio(task):
    policy, reference = (
        table_of(task, random_tables(task, 2)),
        table_of(task, random_tables(task, 1)),
    )
    for answer in step_values(policy, reference, task, alpha=ALPHA, continuations=2).answers:
        row, length = torch.tensor([answer.tokens]), torch.tensor([len(answer.tokens)])
        ratio = (
            (token_logps(policy, task, row, length) - token_logps(reference, task, row, length))
            .sum()
            .item()
        )
        assert answer.credits.sum() == pytest.approx(ratio, abs=1e-12)
        assert np.diff(answer.implicit_values) == pytest.approx(answer.credits, abs=1e-12)
        assert len(answer.implicit_values) == len(answer.tokens) + 1


def test_a_credit_is_positive_where_the_policy_says_more_than_the_reference():
    mdp = TokenMDP(2, 1, reward=lambda tokens, lengths: 1.0 - tokens[:, 0])
    policy = table_of(mdp, [np.log([[0.9, 0.1]])])
    found = step_values(policy, TabularLM.from_mdp(mdp), mdp, alpha=ALPHA, answers=[[0], [1]])
    assert [a.credits[0] for a in found.answers] == pytest.approx(
        [np.log(1.8), np.log(0.2)], abs=1e-12
    )


def test_implicit_values_of_the_optimal_policy_are_the_exact_ones_at_every_prefix(task):
    key = solved(task)
    policy, reference = table_of(task, key.optimal_step_logps), table_of(task, key.tree.step_logps)
    found = step_values(policy, reference, task, group_size=6, alpha=ALPHA, continuations=2, seed=3)
    assert found.pin == (pytest.approx(key.log_z, abs=1e-12), "exact")
    for answer in found.answers:
        by_hand = [key.soft_value(answer.tokens[:t]) for t in range(len(answer.tokens) + 1)]
        assert answer.exact_values == pytest.approx(by_hand, abs=1e-10)
        assert answer.implicit_values == pytest.approx(by_hand, abs=1e-10)
        assert answer.implicit_values[-1] == pytest.approx(answer.reward / ALPHA, abs=1e-10)
        assert answer.monte_carlo[-1].value == answer.reward / ALPHA


def test_each_prompt_has_values_and_ends_of_its_own():
    mdp = TokenMDP(
        3,
        3,
        reward=lambda tokens, lengths, index: index * (tokens[:, 0] == 1),
        eos_token_id=2,
        prompts=[[3, 0], [3, 1]],
    )
    laws = [random_tables(mdp, 5), random_tables(mdp, 6)]
    key = exact.solve(exact.enumerate_tree(mdp, laws[1], prompt_index=1), ALPHA)
    policy = TabularLM.from_tables(mdp, [laws[1], key.optimal_step_logps])
    answers = [(1, 2), (1, 0, 0), (0, 0, 2)]
    found = step_values(
        policy, TabularLM.from_tables(mdp, laws), mdp, 1, alpha=ALPHA, answers=answers
    )
    assert [a.truncated for a in found.answers] == [False, True, False]
    assert [a.reward for a in found.answers] == [1.0, 1.0, 0.0]
    for answer in found.answers:
        by_hand = [key.soft_value(answer.tokens[:t]) for t in range(len(answer.tokens) + 1)]
        assert answer.implicit_values == pytest.approx(by_hand, abs=1e-10)
    assert step_values(policy, policy, mdp, 0, alpha=ALPHA).log_z.value == 0.0


def test_without_enumeration_the_implicit_values_differ_from_the_exact_ones_by_the_error_of_log_z():
    task = TASKS["tree"]
    key = solved(task)
    policy, reference = table_of(task, key.optimal_step_logps), table_of(task, key.tree.step_logps)
    found = step_values(policy, reference, task, alpha=ALPHA, max_sequences=1)
    assert found.exact is None
    assert found.pin == (found.log_z.value, "estimate")
    for answer in found.answers:
        gap = answer.implicit_values - [key.soft_value(answer.tokens[:t]) for t in range(4)]
        assert gap == pytest.approx(found.log_z.value - key.log_z, abs=1e-10)


@pytest.mark.parametrize(("name", "answer"), [("tree", (2, 0, 1)), ("brackets", (0, 1, 2))])
def test_intervals_hold_the_exact_value_about_as_often_as_they_say(name, answer):
    task, repeats = TASKS[name], 60
    key, asked = solved(task), Asked(TASKS[name], 0, seed=0, max_rows=60 * 30)
    reference = table_of(task, key.tree.step_logps)
    fresh = Continuations(asked, reference, [answer], steps=[np.arange(3)])
    fresh.draw_evenly(repeats * 30, Budget(alpha=ALPHA, level=0.9))
    assert sorted(fresh.rows) == [(), answer[:1], answer[:2]]
    held = []
    for prefix in fresh.rows:
        for rewards in np.reshape(fresh.rewards[prefix], (repeats, 30)):
            found = estimate_value(rewards, ALPHA, level=0.9, binary=name == "brackets")
            held.append(found.low <= key.soft_value(prefix) <= found.high)
    assert 0.84 <= np.mean(held) <= 0.96


def test_many_continuations_come_near_the_exact_value(task):
    key = solved(task)
    policy, reference = table_of(task, random_tables(task, 2)), table_of(task, key.tree.step_logps)
    found = step_values(
        policy, reference, task, group_size=2, alpha=ALPHA, continuations=1000, max_rows=1000
    )
    for answer in found.answers:
        for t, place in enumerate(answer.monte_carlo):
            error = abs(place.value - key.soft_value(answer.tokens[:t]))
            assert error <= max(4 * place.standard_error, 1e-12)
            assert place.standard_error < 0.15


def test_bad_requests_say_what_to_mend():
    task = TASKS["brackets"]
    policy = table_of(task, random_tables(task, 1))
    never = table_of(
        task, [np.log(np.tile([1 - 1e-300, 1e-300, 1e-300], (3**t, 1))) for t in range(5)]
    )
    with pytest.raises(ValueError, match="at least 2 answers"):
        step_values(policy, policy, task, group_size=1, alpha=ALPHA)
    with pytest.raises(ValueError, match="alpha must be a positive number"):
        step_values(policy, policy, task, alpha=0.0)
    with pytest.raises(ValueError, match=r"prompt_index must be in 0\.\.0"):
        step_values(policy, policy, task, 1, alpha=ALPHA)
    with pytest.raises(ValueError, match="answer 1 is not complete"):
        step_values(policy, policy, task, alpha=ALPHA, answers=[[0, 1, 2], [0, 1]])
    with pytest.raises(ValueError, match="answer 0 is not complete"):
        step_values(policy, policy, task, alpha=ALPHA, answers=[[0, 2, 2]])
    never.logits.data[..., 1:] = -torch.inf
    with pytest.raises(ValueError, match="the policy cannot write answer 0"):
        step_values(never, policy, task, alpha=ALPHA, answers=[[0, 1, 2]])
    with pytest.raises(ValueError, match="0 and 1 only"):
        estimate_value([0.5, 1.0], ALPHA, binary=True)
