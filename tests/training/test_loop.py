"""Fine-tuning: every objective, any micro-batch, a run that cannot tell that it was stopped; and a
policy, a task and an objective that no name stands for.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
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
from gnivo_edu.training.rollout import Rollouts
from tests.training.training_runs import TINY, Stop, left, run, tiny
from toy_envs import RandomTree, TokenMDP

TRAINABLE = [name for name in objectives.names() if name != "group_value"]
SETTINGS = TINY | {
    "task": "toy_envs/RandomTree-v0",
    "task_options": {"vocab_size": 2, "horizon": 3},
    "objective_options": {"alpha": 0.5},
    "steps": 4,
    "group_size": 3,
    "learning_rate": 0.05,
    "save_every": 1,
    "completions_every": 1,
}


@pytest.mark.parametrize("name", TRAINABLE)
@pytest.mark.slow
def test_every_objective_trains(name, tmp_path):
    rows = tiny(tmp_path, objective=name, steps=40, prompts_per_step=4, save_every=1000)
    early, late = (sum(row["reward"] for row in part) / 10 for part in (rows[:10], rows[-10:]))
    assert late > early + 0.1, (early, late)
    assert rows[0]["sampling/sampling_logp_difference/max"] < 1e-10


@pytest.mark.parametrize(
    "changes",
    [
        {"inner_steps": 3, "save_every": 4},
        {"reference": "refreshed", "refresh_every": 2, "inner_steps": 2, "save_every": 3},
        {"reference": "initial", "objective": "vimpo", "micro_batch": 3, "save_every": 2},
        {"objective": "vimpo", "inner_steps": 2, "save_every": 1},
        {
            "objective": "ppo",
            "inner_steps": 2,
            "save_every": 3,
            "schedule": "cosine",
            "warmup_steps": 2,
        },
        {"kl_to_initial": 0.1, "save_every": 1},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
@pytest.mark.slow
def test_a_run_that_stops_at_any_step_goes_on_bit_for_bit(changes, tmp_path):
    tiny(tmp_path / "whole", **changes)
    for at in (1, 3, 5):
        out = tmp_path / f"stopped-{at}"
        with pytest.raises(Stop):
            tiny(out, stop_at=at, **changes)
        tiny(out, resume=True, **changes)
        assert left(out) == left(tmp_path / "whole"), at


@pytest.mark.slow
def test_a_run_that_is_killed_at_twenty_random_moments_goes_on_bit_for_bit(tmp_path):
    """SIGKILL, in a process of its own: also while a checkpoint is being written."""
    changes = {
        "steps": 40,
        "inner_steps": 2,
        "save_every": 1,
        "micro_batch": 5,
        "objective": "gvpo",
    }
    began = time.monotonic()
    tiny(tmp_path / "whole", **changes)
    seconds = time.monotonic() - began
    out, rng, kills, finished = tmp_path / "killed", random.Random(0), 0, False
    while not finished:
        child = os.fork()
        if child == 0:
            try:
                torch.set_num_threads(1)
                tiny(out, resume=(out / "config.yaml").exists(), **changes)
            finally:
                os._exit(0 if (out / "model").exists() else 1)
        if kills < 20:
            time.sleep(rng.uniform(0.02, 0.25) * seconds)
            os.kill(child, signal.SIGKILL)
            kills += 1
        _, status = os.waitpid(child, 0)
        finished = os.WIFEXITED(status) and kills >= 20
        if (
            os.WIFEXITED(status) and kills < 20
        ):  # done before it was killed: begin again, from an older checkpoint
            (out / "model" / "model.safetensors").unlink()
            shutil.rmtree(max((out / "checkpoints").iterdir()))
    assert left(out) == left(tmp_path / "whole")


def test_nan_that_only_the_next_answers_show_stops_with_the_answers_of_the_update(
    tmp_path, monkeypatch
):
    draw = Rollouts.draw

    def broken(self, step, *arguments, **named):
        if step == 2:
            raise ValueError("the policy gives nan: load it in float32")
        return draw(self, step, *arguments, **named)

    monkeypatch.setattr(Rollouts, "draw", broken)
    with pytest.raises(
        ValueError,
        match=r"stopped at step 2: since the last update the policy gives nan; its answers",
    ):
        tiny(tmp_path)
    assert "tokens" in torch.load(tmp_path / "stopped-at-step-2.pt", weights_only=True)


# --- things themselves ----------------------------------------------------------------------------


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


def run_of(out: Path, resume: bool = False, stop_at: int | None = None, **given: Any) -> Any:
    """The finished run of things."""
    return run(out, resume, stop_at=stop_at, things=given, **SETTINGS)[0]


def saved(out: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((out / "config.yaml").read_text())
    return config


def test_a_task_and_an_objective_given_are_those_that_their_names_stand_for(tmp_path: Path) -> None:
    run_of(tmp_path / "names")
    given = {
        "task": RandomTree(vocab_size=2, horizon=3),
        "objective": objectives.gnivo,
        "policy": "table",
    }
    run_of(tmp_path / "things", **given)
    assert left(tmp_path / "things")[0] == left(tmp_path / "names")[0]
    run_of(
        tmp_path / "wrapped", task=gymnasium.make("toy_envs/RandomTree-v0", vocab_size=2, horizon=3)
    )
    assert left(tmp_path / "wrapped")[0] == left(tmp_path / "names")[0]


def test_a_policy_given_alone_is_where_the_run_starts_and_stays_as_it_is(tmp_path: Path) -> None:
    policy = TabularLM.from_mdp(RandomTree(vocab_size=2, horizon=3), seed=3, dtype=torch.float64)
    before = policy.logits.detach().clone()
    trained = run_of(tmp_path, policy=policy)
    assert torch.equal(policy.logits, before)
    assert torch.equal(trained.initial.logits, before)
    assert not torch.equal(trained.policy.logits, before)
    assert trained.task.name == "toy_envs/RandomTree-v0"
    assert saved(tmp_path)["model"] == "TabularLM"


def test_an_objective_given_alone_is_the_one_that_is_minimised(tmp_path: Path) -> None:
    half = run_of(tmp_path / "half", objective=pulled)
    whole = run_of(tmp_path / "whole", objective="gvpo")
    assert half.config.objective == "pulled"
    assert whole.config.objective == "gvpo"
    rows = [left(tmp_path / name)[1][0] for name in ("half", "whole")]
    assert rows[0]["grad_norm"] == rows[1]["grad_norm"] / 2 > 0
    # A partial is called what its function is.
    bound = run_of(tmp_path / "bound", objective=partial(pulled, alpha=0.5))
    assert bound.config.objective == "pulled"
    # So does one that returns its loss alone.
    alone = run_of(tmp_path / "alone", objective=lambda batch, alpha: pulled(batch, alpha).loss)
    assert alone.metrics["grad_norm"] == half.metrics["grad_norm"]


def test_a_task_given_alone_gets_a_table_of_its_size(tmp_path: Path) -> None:
    trained = run_of(tmp_path, task=uneven())
    assert isinstance(trained.policy, TabularLM)
    assert trained.policy.logits.dtype == torch.float64
    assert saved(tmp_path)["task"] == "TokenMDP"
    assert "rewards/TokenMDP/mean" in trained.metrics


def test_the_same_call_resumes_a_run_of_things_bit_for_bit(tmp_path: Path) -> None:
    run_of(tmp_path / "whole", **things(uneven()))
    given = things(uneven())
    with pytest.raises(Stop):
        run_of(tmp_path / "stopped", stop_at=1, **given)
    # The very objects of the first call: had the run trained them, it would go on from elsewhere.
    run_of(tmp_path / "stopped", resume=True, **given)
    assert left(tmp_path / "stopped") == left(tmp_path / "whole")
    names = {key: saved(tmp_path / "whole")[key] for key in ("model", "task", "objective")}
    assert names == {"model": "TabularLM", "task": "TokenMDP", "objective": "pulled"}


def test_other_things_do_not_resume_a_run(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run_of(tmp_path, stop_at=1, **things(uneven()))
    with pytest.raises(ValueError, match="objective was 'pulled'") as error:
        run_of(tmp_path, resume=True, **{**things(uneven()), "objective": "gvpo"})
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


def test_fine_tune_is_found_under_its_old_module_too() -> None:
    from gnivo_edu.training.fine_tune import fine_tune as by_its_old_name

    import gnivo_edu.training

    assert by_its_old_name is fine_tune is gnivo_edu.training.fine_tune


class Wrapper(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Wrapper, r"is a Wrapper, which is no causal LM .*: give the model inside it, its \.model"),
        (torch.nn.DataParallel, r"is a DataParallel, .*its \.module"),
        (lambda table: table.to("meta"), "a TabularLM, has no weights yet"),
        (lambda table: torch.nn.Linear, "is the class Linear"),
        (lambda table: 5, "the policy is of type int"),
        (lambda table: Path("model"), "its name or folder as text"),
    ],
    ids=["wrapper", "parallel", "meta", "class", "number", "path"],
)
def test_what_is_no_policy_is_one_line_before_the_first_step(make, why, tmp_path):
    task = RandomTree(2, 3)
    policy = make(TabularLM.from_mdp(task))
    with pytest.raises(ValueError, match=why) as error:
        run(tmp_path / "out", things={"policy": policy, "task": task}, **SETTINGS)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
