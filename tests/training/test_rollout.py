"""Questions whose gold answers cannot be read: left out of training and of the report, and said
so.
"""

import json

import numpy as np
import pytest

from gnivo_edu.policies import TabularLM
from gnivo_edu.training.before_after import before_and_after
from gnivo_edu.training.config import load_config
from gnivo_edu.training.loop import fine_tune
from tests.training.training_runs import metrics, run
from toy_envs import ArithmeticChain

CHAIN = {
    "model": "table",
    "task": "toy_envs/ArithmeticChain-v0",
    "precision": "float64",
    "steps": 6,
    "prompts_per_step": 2,
    "group_size": 2,
    "learning_rate": 0.1,
    "completions_every": 1,
}


@pytest.fixture
def unreadable(monkeypatch):
    def these(*numbers):
        left = np.setdiff1d(np.arange(4), numbers).astype(np.int64)
        monkeypatch.setattr(ArithmeticChain, "gradable", lambda self: left)

    return these


def test_what_cannot_be_graded_is_not_drawn_and_a_line_says_so(unreadable, tmp_path):
    unreadable(0, 2)
    said: list[str] = []
    fine_tune(load_config(**CHAIN, out=str(tmp_path)), progress=said.append)
    assert said == ["2 of 4 questions are left out: their gold answers cannot be read"]
    saved = [json.loads(line) for line in (tmp_path / "completions.jsonl").read_text().splitlines()]
    assert {row["prompt"] for row in saved} == {1, 3}  # all prompts of each step


def test_nothing_left_out_is_the_run_that_it_was(unreadable, tmp_path):
    run(tmp_path / "plain", **CHAIN)
    unreadable()
    run(tmp_path / "none", **CHAIN)
    assert metrics(tmp_path / "none") == metrics(tmp_path / "plain")


def test_all_left_out_is_one_line_before_anything_is_written(unreadable, tmp_path):
    unreadable(0, 1, 2, 3)
    with pytest.raises(ValueError, match="none of the 4 gold answers can be read") as error:
        run(tmp_path / "out", **CHAIN)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_the_report_asks_only_what_can_be_graded(unreadable):
    unreadable(0, 3)
    mdp = ArithmeticChain()
    assert mdp.gradable().tolist() == [1, 2]
    policy = TabularLM.from_mdp(mdp)
    found = before_and_after(policy, policy, mdp, completions=4)
    assert found["questions"] == 2
    assert [text["prompt"] for text in found["texts"]] == [mdp.question(i) for i in (1, 2)]
    np.testing.assert_allclose(found["difference"], 0)
