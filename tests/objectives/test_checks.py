"""Around every objective: other names for settings, and losses that are not finite."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from tests.objectives.objective_checks import full_record

CLIPPED = ("grpo", "dr_grpo", "ppo", "rloo", "vimpo")


@pytest.mark.parametrize("name", objectives.names())
def test_the_checked_objective_is_the_one_that_everybody_meets(name: str) -> None:
    objective = objectives.get(name)
    assert getattr(objectives, name) is objective
    assert pickle.loads(pickle.dumps(objective)) is objective
    bare = inspect.unwrap(objective)
    assert bare is not objective
    assert inspect.signature(objective) == inspect.signature(bare)
    batch = GroupBatch(**full_record())
    assert torch.equal(objective(batch=batch).loss, bare(batch).loss)
    assert torch.equal(objective(batch, 0.7).loss, bare(batch, alpha=0.7).loss)


@pytest.mark.parametrize(
    ("name", "setting", "meant"),
    [
        *[(name, "beta", "alpha") for name in objectives.names()],
        ("grpo", "epsilon", "clip_low"),
        ("grpo", "epsilon_high", "clip_high"),
        ("vimpo", "gae_lambda", "lam"),
        ("ppo", "vf_coef", "value_weight"),
        ("gnivo", "wieghts", "weights"),
        ("dro", "tau", "alpha"),
    ],
)
def test_the_name_of_a_setting_elsewhere_is_answered_with_ours(
    name: str, setting: str, meant: str
) -> None:
    settings: dict[str, Any] = {setting: 0.1}
    with pytest.raises(TypeError, match=f"^{name} takes no '{setting}'; did you mean '{meant}'"):
        objectives.get(name)(GroupBatch(**full_record()), **settings)


def apart(
    nats: float, dtype: torch.dtype, rewards: tuple[float, float] = (1.0, 0.0), **fields: Any
) -> dict[str, Any]:
    """Two answers of two tokens; the policy is `nats` off its sampler at the first token."""
    zeros = torch.zeros(1, 2, 2, dtype=dtype)
    behaviour, policy = zeros - 1.0, zeros - 1.0
    behaviour[0, 0, 0] -= max(nats, 0)
    policy[0, 0, 0] -= max(-nats, 0)
    return {
        "policy_logps": policy,
        "behaviour_logps": behaviour,
        "rewards": torch.tensor([rewards], dtype=dtype),
        "mask": zeros == 0,
        "values": zeros,
        "policy_kl": zeros,
        "prefix_values": zeros,
        "log_z": zeros[:, 0, 0],
    } | fields


@pytest.mark.parametrize("name", CLIPPED)
@pytest.mark.parametrize(
    ("dtype", "near", "far"), [(torch.float32, 60.0, 90.0), (torch.float64, 300.0, 800.0)]
)
def test_a_clipped_answer_pulls_as_much_at_any_distance(
    name: str, dtype: torch.dtype, near: float, far: float
) -> None:
    settings = {"actor": 0.0} if name == "vimpo" else {}

    def push(nats: float) -> torch.Tensor:
        record = apart(nats, dtype)
        leaf = record["policy_logps"].requires_grad_()
        # The reference is the sampler's: k1 and k3 of a policy far above it are plain numbers.
        objectives.get(name)(GroupBatch(**record), **settings).loss.backward()
        assert leaf.grad is not None
        return leaf.grad

    assert push(far).isfinite().all()
    if name != "vimpo":  # whose value loss is not clipped
        assert torch.allclose(push(far), push(near), atol=1e-6)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_a_loss_that_is_infinite_names_the_answer(name: str) -> None:
    record = apart(90.0, torch.float32, rewards=(0.0, 1.0))
    words = rf"^the loss of {name} is inf: at \[0, 0, 0\] .* is 90 nats from the .*float32; take"
    with pytest.raises(ValueError, match=words) as error:
        objectives.get(name)(GroupBatch(**record))
    assert "\n" not in str(error.value)
    wide = {k: x.double() if x.is_floating_point() else x for k, x in record.items()}
    assert objectives.get(name)(GroupBatch(**wide)).loss.isfinite()


def test_the_kl_estimate_of_a_policy_far_below_its_reference_names_the_answer() -> None:
    record = apart(-90.0, torch.float32)
    with pytest.raises(ValueError, match=r"at \[0, 0, 0\] .* -90 nats from the reference"):
        objectives.grpo(GroupBatch(**record), kl="k3")
    assert objectives.grpo(GroupBatch(**record), kl="none").loss.isfinite()


def test_a_sampler_far_from_the_reference_is_named_where_the_policy_is_near() -> None:
    record = apart(0.0, torch.float32)
    record["reference_logps"] = record["behaviour_logps"].clone()
    record["behaviour_logps"][0, 1, 0] = record["policy_logps"][0, 1, 0] = -91.0
    words = r"at \[0, 1, 0\] .* the (policy|sampler) is -90 nats from the reference"
    with pytest.raises(ValueError, match=words):
        objectives.ppo(GroupBatch(**record), kl="k3")


def test_a_reward_too_large_is_blamed_where_ratios_are_small() -> None:
    record = apart(0.0, torch.float32, rewards=(0.0, -1e25))
    with pytest.raises(ValueError, match=r"largest reward, -1e\+25 at \[0, 1\] \(prompt, answer\)"):
        objectives.gvpo(GroupBatch(**record))


def test_raw_weights_whose_sum_overflows_ask_for_reward_max() -> None:
    # Each is 2.7e38, below the largest float32; their sum, which the gradient holds, is not.
    record = apart(0.0, torch.float32, rewards=(88.5, 88.5))
    with pytest.raises(ValueError, match="pass reward_max"):
        objectives.gnivo(GroupBatch(**record), alpha=1.0)
