"""fine_tune on things themselves: a policy, a task and an objective that no name stands for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
import yaml

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.policies import TabularLM
from gnivo_edu.training import fine_tune, load_config
from tests.training.training_runs import Stop, left
from toy_envs import RandomTree, TokenMDP

SETTINGS = {
    "model": "table",
    "task": "toy_envs/RandomTree-v0",
    "task_options": {"vocab_size": 2, "horizon": 3},
    "objective_options": {"alpha": 0.5},
    "precision": "float64",
    "steps": 4,
    "prompts_per_step": 2,
    "group_size": 3,
    "learning_rate": 0.05,
    "save_every": 1,
    "completions_every": 1,
}


def uneven() -> TokenMDP:
    """A task that is nowhere registered: each token 1 earns a quarter."""
    return TokenMDP(2, 4, reward=lambda tokens, lengths: (tokens == 1).mean(1))


def pulled(batch: GroupBatch, alpha: float) -> LossOutput:
    """Half the loss of GVPO: an objective that is in no registry."""
    out = objectives.gvpo(batch, alpha=alpha)
    return LossOutput(out.loss / 2, out.metrics)


def things(task: TokenMDP) -> dict[str, Any]:
    """A policy, a task and an objective, as a call makes them anew."""
    policy = TabularLM.from_mdp(task, seed=3, dtype=torch.float64)
    return {"policy": policy, "task": task, "objective": pulled}


def run(out: Path, resume: bool = False, stop_at: int | None = None, **given: Any) -> Any:
    def on_step(row: dict[str, Any]) -> None:
        if row["step"] == stop_at:
            raise Stop

    return fine_tune(load_config(**SETTINGS, out=str(out)), resume, on_step=on_step, **given)


def saved(out: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((out / "config.yaml").read_text())
    return config


def test_a_task_and_an_objective_given_are_those_that_their_names_stand_for(tmp_path: Path) -> None:
    run(tmp_path / "names")
    given = {
        "task": RandomTree(vocab_size=2, horizon=3),
        "objective": objectives.gnivo,
        "policy": "table",
    }
    run(tmp_path / "things", **given)
    assert left(tmp_path / "things")[0] == left(tmp_path / "names")[0]
    run(
        tmp_path / "wrapped", task=gymnasium.make("toy_envs/RandomTree-v0", vocab_size=2, horizon=3)
    )
    assert left(tmp_path / "wrapped")[0] == left(tmp_path / "names")[0]


def test_a_policy_given_alone_is_where_the_run_starts_and_stays_as_it_is(tmp_path: Path) -> None:
    policy = TabularLM.from_mdp(RandomTree(vocab_size=2, horizon=3), seed=3, dtype=torch.float64)
    before = policy.logits.detach().clone()
    trained = run(tmp_path, policy=policy)
    assert torch.equal(policy.logits, before)
    assert torch.equal(trained.initial.logits, before)
    assert not torch.equal(trained.policy.logits, before)
    assert trained.task.name == "toy_envs/RandomTree-v0"
    assert saved(tmp_path)["model"] == "TabularLM"


def test_an_objective_given_alone_is_the_one_that_is_minimised(tmp_path: Path) -> None:
    half = run(tmp_path / "half", objective=pulled)
    whole = run(tmp_path / "whole", objective="gvpo")
    assert half.config.objective == "pulled"
    assert whole.config.objective == "gvpo"
    rows = [left(tmp_path / name)[1][0] for name in ("half", "whole")]
    assert rows[0]["grad_norm"] == rows[1]["grad_norm"] / 2 > 0
    # A partial is called what its function is.
    bound = run(tmp_path / "bound", objective=partial(pulled, alpha=0.5))
    assert bound.config.objective == "pulled"


def test_a_task_given_alone_gets_a_table_of_its_size(tmp_path: Path) -> None:
    trained = run(tmp_path, task=uneven())
    assert isinstance(trained.policy, TabularLM)
    assert trained.policy.logits.dtype == torch.float64
    assert saved(tmp_path)["task"] == "TokenMDP"
    assert "rewards/TokenMDP/mean" in trained.metrics


def test_the_same_call_resumes_a_run_of_things_bit_for_bit(tmp_path: Path) -> None:
    run(tmp_path / "whole", **things(uneven()))
    given = things(uneven())
    with pytest.raises(Stop):
        run(tmp_path / "stopped", stop_at=1, **given)
    # The very objects of the first call: had the run trained them, it would go on from elsewhere.
    run(tmp_path / "stopped", resume=True, **given)
    assert left(tmp_path / "stopped") == left(tmp_path / "whole")
    names = {key: saved(tmp_path / "whole")[key] for key in ("model", "task", "objective")}
    assert names == {"model": "TabularLM", "task": "TokenMDP", "objective": "pulled"}


def test_other_things_do_not_resume_a_run(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tmp_path, stop_at=1, **things(uneven()))
    with pytest.raises(ValueError, match="objective was 'pulled'") as error:
        run(tmp_path, resume=True, **{**things(uneven()), "objective": "gvpo"})
    assert "\n" not in str(error.value)


def test_what_a_run_of_things_cannot_do_is_one_line(tmp_path: Path) -> None:
    policy = TabularLM.from_mdp(uneven(), dtype=torch.float64)
    for given, message in (
        ({"policy": policy, "task": "gsm8k"}, "comes without a tokenizer"),
        ({"task": "RandomTre"}, "did you mean 'RandomTree'"),
        ({"objective": "gnvo"}, "did you mean 'gnivo'"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            fine_tune(load_config(steps=1, group_size=2, out=str(tmp_path)), **given)
        assert "\n" not in str(error.value)
