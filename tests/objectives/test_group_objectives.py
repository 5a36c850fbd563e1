"""gnivo and group_value: numbers against plain loops, gradients, identities, errors."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch

SHARED = Path(os.environ.get("GNIVO_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
HORIZON = 7

VARIANTS: list[dict[str, Any]] = [
    {"weights": weights, **own}
    for weights in ("raw", "softmax")
    for own in (
        {"prefixes": "last"},
        {"prefixes": "given", "depths": torch.tensor([2, 7, 5])},
        *({"lengths": name} for name in ("sum_max", "sum_min", "mean_max", "mean_min", "own")),
        {"lengths": "horizon", "horizon": HORIZON},
    )
]
IDS = ["-".join(str(v) for k, v in own.items() if k != "depths") for own in VARIANTS]


def by_loops(
    batch: GroupBatch, scores: list[list[list[float]]], alpha: float, settings: dict[str, Any]
) -> float:
    """The same objective from its definition, one depth at a time; `scores[n][i][t - 1]`, t =
    1..T_i.
    """
    total = 0.0
    for n, group in enumerate(scores):
        rewards = batch.rewards[n].tolist()
        lengths = [len(own) for own in group]
        weights = [math.exp((r - settings.get("reward_max", 0.0)) / alpha) for r in rewards]
        if settings["weights"] == "softmax":
            weights = [w / sum(weights) for w in weights]

        def term(
            i: int, t: int, group: list[list[float]] = group, weights: list[float] = weights
        ) -> float:
            at = [own[min(t, len(own)) - 1] for own in group]
            return -weights[i] * (at[i] - math.log(sum(math.exp(x) for x in at)))

        members = range(len(group))
        kind = settings.get("lengths", "sum_max")
        if settings.get("prefixes") == "last":
            total += sum(term(i, max(lengths)) for i in members)
        elif settings.get("prefixes") == "given":
            total += sum(term(i, int(settings["depths"][n])) for i in members)
        elif kind == "own":
            total += sum(term(i, t) / lengths[i] for i in members for t in range(1, lengths[i] + 1))
        else:
            last = {"max": max(lengths), "min": min(lengths)}.get(kind[-3:], HORIZON)
            terms = [term(i, t) for i in members for t in range(1, last + 1)]
            total += sum(terms) / (1 if kind.startswith("sum") else last)
    return total / len(scores)


def prefix_sums(batch: GroupBatch) -> list[list[list[float]]]:
    out = []
    for n in range(len(batch.rewards)):
        group = []
        for k in range(batch.rewards.shape[1]):
            ratios = [
                float(batch.policy_logps[n, k, t] - batch.behaviour_logps[n, k, t])
                for t in range(int(batch.mask[n, k].sum()))
            ]
            group.append([sum(ratios[: t + 1]) for t in range(len(ratios))])
        out.append(group)
    return out


@pytest.mark.parametrize("settings", VARIANTS, ids=IDS)
def test_gnivo_against_loops_and_finite_differences(
    random_batch: dict[str, torch.Tensor], settings: dict[str, Any]
) -> None:
    batch = GroupBatch(**random_batch)
    out = objectives.gnivo(batch, alpha=0.7, **settings)
    assert float(out.loss) == pytest.approx(
        by_loops(batch, prefix_sums(batch), 0.7, settings), rel=1e-12
    )

    def loss(logps: torch.Tensor) -> torch.Tensor:
        own = random_batch | {"policy_logps": logps}
        return objectives.gnivo(GroupBatch(**own), alpha=0.7, **settings).loss

    assert torch.autograd.gradcheck(
        loss, random_batch["policy_logps"].requires_grad_(), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("settings", VARIANTS, ids=IDS)
def test_group_value_against_loops_and_finite_differences(
    random_batch: dict[str, torch.Tensor], settings: dict[str, Any]
) -> None:
    batch = GroupBatch(**random_batch)
    values = random_batch["prefix_values"]
    scores = [
        [values[n, k, : int(batch.lengths[n, k])].tolist() for k in range(4)] for n in range(3)
    ]
    out = objectives.group_value(batch, alpha=0.7, **settings)
    assert float(out.loss) == pytest.approx(by_loops(batch, scores, 0.7, settings), rel=1e-12)

    def loss(prefix_values: torch.Tensor) -> torch.Tensor:
        own = random_batch | {"prefix_values": prefix_values}
        return objectives.group_value(GroupBatch(**own), alpha=0.7, **settings).loss

    assert torch.autograd.gradcheck(loss, values.requires_grad_(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("weights", ["raw", "softmax"])
@pytest.mark.parametrize("depth", [1, 3, 5])
def test_gradient_weights_are_w_minus_W_q(
    random_batch: dict[str, torch.Tensor], weights: str, depth: int
) -> None:
    logps = random_batch["policy_logps"].requires_grad_()
    batch = GroupBatch(**random_batch)
    objectives.gnivo(
        batch, alpha=0.7, weights=weights, prefixes="given", depths=torch.full((3,), depth)
    ).loss.backward()
    w = (batch.rewards / 0.7).exp()
    w = w / w.sum(1, keepdim=True) if weights == "softmax" else w
    q = batch.prefix_logratio[..., depth - 1].detach().exp()
    q = q / q.sum(1, keepdim=True)
    expected = (
        -(w - w.sum(1, keepdim=True) * q)[..., None] * (batch.mask & (torch.arange(5) < depth)) / 3
    )
    assert logps.grad is not None
    assert torch.allclose(logps.grad, expected, rtol=0, atol=1e-13)
    assert abs(float((w - w.sum(1, keepdim=True) * q).sum(1).abs().max())) < 1e-13


def test_two_responses_with_softmax_weights_are_soft_label_dpo() -> None:
    torch.manual_seed(0)
    own = {
        name: torch.randn(5, 2, 3, dtype=torch.float64)
        for name in ("policy_logps", "behaviour_logps")
    }
    batch = GroupBatch(
        **own, rewards=torch.rand(5, 2, dtype=torch.float64), mask=torch.ones(5, 2, 3)
    )
    label = torch.sigmoid((batch.rewards[:, 0] - batch.rewards[:, 1]) / 0.3)
    margin = batch.sequence_logratio[:, 0] - batch.sequence_logratio[:, 1]  # beta = 1
    logsigmoid = torch.nn.functional.logsigmoid
    dpo = -(label * logsigmoid(margin) + (1 - label) * logsigmoid(-margin)).mean()
    ours = objectives.gnivo(batch, alpha=0.3, weights="softmax", prefixes="last").loss
    assert float(ours) == pytest.approx(float(dpo), rel=1e-13)


@pytest.mark.parametrize("horizon", [5, 8])
@pytest.mark.parametrize("function", [objectives.gnivo, objectives.group_value])
def test_given_depths_average_to_horizon(
    random_batch: dict[str, torch.Tensor], function: Any, horizon: int
) -> None:
    batch = GroupBatch(**random_batch)
    each = [
        function(batch, prefixes="given", depths=torch.full((3,), t + 1), horizon=horizon)
        for t in range(horizon)
    ]
    mean = sum(float(out.loss) for out in each) / horizon
    assert float(function(batch, lengths="horizon", horizon=horizon).loss) == pytest.approx(
        mean, rel=1e-13
    )


def test_padding_and_reward_max_change_what_they_should(
    random_batch: dict[str, torch.Tensor],
) -> None:
    def gradient(reward_max: float = 0.0, pad: int = 0, **settings: Any) -> torch.Tensor:
        own = {
            name: torch.nn.functional.pad(x, (0, pad)) if x.dim() == 3 else x
            for name, x in random_batch.items()
        }
        logps = own["policy_logps"].clone().requires_grad_()
        batch = GroupBatch(**own | {"policy_logps": logps})
        objectives.gnivo(batch, reward_max=reward_max, **settings).loss.backward()
        assert logps.grad is not None
        return logps.grad[..., :5]

    plain = gradient()
    assert torch.allclose(gradient(reward_max=1.0), plain * math.exp(-1.0 / 0.2), rtol=1e-12)
    assert torch.equal(gradient(reward_max=1.0, weights="softmax"), gradient(weights="softmax"))
    for settings in (
        {},
        {"prefixes": "last"},
        {"lengths": "horizon", "horizon": 9},
        {"lengths": "own"},
    ):
        assert torch.allclose(gradient(pad=2, **settings), gradient(**settings), rtol=1e-12)


def test_float32_is_close_and_stays_float32(random_batch: dict[str, torch.Tensor]) -> None:
    half = {name: x.float() if x.is_floating_point() else x for name, x in random_batch.items()}
    small = objectives.gnivo(GroupBatch(**half), alpha=1.0).loss
    assert small.dtype == torch.float32
    assert float(small) == pytest.approx(
        float(objectives.gnivo(GroupBatch(**random_batch), alpha=1.0).loss), rel=2e-5
    )


def test_metrics_on_hand_made_numbers() -> None:
    ratio = torch.tensor([[[1.0], [0.0]], [[0.0], [0.0]]], dtype=torch.float64)
    rewards = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    batch = GroupBatch(
        policy_logps=ratio,
        behaviour_logps=torch.zeros_like(ratio),
        rewards=rewards,
        mask=ratio >= 0,
    )
    metrics = objectives.gnivo(batch, alpha=1.0).metrics
    p = 1 / (1 + math.exp(-1))
    expected = {
        "reward": 0.5,
        "misfit": 0.0,
        "logratio": 0.25,
        "tied_groups": 0.5,
        "effective_size": (1 / (p**2 + (1 - p) ** 2) + 2) / 2,
    }
    assert {name: float(x) for name, x in metrics.items()} == pytest.approx(expected, abs=1e-12)
    assert objectives.gnivo(batch, alpha=0.5).metrics["misfit"] > 0.01


def test_empty_batch_gives_a_differentiable_zero() -> None:
    logps = torch.full((1, 2, 3), torch.nan, requires_grad=True)
    mask = torch.zeros(1, 2, 3)
    out = objectives.gnivo(
        GroupBatch(policy_logps=logps, behaviour_logps=logps, rewards=torch.ones(1, 2), mask=mask)
    )
    out.loss.backward()
    assert out.loss == 0
    assert logps.grad is not None
    assert (logps.grad == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, "alpha must be a positive number"),
        ({"alpha": 1e-4}, "pass reward_max"),
        ({"weights": "hard"}, "weights must be one of raw, softmax"),
        ({"prefixes": "first"}, "prefixes must be"),
        ({"lengths": "max"}, "lengths must be"),
        ({"lengths": "horizon"}, "needs horizon"),
        ({"lengths": "horizon", "horizon": 4}, "horizon is 4, but a response has 5 tokens"),
        ({"prefixes": "given"}, "needs depths, 3 integers"),
        ({"prefixes": "given", "depths": torch.ones(3)}, "needs depths, 3 integers"),
        ({"prefixes": "given", "depths": torch.tensor([0, 1, 2])}, "depths must lie in 1..horizon"),
        (
            {"prefixes": "given", "depths": torch.tensor([1, 2, 9]), "horizon": 8},
            r"depths must lie in 1..8",
        ),
    ],
)
def test_errors(
    random_batch: dict[str, torch.Tensor], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        objectives.gnivo(GroupBatch(**random_batch), **settings)
    assert "\n" not in str(error.value)


def test_small_alpha_works_with_reward_max(random_batch: dict[str, torch.Tensor]) -> None:
    assert torch.isfinite(
        objectives.gnivo(GroupBatch(**random_batch), alpha=1e-4, reward_max=1.0).loss
    )


def test_group_objectives_refuse_what_they_cannot_use(
    random_batch: dict[str, torch.Tensor],
) -> None:
    single = {name: x[:, :1] if x.dim() > 1 else x for name, x in random_batch.items()}
    with pytest.raises(ValueError, match="groups of at least 2"):
        objectives.gnivo(GroupBatch(**single))
    del random_batch["prefix_values"]
    with pytest.raises(ValueError, match="group_value needs prefix_values"):
        objectives.group_value(GroupBatch(**random_batch))


def test_registry() -> None:
    assert {"gnivo", "group_value", "value_mse"} <= set(objectives.names())
    for name in objectives.names():
        assert objectives.get(name).__name__ == name
        assert objectives.get(name).__doc__
    with pytest.raises(ValueError, match="did you mean 'group_value'"):
        objectives.get("groupvalue")
    with pytest.raises(ValueError, match="known: "):
        objectives.get("zzz")


@pytest.mark.skipif(
    not (SHARED / "oracles/losses.json").is_file(),
    reason="GNIVO_SHARED holds no oracles/losses.json",
)
@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize("weights", ["raw", "softmax"])
def test_recorded_oracles(weights: str, alpha: float) -> None:
    for record in json.loads((SHARED / "oracles/losses.json").read_text())["batches"]:
        x = record["inputs"]
        shape = (x["N"], x["K"], x["T"])
        own = {
            name: torch.tensor(x[key], dtype=torch.float64).view(*shape[: dim])
            for name, key, dim in (
                ("policy_logps", "policy_logp", 3), ("behaviour_logps", "old_logp", 3), ("rewards", "rewards", 2),
                ("mask", "mask", 3),
            )
        }  # fmt: skip
        expected = record["outputs"][f"gnivo_{weights}_alpha{alpha}"]
        for key, settings in {
            "sum_t": {},
            "mean_t_maxlen": {"lengths": "mean_max"},
            "mean_t_padded": {"lengths": "horizon", "horizon": x["T"]},
            "last": {"prefixes": "last"},
        }.items():
            logps = own["policy_logps"].clone().requires_grad_()
            batch = GroupBatch(**own | {"policy_logps": logps})
            loss = objectives.gnivo(batch, alpha=alpha, weights=weights, **settings).loss
            loss.backward()
            assert logps.grad is not None
            assert loss.item() == pytest.approx(expected[key]["loss"], rel=1e-9)
            gradient = torch.tensor(expected[key]["grad"], dtype=torch.float64).view(shape)
            assert float((logps.grad - gradient).abs().max()) <= 1e-9 * max(
                1.0, float(gradient.abs().max())
            )
