"""A run's critic: the exact gradient in any split, values from before the first update, and what a
run leaves of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.policies import TabularLM, load_policy, load_transformer
from gnivo_edu.policies.critic import WEIGHTS
from gnivo_edu.training import coefficients, load_config, load_critic
from gnivo_edu.training.rollout import Rollouts
from gnivo_edu.training.setup import make_optimizer
from gnivo_edu.training.two_pass import Passes, split_rows
from tests.training.small_transformer import small_transformer
from tests.training.training_runs import SUMS, TINY, largest_difference, left, run, weights
from tests.training.two_pass_world import MDP, distance

N, K = 3, 4
VALUES = ("values", "behaviour_values")
SPLITS: dict[str, Any] = {
    "one by one": 1,
    "groups cut": 5,
    "uneven": [1, 6, 2, 3],
    "all at once": None,
    "in another order": [[7, 0], [11, 3, 5, 1, 2], [10, 9, 4, 8, 6]],
}
# Four updates on one rollout, in which a critic goes far beyond any clip of its values.
FAR = TINY | {
    "completions_every": 20,
    "objective": "ppo",
    "steps": 3,
    "inner_steps": 4,
    "value_learning_rate": 0.3,
}


def ppo_and_log_z(batch: GroupBatch) -> LossOutput:
    """PPO, and an error of log Z: all that a critic may be asked for."""
    out = objectives.ppo(batch, alpha=0.3, value_weight=0.7)
    assert batch.log_z is not None
    return LossOutput(out.loss + batch.group_mean((batch.log_z - 0.4).square()), out.metrics)


def world_of(policy: str) -> dict[str, Any]:
    """A policy and its task, where nearly every answer earns something."""
    model = TabularLM.from_mdp(MDP, seed=1) if policy == "table" else small_transformer(MDP, policy)
    return {"policy": model, "task": MDP}


def rollouts_of(policy: str, kind: str) -> Rollouts:
    """With a critic that has learnt something."""
    config = load_config(critic=kind, group_size=K, prompts_per_step=N, precision="float64")
    model = world_of(policy)["policy"]
    fields = {"values", "log_z", "behaviour_values"}
    rollouts = Rollouts(config, torch.device("cpu"), model, MDP, fields)
    assert rollouts.critic is not None
    for name, p in rollouts.critic.trained().items():
        if not name.startswith("body"):
            torch.nn.init.normal_(p, std=0.3, generator=torch.Generator().manual_seed(3))
    return rollouts


def gradient_of(rollouts: Rollouts) -> Tensor:
    """All gradients of policy and critic in one vector; then none."""
    assert rollouts.critic is not None
    parameters = [*rollouts.policy.parameters(), *rollouts.critic.trained().values()]
    pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    return torch.cat([piece.flatten() for piece in pieces])


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        ("table", "probe"),
        ("table", "network"),
        ("qwen2", "probe"),
        ("qwen2", "head"),
        ("qwen2", "network"),
    ],
)
def test_the_gradient_is_that_of_one_backward_for_any_split(policy: str, kind: str) -> None:
    rollouts = rollouts_of(policy, kind)
    drawn = rollouts.draw(0, torch.tensor([0, 1, 0]).numpy())
    length = drawn["tokens"].shape[2]
    scored = rollouts.score(drawn, torch.arange(N * K))
    live = {name: x.view(N, K, length) for name, x in scored.items() if name != "log_z"}
    live["log_z"] = scored["log_z"].view(N, K).mean(1)
    drawn["behaviour_values"] = live["values"].detach() + 0.1
    ppo_and_log_z(rollouts.record(drawn, **live)).loss.backward()
    expected = gradient_of(rollouts)
    assert bool(expected.any())
    for split in SPLITS.values():
        passes = Passes(
            lambda rows: rollouts.score(drawn, rows),
            split_rows(N * K, split),
            weighted_sum=lambda rows, c: rollouts.weighted_sum(drawn, rows, coefficients=c),
        )
        fields = passes.first((N, K, length))
        batch = rollouts.record(drawn, **fields)
        passes.second(coefficients(ppo_and_log_z, batch, live=fields).for_fields(fields))
        assert distance(gradient_of(rollouts), expected) < 1e-10


@pytest.mark.parametrize("kind", ["network", "head", "probe"])
def test_the_critics_own_weights_learn_at_a_rate_of_their_own(kind: str) -> None:
    rollouts = rollouts_of("qwen2", kind)
    critic, config = rollouts.critic, rollouts.config
    assert critic is not None
    of_policy, of_critic = make_optimizer(config, rollouts.policy, critic=critic).param_groups
    assert {id(p) for p in of_policy["params"]} == {id(p) for p in rollouts.policy.parameters()}
    assert {id(p) for p in of_critic["params"]} == {id(p) for p in critic.parameters()}
    assert of_critic["lr"] == config.value_learning_rate != of_policy["lr"]
    assert (len(of_critic["params"]) > 2) == (kind == "network")


@pytest.mark.slow
def test_value_clipping_acts_and_advantages_stay_over_the_updates_of_a_rollout(
    tmp_path: Path,
) -> None:
    def after(name: str, **options: Any) -> dict[str, Tensor]:
        changes = FAR | {"objective_options": options}
        run(tmp_path / name, **changes, things=world_of("table"))
        return weights(tmp_path / name) | load_file(tmp_path / name / "critic" / WEIGHTS)

    clipped, free = after("clipped", value_clip=0.01), after("free", value_clip=None)
    assert largest_difference(clipped, after("again", value_clip=0.01)) == 0
    assert largest_difference(clipped, free) > 1e-3
    # Without a clip the policy sees the critic through advantages alone.
    anew = after("anew", value_clip=None, advantages="update")
    assert float((free["logits"] - anew["logits"]).abs().max()) > 1e-6


def test_values_of_the_rollout_are_those_before_its_first_update(tmp_path: Path) -> None:
    seen: list[GroupBatch] = []

    def watched(batch: GroupBatch, **settings: Any) -> LossOutput:
        seen.append(batch)
        return objectives.ppo(batch, **settings)

    run(tmp_path, **FAR | {"steps": 2}, things=world_of("table") | {"objective": watched})
    # Before the first one it was asked which fields it reads.
    for updates in (seen[-8:-4], seen[-4:]):
        inside = updates[0].mask
        values, noted = ([getattr(x, name) for x in updates] for name in VALUES)
        assert all(torch.equal(x[inside], values[0][inside]) for x in noted)
        assert float((values[-1] - values[0])[inside].detach().abs().max()) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "kind"),
    [("table", "probe"), ("qwen2", "probe"), ("qwen2", "head"), ("qwen2", "network")],
)
def test_a_killed_run_resumes_bit_for_bit_in_the_middle_of_a_step(
    policy: str, kind: str, tmp_path: Path
) -> None:
    changes = FAR | {"steps": 2, "critic": kind, "save_every": 3, "precision": "float64"}
    things = world_of(policy)
    for name in ("whole", "again"):
        run(tmp_path / name, **changes, things=things)
    for checkpoint in sorted((tmp_path / "again" / "checkpoints").iterdir())[1:]:
        for path in checkpoint.iterdir():
            path.unlink()
        checkpoint.rmdir()
    (kept,) = (tmp_path / "again" / "checkpoints").iterdir()
    assert not kept.name.endswith("-000")
    run(tmp_path / "again", resume=True, **changes, things=things)
    assert left(tmp_path / "again") == left(tmp_path / "whole")
    files = [tmp_path / name / "critic" / WEIGHTS for name in ("again", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_a_head_trains_the_body_of_the_policy_and_a_probe_does_not(tmp_path: Path) -> None:
    def values_alone(batch: GroupBatch) -> LossOutput:
        out = objectives.ppo(batch, value_weight=1.0)
        return LossOutput(out.loss - objectives.ppo(batch, value_weight=0.0).loss, out.metrics)

    things = world_of("qwen2") | {"objective": values_alone}
    before = dict(things["policy"].named_parameters())
    for kind in ("network", "head", "probe"):
        changes = {"critic": kind, "steps": 3, "value_learning_rate": 0.1, "weight_decay": 0.0}
        done, _ = run(tmp_path / kind, **TINY | changes, things=things)
        after = dict(done.policy.named_parameters())
        moved = max(float((after[name] - p).detach().abs().max()) for name, p in before.items())
        assert (moved > 1e-4) == (kind == "head"), kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["network", "head", "probe"])
def test_a_run_leaves_its_critic_beside_its_model(kind: str, tmp_path: Path) -> None:
    things = world_of("qwen2")
    done, _ = run(tmp_path, **FAR | {"critic": kind, "steps": 1}, things=things)
    policy = load_transformer(tmp_path / "model", torch.float64)
    critic = load_critic(tmp_path / "critic", policy)
    answers = (MDP, torch.tensor([[1, 2, 3], [2, 0, 1]]), torch.tensor([3, 3]), 1)
    again = load_critic(tmp_path / "critic", done.policy)
    values = critic(policy, *answers).detach()
    assert float(values.abs().max()) > 1e-3
    torch.testing.assert_close(values, again(done.policy, *answers).detach(), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["network", "head", "probe"])
def test_with_adapters_a_network_shares_the_frozen_weights_and_is_saved_whole(
    kind: str, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    changes: dict[str, Any] = {"objective": "ppo", "critic": kind, "lora_rank": 2, "steps": 2}
    changes |= {"prompts_per_step": 2, "group_size": 2, "value_learning_rate": 0.01, "keep": 2}
    changes |= {"inner_steps": 2, "save_every": 1, "learning_rate": 0.01}
    done, _ = run(tmp_path / "whole", **SUMS | changes)
    newest = max((tmp_path / "whole" / "checkpoints").iterdir())
    saved = torch.load(newest / "tensors.pt", weights_only=True)["critic"]
    ours = {name for name in saved if name.startswith("body")}
    assert all("lora_" in name for name in ours)
    assert bool(ours) == (kind == "network")
    policy, _ = load_policy(str(tmp_path / "whole" / "model"))
    critic = load_critic(tmp_path / "whole" / "critic", policy)
    task = done.task
    tokens = torch.zeros(2, 6, dtype=torch.long)
    answers = (task, tokens, torch.tensor([6, 6]), torch.tensor([0, 1]))
    values = critic(policy, *answers)
    rollouts = Rollouts(done.config, torch.device("cpu"), done.policy, task, {"values"})
    assert rollouts.critic is not None
    rollouts.critic.to(next(done.policy.parameters()).device).put(saved)
    expected = rollouts.critic(
        done.policy, task, tokens, torch.tensor([6, 6]), torch.tensor([0, 1])
    )
    assert float(expected.detach().abs().max()) > 1e-3
    torch.testing.assert_close(values.cpu(), expected.detach().cpu(), rtol=0, atol=1e-4)
