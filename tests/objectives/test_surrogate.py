"""Parts that policy-gradient objectives share, by themselves."""

from __future__ import annotations

from dataclasses import replace

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
