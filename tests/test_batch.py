"""GroupBatch: its vocabulary against plain loops, and every way of being wrong."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch

from gnivo_edu.batch import LOGPS, GroupBatch, MissingField, group_log_softmax

N, K, T = 2, 3, 4
LENGTHS = torch.tensor([[4, 2, 1], [3, 3, 0]])


def fields(**changes: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    mask = torch.arange(T) < LENGTHS[..., None]
    junk = torch.tensor([torch.nan, torch.inf, 7.0, -3.0], dtype=torch.float64)
    logps = [torch.where(mask, -torch.rand(N, K, T, dtype=torch.float64), junk) for _ in range(3)]
    rewards = torch.rand(N, K, dtype=torch.float64)
    values = dict(
        policy_logps=logps[0],
        behaviour_logps=logps[1],
        reference_logps=logps[2],
        rewards=rewards,
        mask=mask,
    )
    return values | changes


def test_vocabulary_against_loops() -> None:
    f = fields(log_z=torch.tensor([1.0, 2.0], dtype=torch.float64))
    batch = GroupBatch(**f)
    assert batch.lengths.tolist() == LENGTHS.tolist()
    for n in range(N):
        for k in range(K):
            total = 0.0
            for t in range(T):
                if t < LENGTHS[n, k]:
                    total += float(f["policy_logps"][n, k, t] - f["reference_logps"][n, k, t])
                # A finished response is absorbing: its later prefixes are the whole response.
                assert float(batch.prefix_logratio[n, k, t]) == pytest.approx(total, abs=1e-14)
                assert float(batch.implicit_value[n, k, t]) == pytest.approx(
                    total + n + 1, abs=1e-14
                )
            assert float(batch.sequence_logratio[n, k]) == pytest.approx(total, abs=1e-14)
    absorbed = batch.absorb(f["policy_logps"])
    assert absorbed[0, 1].tolist() == [
        *f["policy_logps"][0, 1, :2].tolist(),
        *[float(f["policy_logps"][0, 1, 1])] * 2,
    ]
    assert absorbed[1, 2].tolist() == [0.0] * T  # an empty response


def test_reference_defaults_to_behaviour() -> None:
    batch = GroupBatch(**fields(reference_logps=None))
    assert torch.equal(batch.reference_logps[batch.mask], batch.behaviour_logps[batch.mask])


def test_gradient_flows_to_the_policy_only_and_never_through_padding() -> None:
    f = fields()
    leaves = {name: f[name].clone().requires_grad_() for name in f if name != "mask"}
    batch = GroupBatch(**leaves, mask=f["mask"])
    batch.prefix_logratio.square().sum().backward()
    gradient = leaves["policy_logps"].grad
    assert gradient is not None
    assert torch.isfinite(gradient).all()
    assert (gradient[~batch.mask] == 0).all()
    assert (gradient[batch.mask] != 0).all()
    assert all(
        leaves[name].grad is None for name in ("behaviour_logps", "reference_logps", "rewards")
    )
    # A second time: nothing is cached with its graph.
    batch.prefix_logratio.square().sum().backward()


def test_group_mean_is_uniform_or_weighted() -> None:
    x = torch.tensor([1.0, 5.0], dtype=torch.float64)
    assert GroupBatch(**fields()).group_mean(x) == 3.0
    weight = torch.tensor([0.25, 0.75], dtype=torch.float64)
    assert GroupBatch(**fields(group_weight=weight)).group_mean(x) == 4.0


def test_group_log_softmax_is_over_responses() -> None:
    x = torch.randn(N, K, T)
    assert torch.allclose(group_log_softmax(x).exp().sum(1), torch.ones(N, T))


def test_by_step_sums_tokens_of_a_step() -> None:
    ids = torch.tensor(
        [[[0, 0, 1, 2], [0, 1, 9, 9], [0, 0, 0, 0]], [[0, 0, 0, 5], [0, 1, 1, 5], [0, 0, 0, 0]]]
    )
    values = torch.arange(N * K * T, dtype=torch.float64).view(N, K, T)
    f = fields(step_ids=ids, values=values, prefix_values=values)
    batch, steps = GroupBatch(**f), GroupBatch(**f).by_step()
    assert steps.policy_logps.shape == (N, K, 3)
    assert steps.lengths.tolist() == [[3, 2, 1], [1, 2, 0]]
    assert steps.policy_logps[0, 0, 0] == batch.policy_logps[0, 0, :2].sum()
    assert steps.policy_logps[1, 1, 1] == batch.policy_logps[1, 1, 1:3].sum()
    assert torch.allclose(steps.sequence_logratio, batch.sequence_logratio, atol=1e-14)
    # The prefix of s steps is the prefix of its tokens.
    assert torch.allclose(
        steps.prefix_logratio[0, 0], batch.prefix_logratio[0, 0, [1, 2, 3]], atol=1e-14
    )
    assert steps.values is not None
    assert steps.prefix_values is not None
    assert steps.values[0, 0].tolist() == [0.0, 2.0, 3.0]
    assert steps.prefix_values[0, 0].tolist() == [1.0, 2.0, 3.0]


FLOATS = {
    "behaviour_logps": (N, K, T),
    "rewards": (N, K),
    "values": (N, K, T),
    "policy_kl": (N, K, T),
    "log_z": (N,),
}
OTHERS = {"mask": (N, K, T)}
JAGGED = torch.nested.nested_tensor([[1.0], [1.0, 1.0]], layout=torch.jagged)
NAN = torch.full((N, K, T), torch.nan, dtype=torch.float64)
HOLE = torch.tensor([1, 0, 1, 0]).expand(N, K, T)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy_logps": torch.zeros(N, K)}, r"policy_logps must be a tensor \[N, K, T\]"),
        (
            {"behaviour_logps": torch.zeros(N, K, 1)},
            r"behaviour_logps must be a tensor \[2, 3, 4\]",
        ),
        ({"rewards": None}, "rewards must be a tensor"),
        ({"rewards": torch.zeros(N, K, dtype=torch.long)}, "rewards must be floating point"),
        ({"rewards": torch.full((N, K), torch.inf)}, r"rewards holds inf or nan, at \[0, 0\]"),
        ({"policy_logps": NAN}, r"policy_logps holds inf or nan inside the mask, at \[0, 0, 0\]"),
        ({"reference_logps": NAN}, "reference_logps holds inf or nan inside the mask"),
        ({"values": NAN}, "values holds inf or nan inside the mask"),
        ({"mask": HOLE}, r"mask must be ones, then zeros.*\[0, 0, 1\]"),
        ({"mask": 2 * torch.ones(N, K, T)}, "mask must hold 0 and 1 only"),
        ({"log_z": torch.tensor([0.0, torch.nan])}, "log_z holds inf or nan"),
        (
            {"group_weight": torch.tensor([0.5, 0.6])},
            "group_weight must be non-negative with sum 1",
        ),
        (
            {"group_weight": torch.tensor([1.5, -0.5])},
            "group_weight must be non-negative with sum 1",
        ),
        ({"step_ids": torch.ones(N, K, T)}, "step_ids must be integers"),
        (
            {"step_ids": torch.ones(N, K, T, dtype=torch.long)},
            r"step_ids must start at 0.*\[0, 0, 0\]",
        ),
        ({"step_ids": torch.ones(N, K, T, dtype=torch.cfloat)}, "step_ids must be integers"),
        ({"truncated": torch.ones(N, K)}, "truncated must be bool"),
        ({"mask": torch.ones(N, K, T, dtype=torch.cfloat)}, "mask must be bool or 0 and 1, got"),
        *[
            ({name: torch.zeros(shape, dtype=torch.float8_e5m2)}, f"^{name} must be floating point")
            for name, shape in FLOATS.items()
        ],
        *[
            ({name: torch.zeros(shape).to_sparse()}, f"^{name} must be a dense tensor, got a spa")
            for name, shape in (FLOATS | OTHERS).items()
        ],
        ({"mask": JAGGED}, "^mask must be a dense tensor, got a nested one"),
        ({"policy_logps": torch.zeros(N, K, T, device="meta")}, "on meta, where a tensor holds no"),
        (
            {"policy_kl": NAN.new_full((N, K, T), -0.01)},
            r"holds -0\.01, at \[0, 0, 0\]: an exact KL",
        ),
        (
            {"entropy": NAN.new_full((N, K, T), -0.01)},
            "entropy of a law of tokens is never negative",
        ),
        ({"mask": torch.zeros(N, K, T)}, "mask is 0 throughout: no response has a token"),
        *[
            ({name: torch.full((N, K, T), x, dtype=torch.float64)}, f"{name} holds {x:.3g}, at")
            for name in LOGPS
            for x in (2e-3, 0.5, 30.0)
        ],
        *[
            ({name: torch.zeros(shape)}, rf"^{name} is torch\.float32, policy_logps torch\.float64")
            for name, shape in FLOATS.items()
        ],
        *[
            ({name: torch.zeros(shape, device="meta")}, f"^{name} is on meta, policy_logps on cpu")
            for name, shape in (FLOATS | OTHERS).items()
        ],
        ({"old_logps": NAN}, "^GroupBatch takes no 'old_logps'; did you mean 'behaviour_logps'"),
        ({"old_logprobs": NAN}, "did you mean 'behaviour_logps'"),
        ({"ref_logps": NAN}, "did you mean 'reference_logps'"),
        ({"logps": NAN}, "did you mean 'policy_logps'"),
        ({"completion_mask": HOLE}, "did you mean 'mask'"),
        ({"reward": NAN}, "did you mean 'rewards'"),
        ({"behaviour_logp": NAN}, "did you mean 'behaviour_logps'"),
    ],
)
def test_errors_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        GroupBatch(**fields(**changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(0, 2, 3), (1, 0, 2), (1, 2, 0), (0, 0, 0)])
def test_an_empty_batch_is_refused(shape: tuple[int, int, int]) -> None:
    x = torch.zeros(shape)
    with pytest.raises(
        ValueError, match=r"^policy_logps is empty, \[.*\]: a batch has at least one"
    ):
        GroupBatch(
            policy_logps=x,
            behaviour_logps=x,
            rewards=torch.zeros(shape[:2]),
            mask=torch.ones(shape),
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rounding_may_lift_a_log_probability_a_little_above_0(dtype: torch.dtype) -> None:
    def batch(x: float) -> GroupBatch:
        logps = torch.full((1, 2, 1), x, dtype=dtype)
        rewards = torch.zeros(1, 2, dtype=dtype)
        return GroupBatch(
            policy_logps=logps, behaviour_logps=logps, rewards=rewards, mask=logps == logps
        )

    # Logits of some tens, rounded in this precision.
    rounding = 16 * torch.finfo(dtype).eps
    assert batch(rounding).policy_logps.max() > 0
    with pytest.raises(ValueError, match="a log-probability is at most 0"):
        batch(max(0.01, 4 * rounding))


@pytest.mark.parametrize("name", ["policy_kl", "entropy"])
def test_a_kl_and_an_entropy_may_round_below_0_and_be_searched(name: str) -> None:
    small = torch.full((N, K, T), -1e-7, dtype=torch.float64)
    GroupBatch(**fields(**{name: small}))
    GroupBatch(**fields(**{name: torch.where(fields()["mask"], -small, -1.0)}))
    with pytest.warns(UserWarning, match=f"{name} holds -1"):
        GroupBatch(**fields(**{name: (1e7 * small).requires_grad_()}))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.uint16, torch.uint64])
def test_steps_are_numbered_in_any_integers(dtype: torch.dtype) -> None:
    ids = torch.arange(T).expand(N, K, T)
    steps = GroupBatch(**fields(step_ids=ids.to(dtype))).by_step()
    assert torch.equal(
        steps.policy_logps, GroupBatch(**fields(step_ids=ids)).by_step().policy_logps
    )
    with pytest.raises(ValueError, match=r"step_ids must start at 0 .* \[0, 0, 0\]"):
        GroupBatch(**fields(step_ids=(ids - 1).to(dtype)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_weights_of_groups_sum_to_one_up_to_their_rounding(dtype: torch.dtype) -> None:
    def batch(weight: torch.Tensor) -> GroupBatch:
        logps = torch.full((10, 2, 1), -1.0, dtype=dtype)
        return GroupBatch(
            policy_logps=logps,
            behaviour_logps=logps,
            rewards=torch.zeros(10, 2, dtype=dtype),
            mask=logps < 0,
            group_weight=weight.to(dtype),
        )

    assert batch(torch.full((10,), 0.1)).group_weight is not None
    with pytest.raises(ValueError, match=r"group_weight must .* sum 1, got sum 1\.02"):
        batch(torch.full((10,), 0.102))


def test_a_policy_that_a_search_moves_above_0_is_reported_not_refused() -> None:
    f = fields()
    leaf = f["policy_logps"].clone().requires_grad_()
    with torch.no_grad():
        leaf[0, 0, 1] = 89.0
    with pytest.warns(UserWarning, match=r"policy_logps holds 89, at \[0, 0, 1\]"):
        GroupBatch(**f | {"policy_logps": leaf})


def test_what_becomes_of_the_callers_tensors_does_not_move_a_batch() -> None:
    f = fields(
        behaviour_values=torch.zeros(N, K, T, dtype=torch.float64),
        group_weight=torch.full((N,), 0.5, dtype=torch.float64),
        step_ids=torch.arange(T).expand(N, K, T).clone(),
        truncated=torch.zeros(N, K, dtype=torch.bool),
    )
    batch = GroupBatch(**f)
    names = [name for name in f if name != "policy_logps"]
    kept = {name: getattr(batch, name).clone() for name in names}
    for name in names:
        f[name].zero_() if f[name].any() else f[name].fill_(1)
    for name in names:
        assert torch.equal(getattr(batch, name).nan_to_num(), kept[name].nan_to_num()), name
    # What carries a gradient has to be the caller's own tensor.
    assert batch.policy_logps is f["policy_logps"]


def test_a_batch_can_be_copied_and_pickled() -> None:
    batch = GroupBatch(**fields())
    for again in (copy.copy(batch), copy.deepcopy(batch), pickle.loads(pickle.dumps(batch))):
        assert torch.equal(again.rewards, batch.rewards)
        assert again.lengths.tolist() == LENGTHS.tolist()


def test_missing_fields_are_named() -> None:
    batch = GroupBatch(**fields())
    with pytest.raises(MissingField, match=r"^implicit_value needs log_z") as missing:
        _ = batch.implicit_value
    assert missing.value.field == "log_z"
    with pytest.raises(MissingField, match=r"^by_step needs step_ids") as missing:
        batch.by_step()
    assert missing.value.field == "step_ids"
    # A process hands an error to another one by pickling it.
    assert str(pickle.loads(pickle.dumps(missing.value))) == str(missing.value)


def test_steps_of_a_full_response_beside_one_with_more_steps():
    logps, mask = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    values = torch.arange(6.0).view(1, 2, 3)
    batch = GroupBatch(
        policy_logps=logps,
        behaviour_logps=logps,
        rewards=torch.zeros(1, 2),
        mask=mask,
        step_ids=torch.tensor([[[0, 0, 0], [0, 1, 2]]]),
        values=values,
    )
    steps = batch.by_step()
    assert steps.mask.tolist() == [[[True, False, False], [True, True, True]]]
    assert steps.values[steps.mask].tolist() == [0.0, 3.0, 4.0, 5.0]
