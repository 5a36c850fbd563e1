"""Training curves share axes, and choose their scales."""

import numpy as np
import pytest

from gnivo_edu import figures
from gnivo_edu.figures.style import number


@pytest.fixture
def records():
    def run(rate):
        return [
            {
                "groups": n,
                "kl": 2 * (n + 1.0) ** -rate,
                "loss": float("nan") if n == 0 else 3.0,
                "seed": s,
            }
            for s in (0, 1)
            for n in (0, 1, 10, 100)
        ]

    return {"fast": run(2), "slow": run(1)}


def test_training_curves_share_axes_and_choose_log_scales(records, words):
    shown = figures.training_curves(records, {"kl": "KL, nats", "loss": "loss"}, alpha=0.5)
    axes = np.array(shown.figure().axes).reshape(2, 2)
    assert axes[0, 0].get_ylim() == axes[0, 1].get_ylim()
    assert axes[0, 0].get_shared_y_axes().joined(axes[0, 0], axes[0, 1])
    assert axes[0, 0].get_xlim() == axes[1, 1].get_xlim()
    assert [a.get_yscale() for a in axes[:, 0]] == ["log", "linear"]
    assert axes[0, 0].get_xscale() == "symlog"  # the record at 0 groups keeps its place
    own = [line for line in axes[0, 1].lines if line.get_marker() != "None"]
    assert len(own) == 2
    assert own[0].get_ydata() == pytest.approx([2 * (n + 1.0) ** -1 for n in (0, 1, 10, 100)])
    assert len(axes[1, 0].lines[-1].get_xdata()) == 3  # no loss before the first step
    _, rows = shown.table()
    assert rows[2] == ["slow", "KL, nats", "2", number(2 / 101), "100"]
    assert {"fast", "slow", "KL, nats"} <= set(words(shown.figure()))
    one = figures.training_curves(
        {"fast": records["fast"]}, {"kl": "KL", "loss": "loss"}, alpha=0.5
    )
    assert len(one.figure().axes) == 2
    with pytest.raises(ValueError, match="no finite 'reward'"):
        figures.training_curves(records, {"reward": "reward"}, alpha=0.5)
