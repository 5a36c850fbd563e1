"""Metrics of the objectives against plain Python, and defaults against the published settings."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import surrogate
from tests.objectives.objective_checks import random_record, rows

ALPHA = 0.3
GROUPS = rows(random_record())
ROWS = [row for group in GROUPS for row in group]
TOKENS = [(row, t) for row in ROWS for t in range(len(row.p))]


def mean(x: Any) -> float:
    numbers = list(x)
    return sum(numbers) / len(numbers)


def rms(x: Any) -> float:
    return math.sqrt(mean(a * a for a in x))


def h(row: Any) -> float:
    return sum(row.p) - sum(row.r)


def outside(logratio: float, low: float, high: float) -> float:
    return float(not 1 - low <= math.exp(logratio) <= 1 + high)


def test_gvpo_and_dro_residuals() -> None:
    batch = GroupBatch(**random_record())
    variances = []
    for group in GROUPS:
        x = [row.R - ALPHA * h(row) for row in group]
        variances.append(sum((a - mean(x)) ** 2 for a in x) / (len(x) - 1))
    metrics = objectives.gvpo(batch, ALPHA).metrics
    assert metrics["residual"].item() == pytest.approx(math.sqrt(mean(variances)), rel=1e-12)
    assert metrics["reward"].item() == pytest.approx(mean(row.R for row in ROWS), rel=1e-12)
    assert metrics["logratio"].item() == pytest.approx(mean(h(row) for row in ROWS), rel=1e-12)
    assert metrics["tied_groups"].item() == 0
    metrics = objectives.dro(batch, ALPHA).metrics
    assert metrics["residual"].item() == pytest.approx(
        rms(row.R - row.v[0] - ALPHA * h(row) for row in ROWS), rel=1e-12
    )
    assert metrics["value"].item() == pytest.approx(mean(row.v[0] for row in ROWS), rel=1e-12)


def test_rloo_and_grpo_metrics() -> None:
    batch = GroupBatch(**random_record())
    advantages = []
    for group in GROUPS:
        r = [row.R - ALPHA * (sum(row.b) - sum(row.r)) for row in group]
        advantages += [r[i] - mean(r[:i] + r[i + 1 :]) for i in range(len(r))]
    metrics = objectives.rloo(batch, ALPHA).metrics
    std = math.sqrt(sum(a * a for a in advantages) / (len(advantages) - 1))
    assert metrics["advantage"].item() == pytest.approx(std, rel=1e-12)
    share = mean(outside(sum(row.p) - sum(row.b), 0.2, 0.2) for row in ROWS)
    assert 0 < share < 1
    assert metrics["clipped"].item() == pytest.approx(share, rel=1e-12)
    assert objectives.rloo(batch, ALPHA, clip_low=None).metrics["clipped"].item() == 0
    metrics = objectives.grpo(batch, ALPHA, clip_low=0.1, clip_high=0.4).metrics
    share = mean(outside(row.p[t] - row.b[t], 0.1, 0.4) for row, t in TOKENS)
    assert metrics["clipped"].item() == pytest.approx(share, rel=1e-12)
    k3 = mean(math.exp(row.r[t] - row.p[t]) - 1 + row.p[t] - row.r[t] for row, t in TOKENS)
    assert metrics["kl"].item() == pytest.approx(k3, rel=1e-12)
    assert "kl" not in objectives.dr_grpo(batch).metrics


def test_vimpo_oreo_and_ppo_metrics() -> None:
    batch = GroupBatch(**random_record())
    out = objectives.vimpo(batch, ALPHA, actor=0.4)
    total = out.metrics["value_loss"] + 0.4 * out.metrics["actor_loss"]
    assert out.loss.item() == pytest.approx(total.item(), rel=1e-12)
    raw = [
        sum(ALPHA * (row.p[m] - row.r[m] - row.kl[m]) for m in range(t, len(row.p)))
        for row, t in TOKENS
    ]
    assert out.metrics["advantage"].item() == pytest.approx(rms(raw), rel=1e-12)
    assert out.metrics["kl"].item() == pytest.approx(
        mean(row.kl[t] for row, t in TOKENS), rel=1e-12
    )
    share = mean(outside(row.p[t] - row.b[t], 0.2, 0.28) for row, t in TOKENS)
    assert out.metrics["clipped"].item() == pytest.approx(share, rel=1e-12)

    out = objectives.oreo(batch, ALPHA, kl_weight=0.5)
    kl = mean(mean(row.kl) for row in ROWS)
    assert out.metrics["kl"].item() == pytest.approx(kl, rel=1e-12)
    total = out.metrics["value_loss"] + out.metrics["policy_loss"]
    assert out.loss.item() == pytest.approx(total.item() + 0.5 * kl, rel=1e-12)
    assert out.metrics["value_loss"].item() == pytest.approx(
        out.metrics["policy_loss"].item(), rel=1e-12
    )

    out = objectives.ppo(batch, ALPHA, value_weight=0.7)
    total = out.metrics["policy_loss"] + 0.7 * out.metrics["value_loss"]
    assert out.loss.item() == pytest.approx(total.item(), rel=1e-12)
    assert out.metrics["kl"].item() == pytest.approx(
        mean(row.b[t] - row.r[t] for row, t in TOKENS), rel=1e-12
    )
    share = mean(outside(row.p[t] - row.b[t], 0.2, 0.2) for row, t in TOKENS)
    assert out.metrics["clipped"].item() == pytest.approx(share, rel=1e-12)


def test_a_batch_with_weights_is_a_population() -> None:
    """Moments of a weighted batch: probabilities, no Bessel factor."""
    record = random_record()
    weight = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    batch = GroupBatch(**record, group_weight=weight)
    x = record["policy_kl"]
    pairs = [
        (w, value)
        for w, group in zip(weight.tolist(), GROUPS, strict=True)
        for row in group
        for value in row.kl
    ]
    total = sum(w for w, _ in pairs)
    centre = sum(w * value for w, value in pairs) / total
    variance = sum(w * (value - centre) ** 2 for w, value in pairs) / total
    ours = surrogate.moments(batch, x, batch.mask)
    assert [float(a) for a in ours] == pytest.approx([centre, variance], rel=1e-12)


def test_defaults_are_the_published_settings() -> None:
    published: dict[str, dict[str, Any]] = {
        "gvpo": {"alpha": 0.1},
        "grpo": {"alpha": 0.04, "kl": "k3", "scale": "group", "clip_low": 0.2, "clip_high": 0.2},
        "gspo": {"scale": "group", "clip_low": 3e-4, "clip_high": 4e-4},
        "cispo": {"scale": "group", "clip_high": 4.0},
        "dapo": {"clip_low": 0.2, "clip_high": 0.28, "buffer": 0},
        "dr_grpo": {"kl": "none", "clip_low": 0.2, "clip_high": 0.2},
        "rloo": {"alpha": 0.05, "normalise": False, "clip_low": 0.2, "clip_high": 0.2},
        "vimpo": {
            "alpha": 5e-4,
            "actor": 5e-3,
            "lam": 1.0,
            "clip_low": 0.2,
            "clip_high": 0.28,
            "dual_clip": 10.0,
        },
        "online_dpo": {"alpha": 0.1, "labels": "hard", "form": "sigmoid", "label_temperature": 1.0},
        "dro": {"alpha": 1.0, "scaled": True},
        "oreo": {"alpha": 0.03, "level": "token", "kl": "exact"},
        "ppo": {
            "alpha": 0.05,
            "lam": 0.95,
            "gamma": 1.0,
            "clip_low": 0.2,
            "value_clip": 0.2,
            "value_weight": 0.1,
        },
        "sft_winning": {"rule": "best"},
    }
    for name, settings in published.items():
        parameters = inspect.signature(objectives.get(name)).parameters
        assert {key: parameters[key].default for key in settings} == settings
    assert set(published) | {"gnivo", "group_value", "value_mse"} == set(objectives.names())


@pytest.mark.parametrize("name", objectives.names())
def test_every_objective_has_an_alpha_a_doctest_and_its_paragraphs(name: str) -> None:
    function = objectives.get(name)
    assert "alpha" in inspect.signature(function).parameters
    for word in ("Population minimiser", "Source:", "Metrics:", "Raises ValueError", ">>> "):
        assert word in (function.__doc__ or "") or name == "group_value"
