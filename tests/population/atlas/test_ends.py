"""Ends are found: they follow the start where there are several, and the sign of the objective."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnivo_edu import objectives
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import Population, total_variation
from gnivo_edu.population.atlas import find, problem, rows_of
from gnivo_edu.population.atlas.ends import ends_of
from gnivo_edu.population.atlas.row import Row
from gnivo_edu.population.atlas.starts import starts_of


def row_of(objective, variant):
    return next(row for row in rows_of(objective) if row.variant.startswith(variant))


def ends(row, *names):
    answers = problem(row.problem)
    starts = starts_of(row, answers)
    population = Population.of(answers, row.group_size, row.sampling)
    return ends_of(row, population, {name: starts[name] for name in names})


@pytest.mark.slow
def test_where_there_are_several_ends_another_start_ends_elsewhere():
    actor = row_of("vimpo", "actor loss alone")
    (one,), (other,) = ends(actor, "opposite tilt"), ends(actor, "random 1")
    assert one.kind == other.kind == "edge"
    assert total_variation(one.law, other.law) > 0.9
    (still,) = ends(actor, "reference")
    assert (still.kind, still.attracts) == ("rest", False)
    assert total_variation(still.law, problem("tree").law(problem("tree").reference)) < 1e-9


@pytest.mark.parametrize("objective", ["gvpo", "rloo"])
def test_where_there_is_one_it_does_not(objective):
    row = replace(rows_of(objective)[0], group_size=2)
    (end,) = ends(row, "reference", "opposite tilt", "random 2")
    assert end.starts == ("reference", "opposite tilt", "random 2")
    assert (end.kind, end.attracts) == ("rest", True)
    assert end.residual < 1e-10


@pytest.mark.parametrize("objective", ["dr_grpo", "dapo", "sft_winning"])
def test_no_collapse_is_written_down_a_turned_sign_ends_elsewhere(objective):
    """All three lose every answer but the best; with their rewards turned round, but the worst."""

    def turned(batch, alpha):
        return objectives.get(objective)(replace(batch, rewards=-batch.rewards), alpha)

    row = Row(objective, "", "collapses", "", sampling="current", problem="one step")
    best, worst = find(row), find(replace(row, function=turned))
    assert best.verdict == worst.verdict == "collapses"
    assert best.outcomes[0].main == 1.0
    assert worst.outcomes[0].main == 0.0


def test_a_loss_that_repels_from_its_rest_is_not_said_to_end_there():
    """GVPO downhill: pi* is still the root of its gradient, and no flow leads there."""

    def upside_down(batch, alpha):
        return LossOutput(-objectives.gvpo(batch, alpha).loss)

    row = Row("gvpo", "", None, "", sampling="current", problem="one step", group_size=2)
    assert find(row).verdict == "exact"
    turned = find(replace(row, expected="exact", function=upside_down))
    assert turned.gradient_norm_at_optimum < 1e-12
    assert turned.verdict == "collapses"


def test_a_refreshed_reference_compounds_and_a_warm_search_is_confirmed():
    twice = replace(row_of("gvpo", "3 refreshes"), refreshes=2, law=None, group_size=2)
    answers = problem("tree")
    (end,) = ends(twice, "reference", "opposite tilt")
    assert total_variation(end.law, answers.law(answers.tilted(2 * answers.rewards / 0.5))) < 1e-9
    warm = replace(rows_of("gvpo")[0], group_size=3, warm={"group_size": 2})
    (end,) = ends(warm, "reference", "random 1")
    assert end.starts == ("reference", "random 1")
    assert end.residual < 1e-10
