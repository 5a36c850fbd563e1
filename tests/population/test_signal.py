"""Signal and noise: the covariance against drawn groups, and what theory says about its size."""

from __future__ import annotations

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.population import Population, expect, point_at
from gnivo_edu.population.signal import noise, problem, rows, signal_and_noise


def test_the_variance_is_that_of_gradients_of_drawn_groups():
    answers, alpha, K = problem("dense"), 0.5, 4
    point = point_at(answers, alpha, answers.tilted(0.5 * answers.rewards / alpha))
    drawn = Population.of(answers, K, draws=4_000, seed=1)
    # The order of a group does not matter, so 4,000 draws are a few hundred groups, drawn often.
    distinct, index = drawn.choice.sort(1).values.unique(dim=0, return_inverse=True)
    gradients = []
    for choice in distinct:
        alone = Population(
            answers, K, "reference", choice[None], torch.ones(1, dtype=torch.float64)
        )
        gradients.append(
            expect(objectives.gnivo, alone, point, alpha=alpha).gradient["logits"].flatten()
        )
    cell = noise("gnivo", "dense", "half-way", K)
    sampled = torch.stack(gradients)[index]
    assert float(sampled.var(0).sum()) == pytest.approx(cell.variance, rel=0.1)
    assert float(sampled.mean(0).norm()) == pytest.approx(cell.signal, rel=0.1)


def test_objectives_without_a_group_average_independent_answers():
    """The variance of a mean over K answers is 1/K of one's: the ratio per root answer does not
    depend on K.
    """
    for name in ("dro", "oreo", "value_mse", "ppo"):
        ratios = [noise(name, "sparse", "reference", K).snr for K in (2, 4, 8)]
        assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-6)


def test_a_group_gains_from_every_answer_more():
    for name in ("gnivo", "gvpo", "rloo"):
        ratios = [noise(name, "dense", "reference", K).snr for K in (2, 4, 8)]
        assert ratios == sorted(ratios)


def test_at_the_reference_gvpo_rloo_and_dr_grpo_are_one_update_up_to_its_size():
    cells = [noise(name, "dense", "reference", 4) for name in ("gvpo", "rloo", "dr_grpo")]
    assert [c.snr for c in cells] == pytest.approx([cells[0].snr] * 3, rel=1e-9)
    assert len({round(c.signal, 9) for c in cells}) > 1


def test_near_the_optimum_residuals_fade_and_raw_weights_do_not():
    """GVPO's variance goes to zero with the square of the distance; GN-IVO's weights stay where
    they are.
    """
    fading = (
        noise("gvpo", "dense", "near the optimum", 4).variance
        / noise("gvpo", "dense", "reference", 4).variance
    )
    staying = (
        noise("gnivo", "dense", "near the optimum", 4).variance
        / noise("gnivo", "dense", "reference", 4).variance
    )
    assert fading < 0.02
    assert staying > 5 * fading


def test_the_table_has_a_row_per_objective_and_reward_and_a_column_per_place_and_size():
    table = rows(signal_and_noise(only="gvpo"))
    assert [row["rewards"] for row in table] == ["sparse", "dense"]
    assert all(len(row) == 2 + 9 for row in table)
    with pytest.raises(
        ValueError, match="place must be one of reference, half-way, near the optimum"
    ):
        noise("gvpo", "dense", "middle", 2)
