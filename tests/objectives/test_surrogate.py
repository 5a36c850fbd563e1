"""Parts that policy-gradient objectives share, by themselves."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import surrogate
from tests.objectives.objective_checks import full_record


def test_whitened_tokens_have_mean_0_and_variance_1_and_padding_is_0() -> None:
    batch = GroupBatch(**full_record())
    white = surrogate.whiten(batch, 3 + batch.prefix_logratio)
    assert white[batch.mask].mean().item() == pytest.approx(0, abs=1e-14)
    assert white[batch.mask].var().item() == pytest.approx(1, rel=1e-7)
    assert not white[~batch.mask].any()


def test_moments_of_one_and_of_two_tokens() -> None:
    batch = GroupBatch(**full_record())
    x = torch.arange(60.0, dtype=torch.float64).view(3, 4, 5)
    for last, expected in ((10.0, (10.0, 0.0)), (11.0, (10.5, 0.5))):
        assert [m.item() for m in surrogate.moments(batch, x, (x >= 10) & (x <= last))] == list(
            expected
        )


def test_a_ratio_on_the_edge_of_the_range_is_not_clipped() -> None:
    record = full_record()
    record["behaviour_logps"] = record["policy_logps"]
    for name in ("grpo", "dr_grpo", "rloo", "vimpo", "ppo"):
        out = objectives.get(name)(GroupBatch(**record), clip_low=0.0, clip_high=0.0)
        assert out.metrics["clipped"].item() == 0


def test_the_token_mean_of_few_tokens_and_max_length_of_its_own_normaliser_only() -> None:
    batch = GroupBatch(**full_record())
    x = torch.zeros(3, 4, 5, dtype=torch.float64)
    x[0, 0, 0], x[1, 2, 0] = 2.0, 6.0
    few = replace(batch, mask=x != 0)
    assert surrogate.average(few, x, "token-mean").item() == pytest.approx(4, rel=1e-14)
    for normaliser in ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum"):
        plain = surrogate.average(batch, x, normaliser)  # type: ignore[arg-type]
        assert torch.equal(plain, surrogate.average(batch, x, normaliser, max_length=7))  # type: ignore[arg-type]


def slope(
    logratio: float, advantage: float, dtype: torch.dtype, **clips: Any
) -> tuple[float, float]:
    """The clipped loss of one token, and its derivative by the log-ratio."""
    x = torch.tensor([logratio], dtype=dtype, requires_grad=True)
    a = torch.tensor([advantage], dtype=dtype)
    loss = surrogate.clipped_loss(x, a, **{"low": 0.2, "high": 0.2} | clips)
    (gradient,) = torch.autograd.grad(loss, x)
    return loss.item(), gradient.item()


FAR = [(torch.float32, 90.0), (torch.float64, 800.0), (torch.float16, 12.0), (torch.bfloat16, 1e4)]


@pytest.mark.parametrize(("dtype", "far"), FAR, ids=str)
@pytest.mark.parametrize(
    ("advantage", "clips", "loss"),
    [
        (0.5, {}, -0.6),
        (0.5, {"dual_clip": 3.0}, -0.6),
        (0.5, {"high": 9.0}, -5.0),
        (-0.5, {"dual_clip": 3.0}, 1.5),
        (-0.5, {"dual_clip": 3.0, "high": 9.0}, 1.5),
        (-0.5, {"dual_clip": 3.0, "high": math.inf}, 1.5),
        (0.0, {}, 0.0),
        (0.0, {"high": math.inf}, 0.0),
        (0.0, {"high": math.inf, "dual_clip": 3.0}, 0.0),
    ],
)
def test_where_a_clip_holds_no_ratio_is_too_large(
    dtype: torch.dtype, far: float, advantage: float, clips: dict[str, Any], loss: float
) -> None:
    for logratio in (4.0, far):
        value, gradient = slope(logratio, advantage, dtype, **clips)
        assert value == pytest.approx(loss, rel=0.01)
        assert gradient == 0.0


@pytest.mark.parametrize(("dtype", "far"), FAR[:3], ids=str)  # bfloat16 is too coarse up there
def test_a_clip_near_the_largest_number_holds_too(dtype: torch.dtype, far: float) -> None:
    high = 0.5 * torch.finfo(dtype).max
    value, gradient = slope(far, 0.5, dtype, high=high)
    assert (value, gradient) == (pytest.approx(-0.5 * high, rel=0.01), 0.0)


@pytest.mark.parametrize(("dtype", "far"), FAR, ids=str)
def test_a_loss_that_no_clip_bounds_is_infinite(dtype: torch.dtype, far: float) -> None:
    assert slope(far, -0.5, dtype)[0] == math.inf
    assert slope(far, 0.5, dtype, high=math.inf)[0] == -math.inf


def test_up_to_the_clip_and_a_nat_beyond_nothing_is_held() -> None:
    for x in (-3.0, -0.1, 0.1, 0.18):
        assert slope(x, 0.5, torch.float64) == pytest.approx(
            (-0.5 * math.exp(x), -0.5 * math.exp(x)) if x < 0.182 else 0
        )
    # A negative advantage pays for a large ratio in full.
    for x in (1.0, 5.0, 80.0):
        expected = 0.5 * math.exp(x)
        assert slope(x, -0.5, torch.float64) == pytest.approx((expected, expected))
    for x in (1.0, 1.09):  # below log 3
        expected = 0.5 * math.exp(x)
        assert slope(x, -0.5, torch.float64, dual_clip=3.0) == pytest.approx((expected, expected))
