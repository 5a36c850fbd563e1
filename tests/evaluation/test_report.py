"""The numbers of an evaluation, paired comparison, and the columns of Table 1."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

import toy_envs
from gnivo_edu import policies
from gnivo_edu.evaluation import (
    benchmark_table,
    compare,
    evaluate,
    load_report,
    paired_difference,
)
from tests.evaluation.chain import CHAIN, table


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
        assert found[f"difference@{k}"] == pytest.approx(gap.mean(), abs=1e-13)
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
        "amc23-83",
        "minerva_math-272",
        "olympiadbench-674",
        "aime24-30",
        "aime25-30",
        "math500-500",
        "arithmetic-test",
    ]
