"""What is wrong with a model, a task or a reward is said in one line, soon, and nothing that was
written is lost.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from gnivo_edu.policies import load_checkpoint, load_model
from tests.training.training_runs import command, left, metrics, run

SHIPPED = str(Path(__file__).resolve().parents[2] / "gnivo_edu" / "checkpoints" / "arithmetic")
FEW = {"steps": 3, "prompts_per_step": 2, "group_size": 2, "save_every": 1, "completions_every": 1}


@pytest.fixture
def called(capsys, tmp_path, monkeypatch):
    """Call `gnivo-edu train|evaluate|explore` with settings, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(what, **settings):
        if what == "train":
            given = {**FEW, "out": "out", **settings}
            return command(
                capsys, what, *(f"--set={key}={json.dumps(value)}" for key, value in given.items())
            )
        model, task = settings["model"], settings.get("task", "arithmetic")
        if what == "evaluate":
            own = [
                f"--set={key}={json.dumps(value)}"
                for key, value in settings.get("task_options", {}).items()
            ]
            return command(
                capsys, what, "--model", model, "--task", task, "--samples", 1, "--k", 1, *own
            )
        few = ["--group-size", 2, "--continuations", 2, "--out", "page"]
        horizon = settings.get("task_options", {}).get("horizon")
        return command(
            capsys, what, "--model", model, *few, *(["--horizon", horizon] if horizon else [])
        )

    return call


def assert_one_line(result, *words):
    status, out, said = result
    assert (status, out, said.count("\n")) == (2, "", 1), (status, out, said)
    assert said.startswith("gnivo-edu: ")
    assert all(word in said for word in words), said


@pytest.fixture
def hub_out_of_reach(monkeypatch, tmp_path):
    """A hub that refuses every connection, and an empty cache."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.mark.parametrize("what", ["train", "evaluate", "explore"])
def test_a_hub_id_without_a_connection_is_one_line_in_seconds(
    what, called, hub_out_of_reach, tmp_path
):
    began = time.monotonic()
    result = called(what, model="owner/name", task="stories")
    assert_one_line(result, "no folder 'owner/name'", "the hub cannot be reached", "the cache")
    assert time.monotonic() - began < 15
    assert not (tmp_path / "out").exists()


def test_without_a_connection_a_model_is_read_from_the_cache(
    hub_out_of_reach, tmp_path, shared_model
):
    kept = tmp_path / "cache" / "models--owner--name"
    shutil.copytree(shared_model, kept / "snapshots" / "0123")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("0123")
    began = time.monotonic()
    model, tokenizer = load_model("owner/name")
    assert time.monotonic() - began < 15
    same = load_model(shared_model)[0]
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True)
    )
    assert tokenizer.eos_token_id is not None


@pytest.mark.parametrize("what", ["train", "evaluate", "explore"])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "/no/such/folder"}, ["there is no folder '/no/such/folder'"]),
        ({"model": "empty"}, ["config.json"]),
        ({"model": SHIPPED, "task": "stories"}, ["no", "tokenizer"]),
    ],
    ids=["missing", "empty", "no tokenizer"],
)
def test_a_model_that_is_not_whole_is_one_line(settings, words, what, called, tmp_path):
    (tmp_path / "empty").mkdir()
    assert_one_line(called(what, **settings), *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["train", "evaluate", "explore"])
def test_a_prompt_longer_than_the_context_is_one_line(what, called, shared_model, tmp_path):
    long = {"model": shared_model, "task": "stories", "task_options": {"horizon": 600}}
    assert_one_line(
        called(what, **long),
        "the longest prompt has",
        "with horizon 600 that is above the model's 512",
    )
    assert not (tmp_path / "out").exists()


def test_one_long_prompt_is_found_before_the_first_step(called, shared_model, tmp_path):
    openings = ["Once upon a time", "Tom " * 600]
    (tmp_path / "some.jsonl").write_text(
        "".join(json.dumps({"prompt": text}) + "\n" for text in openings)
    )
    options = {"path_or_id": "some.jsonl", "horizon": 4}
    result = called(
        "train", model=shared_model, task="stories", task_options=options, prompts_per_step=1
    )
    assert_one_line(result, "the longest prompt has")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["train", "evaluate"])
def test_an_empty_data_set_is_one_line(what, called, shared_model, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    options = {"path_or_id": "empty.jsonl"}
    assert_one_line(
        called(what, model=shared_model, task="stories", task_options=options), "has no problems"
    )


@pytest.mark.slow
def test_a_tokenizer_without_a_pad_token_pads_with_its_end(called, shared_model, tmp_path):
    shutil.copytree(shared_model, tmp_path / "model")
    path = tmp_path / "model" / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("pad_token")
    path.write_text(json.dumps(settings))
    assert load_model(tmp_path / "model")[1].pad_token_id is None
    few = {"task": "stories", "task_options": {"horizon": 6}, "model": "model"}
    assert called("train", **few)[0] == 0
    assert called("evaluate", **few | {"model": "out/model"})[0] == 0
    plain = FEW | few | {"model": shared_model, "setting": "gnivo"}  # what the command line takes
    _, rows = run(tmp_path / "padded", **plain)
    assert metrics(tmp_path / "out")[0]["loss"] == pytest.approx(
        rows[0]["loss"], rel=1e-5
    )  # padding is not seen


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('x\\ny')", ["the reward mine:reward raised KeyError"]),
        ("return [float('nan')] * len(texts)", ["is nan", "rewards must be finite"]),
        ("return [1.0]", ["numbers of shape (1,) for 4 texts"]),
    ],
    ids=["raises", "nan", "wrong count"],
)
@pytest.mark.slow
def test_a_reward_that_fails_is_one_line_and_the_run_may_be_started_again(
    body, words, called, shared_model, tmp_path, monkeypatch
):
    few = {"model": shared_model, "task": "stories"}
    _write_reward(tmp_path, monkeypatch, body)
    options = {"reward": "mine:reward", "horizon": 6}
    assert_one_line(called("train", **few, task_options=options), *words)
    again = called(
        "train", **few, task_options=options | {"reward": "sentiment"}
    )  # nothing was learned there yet
    assert again[0] == 0, again
    assert_one_line(
        called("train", **few, task_options=options | {"reward": "sentiment"}), "holds a run"
    )


@pytest.mark.slow
def test_a_reward_that_fails_later_leaves_what_was_learned(
    called, shared_model, tmp_path, monkeypatch
):
    few = {
        "model": shared_model,
        "task": "stories",
        "setting": "gvpo",
        "inner_steps": 1,
        "task_options": {"reward": "mine:reward", "horizon": 6},
    }
    good = "return [len(text) / 50 for text in texts]"
    _write_reward(
        tmp_path,
        monkeypatch,
        f"calls.append(1)\n    if len(calls) == 3: raise OSError('gone')\n    {good}",
    )
    status, out, said = called("train", **few)
    taken, *steps, last = said.splitlines()
    assert taken.startswith("setting=gvpo: ")
    assert [line.split()[:2] for line in steps] == [["step", "1/3"], ["step", "2/3"]]
    assert_one_line((status, out, last + "\n"), "the reward mine:reward raised OSError: gone")
    assert len(metrics(tmp_path / "out")) == 2
    assert len(list((tmp_path / "out" / "checkpoints").iterdir())) == 2
    run(Path("out"), resume=True, **FEW | few)  # what was gone is back; its source is the same
    _write_reward(tmp_path, monkeypatch, good)
    run(Path("whole"), **FEW | few)
    assert left(tmp_path / "out") == left(tmp_path / "whole")


def _write_reward(folder, monkeypatch, body):
    import sys

    monkeypatch.delitem(sys.modules, "mine", raising=False)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    (folder / "mine.py").write_text(f"calls = []\n\n\ndef reward(texts):\n    {body}\n")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("task_options={a", ["--set task_options={a", "is not YAML"]),
        ("steps=.inf", ["steps must be a whole number"]),
        ("completions_every=0", ["completions_every must be at least 1"]),
        ("seed=-1", ["seed must not be negative"]),
        ("objective=1", ["objective must be text"]),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(setting, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_line(command(capsys, "train", "--set", setting, "--set", "out=out"), *words)
    assert not (tmp_path / "out").exists()


def test_arithmetic_asks_for_a_model_of_its_own(called, shared_model):
    assert_one_line(
        called("train", model=shared_model, task="arithmetic"), "take the model 'shipped'"
    )


@pytest.mark.slow
def test_a_model_that_cannot_be_written_is_one_line_and_the_run_is_not_lost(tmp_path, monkeypatch):
    few = FEW | {"model": "shipped", "task": "arithmetic", "task_options": {"tiers": [2]}}

    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(type(load_checkpoint()), "save_pretrained", full)
        with pytest.raises(
            ValueError, match=r"the model could not be written.*No space left.*--resume"
        ):
            run(tmp_path / "out", **few)
    run(tmp_path / "out", resume=True, **few)
    run(tmp_path / "whole", **few)
    assert left(tmp_path / "out") == left(tmp_path / "whole")
