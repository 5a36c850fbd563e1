"""What the claims of the derivation compute, by other means."""

from __future__ import annotations

import itertools
import math

import pytest

from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims import seeds


def test_the_minus_sign_leaves_softmax_weights_in_the_slope():
    """With a sample in each weight, by a loop over pairs and finite differences of the loss."""
    answers = problem("tree")
    law = answers.law(answers.reference).tolist()
    _, first = answers.ends[:, 0].unique(return_inverse=True)
    weights = (answers.rewards / seeds.ALPHA).exp().tolist()
    starts = range(int(first.max()) + 1)
    reach = [sum(p for p, s in zip(law, first.tolist(), strict=True) if s == k) for k in starts]
    rows = list(zip(law, weights, first.tolist(), strict=True))
    value = [math.log(sum(p * w for p, w, s in rows if s == k) / reach[k]) for k in starts]

    def loss(v):
        total = 0.0
        for (p, w, s), (q, u, r) in itertools.product(rows, repeat=2):
            norm = math.log(math.exp(v[s]) + math.exp(v[r]))
            cross_entropy = -(w * (v[s] - norm) + u * (v[r] - norm)) / (w + u)
            total += p * q * (w + u + cross_entropy)
        return total

    def slope(v):
        ends = []
        for k in starts:
            up, down = list(v), list(v)
            up[k], down[k] = up[k] + 1e-5, down[k] - 1e-5
            ends.append((loss(up) - loss(down)) / 2e-5)
        return math.hypot(*ends)

    assert seeds._minus_sign(known=False) == pytest.approx(
        slope(value) / slope([0.0] * len(value)), rel=1e-6
    )


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_pinning_is_the_log_of_the_partition_function(alpha, monkeypatch):
    monkeypatch.setattr(seeds, "ALPHA", alpha)
    assert seeds._off_values(pinned=True) < 1e-9
    assert seeds._off_values(pinned=False) > 1e-2


def test_the_value_left_at_the_end_is_the_reward_where_it_is_not_paid():
    assert seeds._off_anchor(paid="never") == pytest.approx(float(problem("tree").rewards.max()))
