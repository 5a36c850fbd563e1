"""gnivo: loops and differences, its gradient's weights, recorded numbers, errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from tests.objectives.objective_checks import (
    check_oracle,
    full_record,
    needs_oracles,
    oracle_batches,
    random_record,
    rows,
)
from tests.objectives.plain_loops import GROUP_IDS, GROUP_SETTINGS, group_loops, prefix_sums


@pytest.mark.parametrize("settings", GROUP_SETTINGS, ids=GROUP_IDS)
def test_gnivo_against_loops_and_finite_differences(
    random_batch: dict[str, torch.Tensor], settings: dict[str, Any]
) -> None:
    batch = GroupBatch(**random_batch)
    out = objectives.gnivo(batch, alpha=0.7, **settings)
    assert float(out.loss) == pytest.approx(
        group_loops(batch, prefix_sums(batch), 0.7, settings), rel=1e-12
    )

    def loss(logps: torch.Tensor) -> torch.Tensor:
        fields = random_batch | {"policy_logps": logps}
        return objectives.gnivo(GroupBatch(**fields), alpha=0.7, **settings).loss

    assert torch.autograd.gradcheck(
        loss, random_batch["policy_logps"].requires_grad_(), rtol=1e-6, atol=1e-8
    )


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
    fields = {
        name: torch.randn(5, 2, 3, dtype=torch.float64) - 6
        for name in ("policy_logps", "behaviour_logps")
    }
    batch = GroupBatch(
        **fields, rewards=torch.rand(5, 2, dtype=torch.float64), mask=torch.ones(5, 2, 3)
    )
    label = torch.sigmoid((batch.rewards[:, 0] - batch.rewards[:, 1]) / 0.3)
    margin = batch.sequence_logratio[:, 0] - batch.sequence_logratio[:, 1]  # beta = 1
    logsigmoid = torch.nn.functional.logsigmoid
    dpo = -(label * logsigmoid(margin) + (1 - label) * logsigmoid(-margin)).mean()
    ours = objectives.gnivo(batch, alpha=0.3, weights="softmax", prefixes="last").loss
    assert float(ours) == pytest.approx(float(dpo), rel=1e-13)


def test_padding_and_reward_max_change_what_they_should(
    random_batch: dict[str, torch.Tensor],
) -> None:
    def gradient(reward_max: float = 0.0, pad: int = 0, **settings: Any) -> torch.Tensor:
        fields = {
            name: torch.nn.functional.pad(x, (0, pad)) if x.dim() == 3 else x
            for name, x in random_batch.items()
        }
        logps = fields["policy_logps"].clone().requires_grad_()
        batch = GroupBatch(**fields | {"policy_logps": logps})
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
        policy_logps=ratio - 1,
        behaviour_logps=-torch.ones_like(ratio),
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


def test_a_group_without_tokens_gives_a_differentiable_zero() -> None:
    logps = torch.full((2, 2, 1), torch.nan)
    logps[1] = torch.tensor([[-1.0], [-2.0]])
    logps.requires_grad_()
    mask = torch.tensor([[[0], [0]], [[1], [1]]])
    fields = {"policy_logps": logps, "behaviour_logps": logps, "rewards": torch.ones(2, 2)}
    loss = objectives.gnivo(GroupBatch(**fields, mask=mask), alpha=1.0).loss
    loss.backward()
    # The other group: two weights e, each with log softmax - log 2, in a mean over two groups.
    assert loss.item() == pytest.approx(math.e * math.log(2))
    assert logps.grad is not None
    assert (logps.grad[0] == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, "alpha must be a positive number"),
        ({"alpha": 1e-4}, "pass reward_max"),
        (
            {"weights": "hard"},
            "one of raw, softmax, completion, completion_softmax",
        ),
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


def test_misfit_and_effective_size_of_responses_of_several_tokens() -> None:
    record, alpha, misfit, size = full_record(), 0.7, 0.0, 0.0
    for group in rows(record):
        ends = [sum(row.p) - sum(row.r) for row in group]
        target, model = (
            [math.exp(x) / sum(math.exp(y) for y in scores) for x in scores]
            for scores in ([row.R / alpha for row in group], ends)
        )
        misfit += sum(p * math.log(p / q) for p, q in zip(target, model, strict=True)) / 3
        size += 1 / sum(p * p for p in target) / 3
    metrics = objectives.gnivo(GroupBatch(**record), alpha).metrics
    assert metrics["misfit"].item() == pytest.approx(misfit, rel=1e-12)
    assert metrics["effective_size"].item() == pytest.approx(size, rel=1e-12)


@pytest.mark.parametrize("horizon", [5, 8])
def test_given_depths_average_to_horizon(
    random_batch: dict[str, torch.Tensor], horizon: int
) -> None:
    batch = GroupBatch(**random_batch)
    losses = [
        objectives.gnivo(batch, prefixes="given", depths=torch.full((3,), t), horizon=horizon).loss
        for t in range(1, horizon + 1)
    ]
    whole = objectives.gnivo(batch, lengths="horizon", horizon=horizon).loss
    assert whole.item() == pytest.approx(sum(x.item() for x in losses) / horizon, rel=1e-13)


def test_groups_of_one_are_refused() -> None:
    single = GroupBatch(**{name: x[:, :1] for name, x in random_record().items()})
    with pytest.raises(ValueError, match="groups of at least 2"):
        objectives.gnivo(single)


@needs_oracles
@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize("weights", ["raw", "softmax"])
def test_recorded_oracles(weights: str, alpha: float) -> None:
    for record, outputs in oracle_batches():
        # Without a reference of its own: the sampler is the reference, as in the paper.
        fields = {
            name: record[name] for name in ("policy_logps", "behaviour_logps", "rewards", "mask")
        }
        expected = outputs[f"gnivo_{weights}_alpha{alpha}"]
        for key, settings in {
            "sum_t": {},
            "mean_t_maxlen": {"lengths": "mean_max"},
            "mean_t_padded": {"lengths": "horizon", "horizon": record["mask"].shape[-1]},
            "last": {"prefixes": "last"},
        }.items():
            settings |= {"alpha": alpha, "weights": weights}
            check_oracle(objectives.gnivo, fields, expected[key], **settings)
            loss = objectives.gnivo(GroupBatch(**fields), **settings).loss
            assert loss.item() == pytest.approx(expected[key]["loss"], rel=1e-9)


@pytest.mark.parametrize("weights", ["raw", "softmax"])
def test_on_the_policys_own_answers_it_is_a_policy_gradient_by_position(
    random_batch: dict[str, torch.Tensor], weights: str
) -> None:
    """Algorithm 1 to the letter: at rho = 0, over drawn depths, token l counts T - l + 1 times."""
    horizon = 7
    logps = random_batch["policy_logps"].clone().requires_grad_()
    at_the_reference = random_batch | {"policy_logps": logps, "reference_logps": logps.detach()}
    batch = GroupBatch(**at_the_reference)
    for t in range(1, horizon + 1):
        loss = objectives.gnivo(
            batch, 0.7, weights=weights, prefixes="given", depths=torch.full((3,), t)
        ).loss
        (loss / horizon).backward()
    w = (batch.rewards / 0.7).exp()
    w = w / w.sum(1, keepdim=True) if weights == "softmax" else w
    advantage = (w - w.mean(1, keepdim=True))[..., None] * batch.mask / 3

    def counted(times: torch.Tensor) -> torch.Tensor:
        return -advantage * times / horizon

    token = torch.arange(1, batch.mask.shape[-1] + 1)
    assert logps.grad is not None
    assert torch.allclose(logps.grad, counted(horizon - token + 1), rtol=0, atol=1e-12)
    # A false neighbour: the prefixes that come after the token.
    assert not torch.allclose(logps.grad, counted(horizon - token), rtol=0, atol=1e-3)
