"""A real model explored: a page, and the same numbers as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gnivo_edu.evaluation.explore import answer_rows, explore
from gnivo_edu.evaluation.step_values.record import StepValues
from gnivo_edu.policies import Critic, TabularLM
from gnivo_edu.policies.critic import write_critic
from gnivo_edu.policies.small import small_transformer
from gnivo_edu.tasks.arithmetic_text import ArithmeticText
from tests.evaluation.keys import every_key
from toy_envs import ArithmeticChain, Brackets


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
    assert [row["steps"] for row in answer_rows(report)]
    assert all("implicit" not in row for row in answer_rows(report))
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
    with pytest.raises(ValueError, match="has no option 'operation'; did you mean 'operations'"):
        explore(
            str(tmp_path),
            task="toy_envs/ArithmeticChain-v0",
            task_options={"operation": 1},
            **small,
        )
    with pytest.raises(ValueError, match="tiers: options of a task: give --task"):
        explore("shipped", task_options={"tiers": [3]})


def test_a_table_is_a_model_and_a_reference_of_a_toy_environment():
    small = {"alpha": 0.5, "group_size": 2, "continuations": 2}
    report = explore("table", task="Brackets", **small)
    assert report["exact"]["kind"] == "full"
    assert report["policy"] == report["reference"] == "table"
    with pytest.raises(ValueError, match="give the task too"):
        explore("table", **small)


@pytest.mark.slow
def test_a_run_s_critic_is_drawn_beside_its_model(tmp_path):
    brackets = Brackets()
    policy = TabularLM.from_mdp(brackets)
    policy.save_pretrained(tmp_path / "model")
    small = {"alpha": 0.5, "group_size": 2, "continuations": 2, "task": "Brackets"}
    model = str(tmp_path / "model")
    assert all(x["critic_value"] is None for x in explore(model, **small)["answers"])
    critic = Critic(policy)
    with torch.no_grad():
        critic.table.logits[0, 0, 0] = 0.25  # before the first token, reward units
    write_critic(critic, tmp_path / "critic")
    report = explore(model, **small, out=tmp_path / "page")
    for answer in report["answers"]:
        between = [0.0] * (len(answer["tokens"]) - 1)
        assert answer["critic_value"] == [0.5, *between, 2 * answer["reward"]]
    assert report["notes"][-2].startswith("The critic is drawn as it was trained")
    page = Path(report["page"]).read_text(encoding="utf-8")
    assert "“critic” strays" in page
    # One of log Z says nothing along an answer, and one of another model is said to be that.
    write_critic(Critic(policy, unit="nats"), tmp_path / "critic")
    assert all(x["critic_value"] is None for x in explore(model, **small)["answers"])
    write_critic(Critic(small_transformer(brackets, "tiny")), tmp_path / "critic")
    with pytest.raises(ValueError, match="this critic is of another policy"):
        explore(model, **small)
