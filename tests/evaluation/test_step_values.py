"""Step values: implicit ones against enumeration, Monte-Carlo intervals against the exact V, and a
real model.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu import exact
from gnivo_edu.evaluation.explore import answer_rows, explore
from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.evaluation.step_values.estimate import estimate_log_z, estimate_value
from gnivo_edu.evaluation.step_values.page import lines_of, render_page, write_page
from gnivo_edu.evaluation.step_values.record import StepValues
from gnivo_edu.evaluation.step_values.samples import Asked
from gnivo_edu.policies import TabularLM, load_model, token_logps, tree_from_model
from gnivo_edu.policies.small import small_transformer
from gnivo_edu.tasks.arithmetic_text import ArithmeticText
from gnivo_edu.tasks.stories import sentiment, stories
from toy_envs import ArithmeticChain, Brackets, PosterProblem, RandomTree, TokenMDP

ALPHA = 0.5
TASKS = {"tree": RandomTree(3, 3), "brackets": Brackets(5)}


class InSteps(RandomTree):
    """Four tokens in two steps, of one and of three tokens."""

    def step_ids(self, tokens: Any, lengths: Any) -> Any:
        return np.broadcast_to([0, 1, 1, 1], np.asarray(tokens).shape)


def random_tables(task: TokenMDP, seed: int) -> exact.Tables:
    return exact.random_reference(task.vocab_size, task.horizon, seed)


def solved(task: TokenMDP, seed: int = 1, alpha: float = ALPHA) -> exact.Solution:
    return exact.solve(exact.enumerate_tree(task, random_tables(task, seed)), alpha)


def table_of(task: TokenMDP, tables: exact.Tables) -> TabularLM:
    return TabularLM.from_tables(task, tables)


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]


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
    fresh = asked.continued(
        table_of(task, key.tree.step_logps), [answer], [np.arange(3)], repeats * 30
    )
    assert sorted(fresh) == [(), answer[:1], answer[:2]]
    held = []
    for prefix, rows in fresh.items():
        for rewards in asked.rewards(rows).reshape(repeats, 30):
            found = estimate_value(rewards, ALPHA, level=0.9, binary=name == "brackets")
            held.append(found.low <= key.soft_value(prefix) <= found.high)
    assert 0.84 <= np.mean(held) <= 0.96


def test_intervals_of_log_z_hold_the_exact_one_about_as_often_as_they_say(task):
    key, binary = solved(task), isinstance(task, Brackets)
    logps = [
        exact.enumerate_tree(task, random_tables(task, 2)).prefix_logps[-1],
        key.tree.prefix_logps[-1],
    ]
    rng, own, held = np.random.default_rng(0), np.arange(60) < 20, []
    for _ in range(400):
        rows = np.concatenate(
            [rng.choice(len(law), n, p=np.exp(law)) for law, n in zip(logps, (20, 40), strict=True)]
        )
        found = estimate_log_z(
            key.tree.rewards[rows], *(law[rows] for law in logps), own, ALPHA, 0.9, binary
        )
        held.append(found.low <= key.log_z <= found.high)
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


def test_log_z_of_group_and_fresh_answers_together(task):
    key = solved(task)
    rng, leaves = np.random.default_rng(0), np.exp(key.tree.prefix_logps[-1])
    policy_tree = exact.enumerate_tree(task, random_tables(task, 2))
    policy = np.exp(policy_tree.prefix_logps[-1])
    drawn = [rng.choice(len(leaves), 4000, p=law / law.sum()) for law in (policy, leaves)]
    rows, own = np.concatenate(drawn), np.arange(8000) < 4000
    laws = [tree.prefix_logps[-1][rows] for tree in (policy_tree, key.tree)]
    found = estimate_log_z(key.tree.rewards[rows], *laws, own, ALPHA)
    assert abs(found.value - key.log_z) < 4 * found.standard_error < 0.1
    swapped = estimate_log_z(
        key.tree.rewards[rows], *laws[::-1], ~own, ALPHA
    )  # then it is that of the policy
    assert abs(swapped.value - key.log_z) > 8 * swapped.standard_error


def test_log_z_of_one_policy_is_the_plain_mean_and_of_one_reward_exact():
    rng = np.random.default_rng(0)
    rewards, logps, own = rng.random(12), -rng.random(12), np.arange(12) < 5
    plain = np.log(np.exp(rewards / ALPHA).mean())
    assert estimate_log_z(rewards, logps, logps, own, ALPHA).value == pytest.approx(
        plain, abs=1e-12
    )
    assert estimate_log_z(np.full(12, 0.3), logps, logps - 1, own, ALPHA).value == pytest.approx(
        0.6, abs=1e-12
    )


def test_rewards_that_all_agree_still_leave_an_interval_for_a_chance():
    zero, one = (estimate_value(np.full(16, r), ALPHA, binary=True) for r in (0.0, 1.0))
    assert zero.value == zero.low == 0.0 < 0.5 < zero.high
    assert one.low < 1.9 < one.value == one.high == pytest.approx(2.0)
    assert estimate_value([0.0, 1.0], 1e-3).value == pytest.approx(1000 - np.log(2))


def test_the_standard_error_and_the_bias_of_the_log_are_those_of_many_repetitions():
    rng = np.random.default_rng(1)
    rewards = rng.random((4000, 24))
    found = [estimate_value(row, ALPHA) for row in rewards]
    values = np.array([estimate.value for estimate in found])
    truth = np.log(ALPHA * np.expm1(1 / ALPHA))  # of rewards uniform on 0..1
    assert np.mean([e.standard_error for e in found]) == pytest.approx(values.std(), rel=0.05)
    assert np.mean([e.bias for e in found]) == pytest.approx(values.mean() - truth, rel=0.2)
    assert np.mean([e.low <= truth <= e.high for e in found]) == pytest.approx(0.95, abs=0.015)


def test_steps_follow_the_task():
    task = InSteps(2, 4)
    policy, reference = (
        table_of(task, random_tables(task, 2)),
        table_of(task, random_tables(task, 1)),
    )
    found = step_values(policy, reference, task, group_size=3, alpha=ALPHA, continuations=4)
    for answer in found.answers:
        assert answer.boundaries.tolist() == [0, 1, 4]
        assert answer.step_credits == pytest.approx(
            [answer.credits[0], answer.credits[1:].sum()], abs=1e-12
        )
        assert [place.samples for place in answer.monte_carlo] == [4, 4, 0]
        assert "".join(answer.step_texts) == "".join(answer.texts)
    record = found.to_json()["answers"][0]
    assert [(s["start"], s["stop"]) for s in record["steps"]] == [(0, 1), (1, 4)]
    assert [place["after"] for place in record["monte_carlo"]] == [0, 1, 4]


def test_continuations_start_with_their_prefix_and_do_not_hang_on_the_batch(task):
    reference, asked = table_of(task, random_tables(task, 1)), Asked(task, 0, seed=0, max_rows=64)
    prefixes = [(0, 1), (1, 0)]
    drawn = asked.after(reference, prefixes, 5, step=3)
    assert all(row[:2] == prefix for prefix in prefixes for row in drawn[prefix])
    assert all(
        len(row) == task.horizon or row[-1] == task.eos_token_id
        for rows in drawn.values()
        for row in rows
    )
    assert drawn == Asked(task, 0, seed=0, max_rows=3).after(reference, prefixes, 5, step=3)
    assert drawn != Asked(task, 0, seed=1, max_rows=64).after(reference, prefixes, 5, step=3)
    # Fresh answers are fresh: not those of a group that the same model drew, nor of one another.
    fresh = asked.continued(reference, [(0, 1, 2)], [np.arange(3)], 5)
    assert fresh[()] != asked.after(reference, [()], 5, step=0)[()]
    assert [row[1:2] for row in fresh[(0,)]] != [row[:1] for row in fresh[()]]


def every_key(value: Any) -> set[str]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return set(value if isinstance(value, dict) else ()).union(*map(every_key, inside))


def test_the_json_has_the_documented_keys(task):
    reference = table_of(task, random_tables(task, 1))
    found = step_values(
        table_of(task, random_tables(task, 2)), reference, task, alpha=ALPHA, continuations=2
    )
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    text = type(found).to_json.__doc__
    estimate = {"value", "low", "high", "standard_error", "bias", "samples", "method"}
    answer = record["answers"][0]
    assert set(record["log_z"]) == estimate
    assert {*estimate, "after"} == set(answer["monte_carlo"][0])
    assert [key for key in sorted(every_key(record)) if f"`{key}`" not in text] == []
    assert record["schema"] in text
    assert record["binary_reward"] == isinstance(task, Brackets)
    L, S = len(answer["tokens"]), len(answer["steps"])
    assert [len(answer[key]) for key in ("texts", "credits", "step_ids", "implicit_values", "exact_values")] == [
        L, L, L, L + 1, L + 1,
    ]  # fmt: skip
    assert len(answer["monte_carlo"]) == S + 1


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


def test_the_page_stands_alone_and_names_reference_and_alpha(tmp_path):
    problem = PosterProblem()
    key = exact.solve(exact.enumerate_tree(problem), alpha=ALPHA)
    policy, reference = table_of(problem, key.optimal_step_logps), TabularLM.from_mdp(problem)
    found = step_values(
        policy, reference, problem, alpha=ALPHA, answers=[problem.examples["right"]]
    )
    found = replace(found, prompt="<script>alert(1)</script>\n\u202ereversed")
    page = write_page(found, tmp_path / "new" / "index.html").read_text(encoding="utf-8")
    assert page == render_page(found)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "prefers-color-scheme: dark" in page
    assert not [word for word in page.split('"') if word.startswith(("http:", "https:", "//"))]
    figures = page.split("<figure")[1:]
    assert len(figures) == 3
    assert all(
        figure.count("reference: the initial model") and "alpha = 0.5" in figure
        for figure in figures
    )
    lines = lines_of(found, found.answers[0])
    assert list(lines.lines) == ["exact", "Monte-Carlo", "implicit"]
    head, rows = lines.table()
    assert (head[-1], rows[-1][-1]) == ("chance of ending right", "100%")
    assert [axes.get_ylabel() for axes in lines.figure().axes] == [
        "soft value V, nats",
        "chance of ending right",
    ]


@pytest.fixture(scope="module")
def story(shared_model):
    """A policy, the model it was made from by noise, and an opening of three tokens."""
    reference, tokenizer = load_model(shared_model)
    policy = copy.deepcopy(reference)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.05 * weight.std() * torch.randn(weight.shape, generator=generator)
    return (
        policy,
        reference,
        stories(tokenizer, openings=["One day, Lily was"], horizon=3),
        tokenizer,
    )


def test_a_language_model_is_scored_continued_and_pruned(story):
    policy, reference, task, tokenizer = story
    prompt = torch.from_numpy(task.prompts())
    with torch.no_grad():
        first = reference(input_ids=prompt).logits[0, -1]
    first[list(task.tokenizer.all_special_ids)] = -torch.inf
    rows = [[int(first.argmax())], [int(first.argmin())]]
    for row in rows:  # the second likeliest token, then the likeliest
        for rank in (1, 0):
            with torch.no_grad():
                logits = reference(input_ids=torch.cat([prompt, torch.tensor([row])], 1)).logits[
                    0, -1
                ]
            logits[list(task.tokenizer.all_special_ids)] = -torch.inf
            row.append(int(logits.topk(2).indices[rank]))
    found = step_values(policy, reference, task, alpha=0.1, continuations=2, answers=rows, top_k=3)
    inside, outside = found.answers
    with torch.no_grad():
        ids = torch.cat([prompt, torch.tensor([rows[0]])], 1)
        laws = [
            model(input_ids=ids).logits[0, -4:-1].log_softmax(-1) for model in (policy, reference)
        ]
    gap = (laws[0] - laws[1])[range(3), rows[0]].double().numpy()
    assert inside.credits == pytest.approx(gap, abs=1e-4)
    assert np.abs(gap).max() > 0.01
    # The pruned tree: named as such, its own log Z, the whole answer that stays inside it, and none
    # that leaves it.
    assert (found.exact.kind, found.exact.horizon, found.pin[1]) == ("pruned", 3, "estimate")
    assert inside.implicit_values[0] == found.pin[0] == found.log_z.value
    assert "cut to its 3 most probable tokens" in found.exact.reference
    tree = exact.enumerate_tree(
        *tree_from_model(reference, tokenizer, "One day, Lily was", 3, 3, sentiment)
    )
    key = exact.solve(tree, 0.1)
    assert inside.exact_values == pytest.approx(
        [key.soft_value((0, 1, 0)[:t]) for t in range(4)], abs=1e-12
    )
    assert outside.exact_values == pytest.approx([key.log_z], abs=1e-12)
    assert found.exact.log_z == pytest.approx(key.log_z, abs=1e-12)
    assert inside.exact_values[-1] == pytest.approx(inside.reward / 0.1, abs=1e-9)
    assert "Exact credit inside the pruned tree" in render_page(found)


def test_explore_writes_a_page_and_the_same_numbers_as_json(shared_model, tmp_path):
    report = explore(
        shared_model,
        alpha=0.2,
        group_size=2,
        continuations=2,
        horizon=6,
        tree_horizon=2,
        out=tmp_path,
    )
    page = report.pop("page")
    assert json.loads((tmp_path / "values.json").read_text()) == report
    assert "Once upon a time" in Path(page).read_text(encoding="utf-8")
    assert report["notes"][0].startswith("Policy and reference are the same model")
    assert {row["credit"] for row in answer_rows(report)} == {0.0}
    with pytest.raises(ValueError, match="give --task, or --prompt"):
        explore(shared_model, task="stories", prompt="One day")
    assert all(f"`{key}`" in StepValues.to_json.__doc__ for key in every_key(report) | {"page"})
    with pytest.raises(ValueError, match="give --task with it"):
        explore(shared_model, prompt_index=2)


def test_explore_takes_the_shipped_model_and_its_task():
    report = explore(
        "shipped", task="arithmetic", alpha=0.5, group_size=2, continuations=4, prompt_index=1
    )
    assert (report["binary_reward"], report["exact"]["kind"], report["exact"]["top_k"]) == (
        True,
        "pruned",
        4,
    )
    for answer in report["answers"]:
        assert answer["text"].count(";") == len(answer["steps"]) - 1
        assert answer["special"] == [len(answer["tokens"]) - 1]
        assert answer["monte_carlo"][-1]["value"] == answer["reward"] / 0.5
    with pytest.raises(ValueError, match="give --task, such as arithmetic"):
        explore("shipped")


def test_explore_gives_options_to_the_task(tmp_path):
    small = {"alpha": 0.5, "group_size": 2, "continuations": 2}
    report = explore(
        "shipped", task="arithmetic", task_options={"tiers": [3], "split": "test"}, **small
    )
    assert report["prompt"] == ArithmeticText(tiers=(3,), split="test").question(0)
    assert report["exact"]["kind"] == "pruned"
    chain = ArithmeticChain(operations=1)
    small_transformer(chain, "tiny").save_pretrained(tmp_path)
    report = explore(
        str(tmp_path), task="toy_envs/ArithmeticChain-v0", task_options={"operations": 1}, **small
    )
    assert report["prompt"].endswith(chain.question(0))
    with pytest.raises(ValueError, match="unexpected keyword argument 'operation'"):
        explore(
            str(tmp_path),
            task="toy_envs/ArithmeticChain-v0",
            task_options={"operation": 1},
            **small,
        )
    with pytest.raises(ValueError, match="tiers: options of a task: give --task"):
        explore("shipped", task_options={"tiers": [3]})
