"""The report at the end of a run: the same questions to the model as it was and as it is."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from gnivo_edu.policies import TabularLM
from gnivo_edu.training.before_after import before_and_after, report_of
from gnivo_edu.training.config import load_config
from toy_envs import ArithmeticChain, PosterProblem, TokenMDP


def coins(chances):
    """One coin per prompt, each with its own chance of a right answer."""
    mdp = TokenMDP(
        2,
        1,
        prompts=[[2, i % 2] for i in range(len(chances))],
        reward=lambda tokens, lengths: tokens[:, 0],
    )
    return mdp, TabularLM.from_tables(mdp, [[np.log([[1 - p, p]])] for p in chances])


@pytest.mark.slow
def test_the_difference_is_that_of_the_two_models_and_its_interval_is_paired():
    mdp, before = coins([0.5, 0.2])
    _, after = coins([0.7, 0.4])
    found = before_and_after(before, after, mdp, completions=20_000)
    assert found["before"] == pytest.approx(0.35, abs=0.02)
    assert found["after"] == pytest.approx(0.55, abs=0.02)
    assert found["difference"] == pytest.approx(found["after"] - found["before"])
    low, high = found["interval"]
    assert 0.15 < low <= found["difference"] <= high < 0.25
    assert before_and_after(after, before, mdp, completions=20_000)["difference"] == pytest.approx(
        -found["difference"]
    )


def test_the_same_model_twice_writes_the_same_and_gains_nothing():
    problem = PosterProblem()
    policy = TabularLM.from_mdp(problem)
    found = before_and_after(policy, policy, problem)
    assert (found["difference"], found["questions"], found["answers"]) == (0.0, 1, 256)
    (text,) = found["texts"]
    assert text["before"] == text["after"]
    assert text["prompt"].startswith("Let T = 11")


def test_questions_are_spread_over_the_task():
    mdp = ArithmeticChain(num_prompts=8)
    policy = TabularLM.from_mdp(mdp, seed=0)
    found = before_and_after(policy, policy, mdp, prompts=4, completions=24, texts=9)
    assert (found["questions"], found["answers"], len(found["texts"])) == (4, 24, 4)
    assert [text["prompt"] for text in found["texts"]] == [mdp.question(i) for i in (0, 2, 5, 7)]


def test_more_questions_get_more_answers():
    mdp = ArithmeticChain(num_prompts=8)
    policy = TabularLM.from_mdp(mdp, seed=0)
    for prompts, answers in ((2, 24), (6, 24), (8, 32)):
        found = before_and_after(policy, policy, mdp, prompts=prompts, completions=24)
        assert (found["questions"], found["answers"]) == (prompts, answers)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, {"reward, its one step": 0.0}),
        (2, {"reward, first step": 0.0, "reward, last step": 1.0}),
        (5, {"reward, first 2 steps": 0.5, "reward, last 2 steps": 3.5}),
        (19, {"reward, first 9 steps": 4.0, "reward, last 9 steps": 14.0}),
        (20, {"reward, first 10 steps": 4.5, "reward, last 10 steps": 14.5}),
        (40, {"reward, first 10 steps": 4.5, "reward, last 10 steps": 34.5}),
    ],
)
def test_the_two_windows_of_a_summary_share_no_step(steps, expected, tmp_path):
    rows = [{"reward": float(step), "grad_norm": 2.0 * (step % 2)} for step in range(steps)]
    lines = [json.dumps(row) + "\n" for row in rows]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    config = load_config(out=str(tmp_path), report_questions=0, steps=steps)
    done = SimpleNamespace(config=config, folder=SimpleNamespace(path=tmp_path), seconds=0.0)
    summary = report_of(done, progress=print)["summary"]
    assert {name: x for name, x in summary.items() if name.startswith("reward")} == expected
    assert summary["steps clipped to norm 1"] == f"{steps // 2} of {steps}"


def test_the_report_asks_only_what_can_be_graded(unreadable):
    unreadable(0, 3)
    mdp = ArithmeticChain()
    assert mdp.gradable().tolist() == [1, 2]
    policy = TabularLM.from_mdp(mdp)
    found = before_and_after(policy, policy, mdp, completions=4)
    assert found["questions"] == 2
    assert [text["prompt"] for text in found["texts"]] == [mdp.question(i) for i in (1, 2)]
    np.testing.assert_allclose(found["difference"], 0)
