"""A table, a small transformer and a pretrained language model: the same calls, from the first
sample to the report.
"""

import json

import pytest
import torch
import yaml

from gnivo_edu.evaluation import compare, evaluate, load_report
from gnivo_edu.policies import behaviour_check, sample_completions, score_rows, small_transformer
from gnivo_edu.training import fine_tune, load_config
from gnivo_edu.training.setup import make_policy_and_task
from tests.training.training_runs import Stop
from toy_envs import Brackets

TABLE = {"model": "table", "task": "toy_envs/Brackets-v0", "learning_rate": 0.1}
SMALL = {"task": "toy_envs/Brackets-v0", "learning_rate": 1e-2}
REAL = {"task": "stories", "task_options": {"horizon": 8}, "learning_rate": 1e-3}


@pytest.fixture(params=["table", "small transformer", "stories260k"])
def rung(request, tmp_path):
    if request.param == "table":
        return TABLE
    if request.param == "small transformer":
        small_transformer(Brackets(), "tiny", dtype=torch.float64).save_pretrained(
            tmp_path / "base"
        )
        return {**SMALL, "model": str(tmp_path / "base")}
    return {**REAL, "model": request.getfixturevalue("shared_model")}


@pytest.mark.slow
def test_sample_score_train_resume_and_evaluate_are_the_same_calls_on_every_rung(rung, tmp_path):
    def config(out):
        few = {
            "steps": 4,
            "prompts_per_step": 2,
            "group_size": 4,
            "save_every": 2,
            "precision": "float64",
        }
        return load_config(**{**few, **rung}, out=str(tmp_path / out))

    policy, task = make_policy_and_task(config("whole"), torch.device("cpu"))

    # Sample: groups of answers, each with its length and its log-probability under the policy that
    #     drew it.
    prompts = [0] if len(task.prompts()) == 1 else [0, 1]
    drawn = sample_completions(policy, task, 4, prompts, seed=3)
    assert drawn.tokens.shape == (len(prompts), 4, task.horizon)
    K, T = 4, task.horizon
    assert behaviour_check(policy, task, drawn)["sampling/sampling_logp_difference/max"] < 1e-10

    # Score: the same log-probabilities again, from whole rows, with gradient.
    index = drawn.prompt_index.repeat_interleave(K)
    scored = score_rows(policy, task, drawn.tokens.view(-1, T), drawn.lengths.view(-1), index)[
        "policy_logps"
    ]
    inside = drawn.mask.view(-1, T)
    assert (scored - drawn.logps.view(-1, T))[inside].abs().max() < 1e-10
    assert scored.requires_grad
    assert (scored[~inside] == 0).all()

    # Train, and train again with a stop in the middle: bit for bit the same.
    whole = fine_tune(config("whole"))

    def stop(row):
        if row["step"] == 2:
            raise Stop

    with pytest.raises(Stop):
        fine_tune(config("stopped"), on_step=stop)
    resumed = fine_tune(config("stopped"), resume=True)
    moved = 0.0
    for one, two, before in zip(
        *(p.parameters() for p in (whole.policy, resumed.policy, policy)), strict=True
    ):
        assert torch.equal(one, two)
        moved = max(moved, float((one - before).detach().abs().max()))
    assert moved > 1e-4
    logs = [
        (tmp_path / out / "metrics.jsonl").read_text().splitlines() for out in ("whole", "stopped")
    ]
    first, second = ([{**json.loads(line), "step_time": 0} for line in log] for log in logs)
    assert first == second
    assert [row["step"] for row in first] == [0, 1, 2, 3]
    assert yaml.safe_load((tmp_path / "whole/config.yaml").read_text())["group_size"] == 4

    # Evaluate: before, and after from the folder that the run has left.
    after, _ = make_policy_and_task(
        load_config(**{**rung, "model": str(tmp_path / "whole/model")}), torch.device("cpu")
    )
    for name, model in (("before", policy), ("after", after)):
        evaluate(model, task, samples=4, ks=(1, 3), prompts=prompts, out=tmp_path / name)
    before, after = (load_report(tmp_path / name) for name in ("before", "after"))
    assert before.rewards.shape == after.rewards.shape == (len(prompts), 4)
    assert compare(before, after)["problems"] == len(prompts)
    assert len((tmp_path / "before/completions.jsonl").read_text().splitlines()) >= 4 * len(prompts)
