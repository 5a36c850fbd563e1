"""evaluate() on enumerable tasks agrees with enumeration; it keeps every completion and goes on
where it stopped.
"""

import json
from dataclasses import dataclass

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact, policies
from gnivo_edu.evaluation import (
    benchmark_table,
    compare,
    evaluate,
    exact_chances,
    load_report,
    paired_difference,
)
from gnivo_edu.policies.generation import sample_completions

CHAIN = toy_envs.ArithmeticChain(num_prompts=4)


def table(seed=0, sharp=0.0, task=CHAIN):
    """A policy on a small task; `sharp` moves it towards each prompt's demonstration."""
    own = []
    for i in range(len(task.prompts())):
        tables = exact.random_reference(task.vocab_size, task.horizon, seed + i)
        number = 0
        for t, token in enumerate(task.demonstration(i).tolist() if sharp else ()):
            row = tables[t][number]
            row[token] += sharp
            row -= np.logaddexp.reduce(row)
            number = number * task.vocab_size + token
        own.append(tables)
    return policies.TabularLM.from_tables(task, own)


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
    assert report.to_json()["pass@1"] == pytest.approx(report.pass_at(1).mean(), abs=1e-15)


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


def test_every_completion_is_written_with_its_reward(tmp_path):
    evaluate(table(sharp=3.5), CHAIN, samples=3, out=tmp_path, max_rows=5)
    rows = [json.loads(line) for line in (tmp_path / "completions.jsonl").read_text().splitlines()]
    assert [(row["problem"], row["sample"]) for row in rows] == [
        (i, j) for i in range(4) for j in range(3)
    ]
    for row in rows:
        assert row["text"] == CHAIN.decode(row["tokens"])
        assert row["reward"] == CHAIN.reward([row["tokens"]], [row["length"]], row["problem"])[0]
    assert {row["reward"] for row in rows} == {0.0, 1.0}


class Stopped(Exception):
    pass


def stop_after(problems):
    def say(line):
        if line.startswith(f"{problems} of"):
            raise Stopped

    return say


def test_a_stopped_run_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    policy, whole, halved = table(sharp=2.5), tmp_path / "whole", tmp_path / "halved"
    evaluate(policy, CHAIN, samples=3, out=whole)
    with pytest.raises(Stopped):
        evaluate(policy, CHAIN, samples=3, out=halved, max_rows=3, say=stop_after(2))
    path = halved / "completions.jsonl"
    text = path.read_text()
    assert len(text.splitlines()) == 6
    path.write_text(text[:-40])  # the stop came in the middle of a line
    drawn = []

    def counted(policy, task, group_size, prompt_index, **options):
        drawn.extend(prompt_index)
        return sample_completions(policy, task, group_size, prompt_index, **options)

    monkeypatch.setattr("gnivo_edu.policies.generation.sample_completions", counted)
    said = []
    report = evaluate(policy, CHAIN, samples=3, out=halved, say=said.append)
    assert drawn == [1, 2, 3], "problem 0 was done"
    assert said[0] == "1 of 4 problems were done before"
    assert path.read_text() == (whole / "completions.jsonl").read_text()
    assert (halved / "report.json").read_text() == (whole / "report.json").read_text()
    assert load_report(halved).to_json() == report.to_json()


def test_a_folder_holds_one_evaluation(tmp_path):
    evaluate(table(0), CHAIN, samples=3, out=tmp_path)
    for policy, options, name in [
        (table(1), {}, "weights"),
        (table(0), {"seed": 1}, "seed: 0, now 1"),
    ]:
        with pytest.raises(
            ValueError, match=f"another evaluation .*{name}.*: choose another folder"
        ):
            evaluate(policy, CHAIN, samples=3, out=tmp_path, **options)
    with pytest.raises(ValueError, match="prompts"):
        evaluate(table(0), CHAIN, samples=3, prompts=[0, 1], out=tmp_path)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ValueError, match="is not from an evaluation"):
        evaluate(table(0), CHAIN, samples=3, out=tmp_path)


def test_loading_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="holds no finished evaluation"):
        load_report(tmp_path)
    evaluate(table(0), CHAIN, samples=3, out=tmp_path)
    path = tmp_path / "completions.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(
        ValueError, match=r"completions are missing .* all of 3 problems, and the report is of 4"
    ):
        load_report(tmp_path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"completions are missing .* all of 0 problems"):
        load_report(tmp_path)
    for broken in ('{"a":', "[1]"):
        (tmp_path / "settings.json").write_text(broken)
        with pytest.raises(ValueError, match=r"settings\.json' is broken"):
            load_report(tmp_path)
        with pytest.raises(ValueError, match=r"settings\.json' is broken"):
            evaluate(table(0), CHAIN, samples=3, out=tmp_path)
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(ValueError, match="no evaluation wrote"):
        load_report(tmp_path)


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


# --- tasks that grade -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    text: str
    answer: str | None
    gold: str
    status: str
    reward: float
    counts: bool


class Graded(toy_envs.TokenMDP):
    """One token, 0..3. Gold is 0; 3 is no answer; the gold of problem 2 cannot be read."""

    def __init__(self):
        super().__init__(4, 1, prompts=[[4, i] for i in range(3)])

    def grade(self, tokens, lengths, prompt_index):
        return [
            Verdict(str(t), None if t == 3 else f"{t}", "0", "", float(t == 0 and i < 2), i < 2)
            for t, i in zip(tokens[:, 0].tolist(), prompt_index.tolist(), strict=True)
        ]


def test_majority_votes_with_the_answers_and_unreadable_problems_are_left_out(tmp_path):
    task, said = Graded(), []
    law = np.array([0.4, 0.3, 0.1, 0.2])
    policy = policies.TabularLM.from_tables(task, [np.log(law[None])])
    report = evaluate(policy, task, samples=400, ks=(1, 2), out=tmp_path, say=said.append)
    found = report.to_json()
    assert (found["problems"], found["skipped"], report.skipped) == (2, 1, (2,))
    assert said[-1].startswith("1 problems are left out")
    a, b, c, silent = law
    truth = (
        a * a + 2 * a * silent + a * (b + c)
    )  # two votes: both right, one silent, or a tie settled by lot
    assert found["maj@2"] == pytest.approx(truth, abs=4 * np.sqrt(0.25 / 800))
    row = json.loads((tmp_path / "completions.jsonl").read_text().splitlines()[0])
    assert {"answer", "gold", "status", "counts"} <= set(row)
    assert load_report(tmp_path).to_json() == found


# --- two models -----------------------------------------------------------------------------------


def test_compare_is_the_paired_difference_of_shared_problems():
    task = toy_envs.ArithmeticChain(num_prompts=8)
    first, second = (
        evaluate(table(7, sharp, task), task, samples, model=name)
        for sharp, samples, name in ((2.0, 8, "before"), (2.6, 16, "after"))
    )
    found = compare(first, second)
    assert (found["first"], found["second"], found["problems"]) == ("before", "after", 8)
    for k in (1, 3):
        gap = second.pass_at(k) - first.pass_at(k)
        assert found[f"difference@{k}"] == pytest.approx(gap.mean(), abs=1e-15)
        assert found[f"better@{k}"] == (gap > 0).sum()
        low, high = found[f"interval@{k}"]
        assert low < gap.mean() < high
        assert [low, high] == paired_difference(first.pass_at(k), second.pass_at(k)).ends
        wide = found[f"unpaired_interval@{k}"]
        assert high - low < wide[1] - wide[0]
    back = compare(second, first)
    assert back["difference@1"] == -found["difference@1"]
    assert back["better@1"] == found["worse@1"]


def test_only_the_same_questions_can_be_compared():
    here = evaluate(table(), CHAIN, samples=3)
    other = toy_envs.ArithmeticChain(num_prompts=4, prompt_seed=1)
    with pytest.raises(ValueError, match="only results on the same questions"):
        compare(here, evaluate(table(task=other), other, samples=3))
    with pytest.raises(ValueError, match="only results on the same questions"):
        compare(here, evaluate(table(), CHAIN, samples=3, prompts=[0, 1]))
    with pytest.raises(ValueError, match="pass@8 needs at least 8"):
        compare(here, here, ks=[8])


def test_the_columns_of_table_1():
    results = [
        {
            "model": m,
            "task": t,
            "pass@1": p,
            "interval@1": [p - 0.1, p + 0.1],
            "pass@3": p,
            "interval@3": None,
        }
        for m, t, p in (("base", "aime24", 0.1), ("base", "amc23", 0.4), ("tuned", "aime24", 0.25))
    ]
    base, tuned = benchmark_table(results)
    assert list(base) == ["model", "amc23 pass@1", "amc23 pass@3", "aime24 pass@1", "aime24 pass@3"]
    assert base["amc23 pass@1"] == "40.0 [30.0, 50.0]"
    assert tuned["aime24 pass@3"] == "25.0"
    assert tuned["amc23 pass@1"] == ""
    with pytest.raises(ValueError, match="two results on one task"):
        benchmark_table([*results, results[0]])


def test_the_columns_stand_in_the_order_of_table_1_and_the_rows_as_they_were_given():
    tasks = (
        "arithmetic-test",
        "math500-500",
        "aime25-30",
        "aime24-30",
        "olympiadbench-674",
        "minerva_math-272",
        "amc23-83",
    )
    results = [
        {"model": m, "task": t, "pass@1": 0.5, "interval@1": None}
        for t in tasks
        for m in ("second", "first")
    ]
    rows = benchmark_table(results)
    assert [row["model"] for row in rows] == ["second", "first"]
    assert [name.removesuffix(" pass@1") for name in list(rows[0])[1:]] == [
        "amc23-83", "minerva_math-272", "olympiadbench-674", "aime24-30", "aime25-30", "math500-500", "arithmetic-test",
    ]  # fmt: skip
