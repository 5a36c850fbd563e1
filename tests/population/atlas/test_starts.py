"""The starts: four that differ, and as many random ones as a row asks for."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import torch

from gnivo_edu.population import total_variation
from gnivo_edu.population.atlas import problem, rows_of
from gnivo_edu.population.atlas.starts import starts_of


def test_the_starts_are_the_reference_its_opposite_and_random_policies():
    answers, row = problem("tree"), rows_of("gvpo")[0]
    starts = starts_of(row, answers)
    assert list(starts) == ["reference", "opposite tilt", "random 1", "random 2"]
    laws = [answers.law(answers.policy(point.logits)) for point in starts.values()]
    assert total_variation(laws[0], answers.law(answers.reference)) < 1e-12
    opposite = answers.law(answers.tilted(-answers.rewards / row.alpha))
    assert total_variation(laws[1], opposite) < 1e-12
    assert min(total_variation(a, b) for a, b in combinations(laws, 2)) > 0.2
    assert len(starts_of(replace(row, random_starts=5), answers)) == 7


def test_what_is_learnt_starts_at_nothing_or_at_random():
    answers = problem("tree")
    learnt = next(row for row in rows_of("dro") if "values" in row.free)
    starts = starts_of(learnt, answers)
    assert not starts["reference"].values.any()
    assert bool(starts["random 1"].values.all())
    explicit = rows_of("group_value")[0]
    starts = starts_of(explicit, answers)
    assert not starts["reference"].prefix_values.any()
    assert float(starts["opposite tilt"].prefix_values.max()) <= 0
    assert starts["opposite tilt"].prefix_values.any()
    torch.testing.assert_close(starts["random 1"].logits, starts["reference"].logits)
