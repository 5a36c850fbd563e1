"""In what precision a trained model is saved: that of the files that it came from."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from gnivo_edu.policies import load_model, load_transformer
from gnivo_edu.policies.small import small_transformer
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.setup import make_policy_and_task, saved_dtype
from tests.training.training_runs import SUMS, TINY, run, weights
from toy_envs import RandomTree

FEW = {
    "task": "toy_envs/RandomTree-v0",
    "steps": 2,
    "prompts_per_step": 2,
    "group_size": 4,
    "learning_rate": 1e-2,
}


@pytest.fixture
def base(tmp_path):
    """A folder with a small transformer whose weights are bfloat16."""
    model = small_transformer(RandomTree(), "tiny", "llama", initializer_range=0.4)
    model.to(torch.bfloat16).save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def test_a_model_in_bf16_is_trained_in_float32_and_saved_as_it_came(base, tmp_path):
    done, _ = run(tmp_path / "run", model=base, **FEW)
    assert {p.dtype for p in done.policy.parameters()} == {torch.float32}
    saved = weights(tmp_path / "run")
    before = load_file(f"{base}/model.safetensors")
    assert saved.keys() == before.keys()
    trained = dict(done.policy.named_parameters())
    for name, x in saved.items():
        assert x.dtype == torch.bfloat16
        assert torch.equal(x, trained[name].to(torch.bfloat16))
    assert any(not torch.equal(x, before[name]) for name, x in saved.items())
    # What opens it without being told a precision takes that of the file.
    settings = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert settings["dtype"] == "bfloat16"
    again = load_transformer(tmp_path / "run" / "model")
    assert all(torch.equal(p, trained[n].bfloat16().float()) for n, p in again.named_parameters())


def test_the_configuration_may_say_otherwise(base, tmp_path):
    done, _ = run(tmp_path / "run", model=base, save_precision="float32", **FEW)
    trained = dict(done.policy.named_parameters())
    assert all(torch.equal(x, trained[name]) for name, x in weights(tmp_path / "run").items())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, torch.float32),
        ({"precision": "bf16"}, torch.float32),
        ({"precision": "float64"}, None),
        ({"model": "table", "precision": "float64"}, None),
        ({"model": "table"}, None),
        ({"save_precision": "bf16", "precision": "float64"}, torch.bfloat16),
        ({"save_precision": "float64"}, torch.float64),
    ],
)
def test_what_is_saved_where_the_files_hold_float32(changes, expected):
    config = TrainConfig(**changes)
    policy, _ = make_policy_and_task(config, torch.device("cpu"), task=RandomTree())
    assert saved_dtype(config, policy) == expected


def test_a_policy_that_is_given_keeps_its_precision(tmp_path):
    assert saved_dtype(TrainConfig()) is None
    run(tmp_path / "table", **TINY | {"steps": 1})
    assert {x.dtype for x in weights(tmp_path / "table").values()} == {torch.float64}


@pytest.mark.slow
def test_adapters_are_merged_before_the_whole_is_rounded(shared_model, tmp_path):
    pytest.importorskip("peft", reason="needs peft, of the extra llm")
    shutil.copytree(shared_model, tmp_path / "base")
    model, _ = load_model(shared_model)
    model.to(torch.bfloat16).save_pretrained(tmp_path / "base")
    settings = {"task": "stories", "task_options": {"horizon": 8}, "lora_rank": 2}
    few = {"steps": 1, "prompts_per_step": 2, "group_size": 4, "learning_rate": 1e-2}
    for name, kind in (("own", torch.bfloat16), ("float32", torch.float32)):
        out = tmp_path / name
        run(out, model=str(tmp_path / "base"), save_precision=name, **settings, **few)
        assert {x.dtype for x in weights(out).values()} == {kind}
    rounded, exact = weights(tmp_path / "own"), weights(tmp_path / "float32")
    assert all(torch.equal(x, exact[name].bfloat16()) for name, x in rounded.items())


def test_the_shipped_model_stays_float32(tmp_path):
    run(tmp_path, **SUMS, steps=1, prompts_per_step=1, group_size=2)
    assert {x.dtype for x in weights(tmp_path).values()} == {torch.float32}
