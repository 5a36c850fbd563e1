"""Fine-tuning with adapters: only they learn, the rest is shared, and what is saved is a whole
model.
"""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from gnivo_edu.policies import (
    load_checkpoint,
    load_model,
    load_transformer,
    sample_completions,
    score_rows,
)
from gnivo_edu.policies.small import small_transformer
from gnivo_edu.training.config import load_config
from gnivo_edu.training.processes import prompts_of_step
from gnivo_edu.training.rollout import frozen
from gnivo_edu.training.setup import make_policy_and_task
from tests.training.training_runs import SUMS, Stop, command, largest_difference, left, run, weights
from toy_envs import RandomTree

peft = pytest.importorskip("peft", reason="needs peft, of the extra llm")

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # peft asks for it

FEW = {
    "lora_rank": 4,
    "prompts_per_step": 2,
    "group_size": 4,
    "learning_rate": 1e-2,
    "completions_every": 100,
}
SHIPPED = FEW | SUMS | {"steps": 2}
EXACT = SHIPPED | {"precision": "float64"}
STORIES = FEW | {"task": "stories", "task_options": {"horizon": 8}, "steps": 2}


@pytest.fixture
def settings(request, tmp_path):
    """Settings of a run on one of three models."""
    if request.param == "shipped":
        return SHIPPED | {"objective": "ppo"}
    if request.param == "stories260k":
        return STORIES | {"model": request.getfixturevalue("shared_model"), "micro_batch": 3}
    small_transformer(RandomTree(), "tiny", "llama", initializer_range=0.4).save_pretrained(
        tmp_path / "tiny"
    )
    return FEW | {
        "model": str(tmp_path / "tiny"),
        "task": "toy_envs/RandomTree-v0",
        "steps": 2,
        "objective": "vimpo",
    }


def answers(task, policy, count=6):
    """Answers to the first prompt, and their scores under other models."""
    drawn = sample_completions(policy, task, count, seed=9)
    rows = drawn.tokens[0], drawn.lengths[0]

    @torch.no_grad()
    def score(model):
        return score_rows(model, task, *rows)

    return score


@pytest.mark.parametrize("settings", ["tiny", "shipped", "stories260k"], indirect=True)
@pytest.mark.slow
def test_only_adapters_learn_and_the_saved_model_is_the_policy(settings, tmp_path):
    done, rows = run(tmp_path / "run", **settings)
    learning = {name for name, p in done.policy.named_parameters() if p.requires_grad}
    assert learning
    assert all("lora_" in name for name in learning)
    assert all(
        bool(p.any()) for name, p in done.policy.named_parameters() if "lora_B" in name
    )  # 0 at the start
    assert all(row["sampling/sampling_logp_difference/max"] < 1e-4 for row in rows)

    # What the layers under the adapters hold is what they held, and the saved model writes what the
    # policy writes.
    with_tokenizer = settings["task"] == "stories"
    before = (
        load_checkpoint()
        if settings["model"] == "shipped"
        else _load(settings["model"], with_tokenizer)
    )
    saved = _load(tmp_path / "run" / "model", with_tokenizer)
    inside = dict(done.policy.get_base_model().named_parameters())
    for name, p in before.named_parameters():
        layer, _, kind = name.rpartition(".")
        assert torch.equal(
            inside[name] if name in inside else inside[f"{layer}.base_layer.{kind}"], p
        )
    score = answers(done.task, done.policy)
    ours, theirs, old = (score(model)["policy_logps"] for model in (done.policy, saved, before))
    assert float((ours - theirs).abs().max()) < 1e-4 < 1e-2 < float((ours - old).abs().max())

    # The adapters lie beside it, as peft reads them.
    adapted = peft.PeftModel.from_pretrained(before, tmp_path / "run" / "adapter")
    assert float((score(adapted)["policy_logps"] - ours).abs().max()) < 1e-5


def _load(folder, with_tokenizer):
    return load_model(folder)[0] if with_tokenizer else load_transformer(folder)


@pytest.mark.slow
def test_a_step_with_adapters_is_the_full_step_projected_on_them(tmp_path):
    """SGD from B = 0: W moves by s B A, B = - rate s G A^T, where the full step moves it by - rate
    G; s = alpha/r.
    """
    plain = EXACT | {
        "steps": 1,
        "optimizer": "sgd",
        "max_grad_norm": 1e9,
        "objective": "gvpo",
        "micro_batch": 3,
    }
    plain |= {"learning_rate": 0.1, "lora_alpha": 6}
    _, full = run(tmp_path / "full", **plain | {"lora_rank": 0})
    _, adapted = run(tmp_path / "adapted", **plain)
    assert adapted[0]["loss"] == pytest.approx(full[0]["loss"], rel=1e-12)
    start = dict(load_checkpoint(dtype=torch.float64).named_parameters())
    ends = weights(tmp_path / "full"), weights(tmp_path / "adapted")
    low_rank = load_file(tmp_path / "adapted" / "adapter" / "adapter_model.safetensors")
    moved = 0
    for name, W in start.items():
        free, held = (end[name] - W.detach() for end in ends)
        A = low_rank.get(f"base_model.model.{name.removesuffix('.weight')}.lora_A.weight")
        expected = torch.zeros_like(W) if A is None else (6 / 4) ** 2 * free @ A.T @ A
        assert float((held - expected).abs().max()) < 1e-13 * max(1, float(free.abs().max())), name
        moved += bool(held.any())
    assert (
        moved == len(low_rank) // 2 == 21
    )  # seven linear layers in each of three blocks; the head is not adapted


def test_the_reference_is_the_model_without_adapters_and_shares_its_weights(tmp_path):
    done, _ = run(tmp_path, **EXACT | {"objective": "vimpo", "reference": "initial"})
    base = load_checkpoint(dtype=torch.float64)
    score = answers(done.task, done.policy)
    with done.policy.disable_adapter():
        assert (
            float((score(done.policy)["policy_logps"] - score(base)["policy_logps"]).abs().max())
            < 1e-12
        )
    reference = frozen(done.policy)
    own, others = (dict(model.named_parameters()) for model in (done.policy, reference))
    for name, p in own.items():
        assert (p.data_ptr() == others[name].data_ptr()) is not p.requires_grad, name
    before = score(reference)["policy_logps"]
    with torch.no_grad():
        for p in done.policy.parameters():
            if p.requires_grad:
                p.add_(0.05)
    assert torch.equal(score(reference)["policy_logps"], before)
    assert float((score(done.policy)["policy_logps"] - before).abs().max()) > 1e-3


@pytest.mark.slow
def test_kl_to_initial_holds_the_policy_to_the_model_without_adapters(tmp_path):
    """The logged KL is that of the finished policy to the shipped model, one update earlier; and it
    holds it back.
    """
    slow = EXACT | {"steps": 6, "objective": "gvpo", "learning_rate": 3e-3}
    strong, weak = (slow | {"kl_to_initial": kl} for kl in (10.0, 1e-6))
    held, free = (
        run(tmp_path / name, **settings) for name, settings in (("held", strong), ("free", weak))
    )
    assert held[1][0]["kl"] == pytest.approx(0, abs=1e-12)
    assert 0 < held[1][-1]["kl"] < free[1][-1]["kl"] / 2
    again = run(tmp_path / "longer", **weak | {"steps": 7})
    prompts = prompts_of_step(0, 6, 2, len(free[0].task.prompts()))
    drawn = sample_completions(free[0].policy, free[0].task, 4, prompts, seed=0, step=6)
    rows = (
        drawn.tokens.flatten(0, 1),
        drawn.lengths.flatten(),
        drawn.prompt_index.repeat_interleave(4),
    )
    kl = score_rows(
        free[0].policy, free[0].task, *rows, reference=load_checkpoint(dtype=torch.float64)
    )["policy_kl"]
    assert again[1][-1]["kl"] == pytest.approx(float(kl.detach().sum(1).mean()), rel=1e-10)


@pytest.mark.parametrize(
    "changes",
    [
        {
            "reference": "refreshed",
            "refresh_every": 1,
            "objective": "vimpo",
            "inner_steps": 2,
            "save_every": 1,
        },
        {"kl_to_initial": 0.1, "save_every": 2},
    ],
    ids=["refreshed", "kl_to_initial"],
)
@pytest.mark.slow
def test_a_run_with_adapters_that_stops_goes_on_bit_for_bit(changes, tmp_path):
    settings = SHIPPED | {"steps": 4} | changes
    run(tmp_path / "whole", **settings)
    with pytest.raises(Stop):
        run(tmp_path / "stopped", stop_at=2, **settings)
    run(tmp_path / "stopped", resume=True, **settings)
    assert left(tmp_path / "stopped") == left(tmp_path / "whole")
    saved = torch.load(
        max((tmp_path / "whole" / "checkpoints").iterdir()) / "tensors.pt", weights_only=True
    )
    assert all(
        "lora_" in name for name in saved["policy"]
    )  # a checkpoint holds what is trained, not the model


def test_the_seed_alone_makes_the_adapters():
    def start(seed):
        policy, _ = make_policy_and_task(load_config(**SHIPPED, seed=seed), torch.device("cpu"))
        return torch.cat(
            [p.detach().flatten() for name, p in policy.named_parameters() if "lora_" in name]
        )

    state = torch.get_rng_state()
    first = start(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(start(0), first)
    assert not torch.equal(start(1), first)


@pytest.mark.slow
def test_other_adapters_are_not_resumed(tmp_path):
    run(tmp_path / "out", **SHIPPED)
    with pytest.raises(ValueError, match=r"lora_rank was 4"):
        run(tmp_path / "out", resume=True, **SHIPPED | {"lora_rank": 2, "steps": 3})


@pytest.mark.slow
def test_a_trained_model_is_evaluated_explored_and_trained_again(tmp_path, capsys, shared_model):
    run(tmp_path / "sums", **SHIPPED)
    run(tmp_path / "stories", model=shared_model, **STORIES)
    trained = {name: tmp_path / name / "model" for name in ("sums", "stories")}
    few = ["--samples", 3, "--problems", 2, "--json"]
    for name, task in (("sums", "arithmetic"), ("stories", "stories")):
        options = ["--set", "horizon=6"] if task == "stories" else []
        status, out, said = command(
            capsys, "evaluate", "--model", trained[name], "--task", task, *options, *few
        )
        assert status == 0, said
        assert json.loads(out)["problems"] == 2
    status, _, said = command(
        capsys, "evaluate", "--model", tmp_path / "sums" / "adapter", "--task", "arithmetic", *few
    )
    assert (status, said.count("\n"), "holds adapters alone" in said) == (2, 1, True)
    looked = [
        "explore",
        "--group-size",
        2,
        "--continuations",
        2,
        "--horizon",
        6,
        "--tree-horizon",
        2,
        "--json",
    ]
    status, out, said = command(
        capsys,
        *looked,
        "--model",
        trained["stories"],
        "--reference",
        shared_model,
        "--out",
        tmp_path,
    )
    assert status == 0, said
    assert any(
        abs(credit) > 1e-3 for answer in json.loads(out)["answers"] for credit in answer["credits"]
    )
    settings = SHIPPED | {"group_size": 16}  # so that rewards differ: equal ones move nothing
    settings |= {"model": str(trained["sums"]), "lora_rank": 0, "steps": 1}
    run(tmp_path / "again", **settings)
    assert largest_difference(weights(tmp_path / "again"), weights(tmp_path / "sums")) > 0


def test_a_table_has_nothing_to_adapt_and_without_peft_that_is_said(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="model 'table' has no layers to adapt"):
        run(tmp_path / "out", **FEW | {"model": "table", "task": "toy_envs/Brackets-v0"})
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match="lora_rank needs peft"):
        run(tmp_path / "out", **SHIPPED)
    assert not (tmp_path / "out").exists()
