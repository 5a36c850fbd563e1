"""Answers that start with a given prefix, and more of them where intervals are widest."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest

from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.evaluation.step_values.asked import Asked
from gnivo_edu.evaluation.step_values.continuations import Budget, Continuations
from tests.evaluation.step_values.small_tasks import random_tables, table_of


def continued(asked: Asked, reference: Any) -> Continuations:
    return Continuations(asked, reference, [(0, 1, 2)], steps=[np.arange(3)])


def test_continuations_start_with_their_prefix_and_do_not_hang_on_the_batch(task):
    reference, asked = table_of(task, random_tables(task, 1)), Asked(task, 0, seed=0, max_rows=64)
    prefixes = [(0, 1), (1, 0)]
    drawn = asked.after(reference, prefixes, 5, step=3)
    assert all(row[:2] == prefix for prefix in prefixes for row in drawn[prefix])
    assert all(
        len(row) == task.horizon or row[-1] == task.eos_token_id
        for rows in drawn.values()
        for row in rows
    )
    assert drawn == Asked(task, 0, seed=0, max_rows=3).after(reference, prefixes, 5, step=3)
    assert drawn != Asked(task, 0, seed=1, max_rows=64).after(reference, prefixes, 5, step=3)
    # Fresh answers are fresh: not those of a group that the same model drew, nor of one another.
    fresh = continued(asked, reference)
    fresh.draw_evenly(5, Budget(alpha=0.5, level=0.95))
    rows = fresh.rows
    assert rows[()] != asked.after(reference, [()], 5, step=0)[()]
    assert [row[1:2] for row in rows[(0,)]] != [row[:1] for row in rows[()]]


def test_a_budget_is_spent_where_the_interval_is_widest(task):
    reference = table_of(task, random_tables(task, 1))
    asked = Asked(task, 0, seed=0, max_rows=8)
    said: list[str] = []
    ticks = count()  # every look at the clock is a second
    budget = Budget(
        alpha=0.5, level=0.95, seconds=30.0, say=said.append, clock=lambda: float(next(ticks))
    )
    fresh = continued(asked, reference)
    fresh.draw_evenly(4, budget)
    narrow = {prefix: fresh._width(prefix, budget) for prefix in fresh.rows}
    fresh.draw_widest(budget)
    assert fresh.drawn > 12 + 8
    assert fresh.drawn % 8 == 12 % 8
    assert len(fresh.rows[max(narrow, key=lambda prefix: narrow[prefix])]) > 4
    widths = [fresh._width(prefix, budget) for prefix in fresh.rows]
    assert max(widths) < max(narrow.values())
    assert "of 30 s" in said[-1]
    for prefix, rows in fresh.rows.items():
        assert len(set(rows)) > 1
        assert all(row[: len(prefix)] == prefix for row in rows)
        assert fresh.rewards[prefix] == asked.rewards(rows).tolist()


def test_without_seconds_no_more_are_drawn(task):
    fresh = continued(Asked(task, 0, seed=0, max_rows=8), table_of(task, random_tables(task, 1)))
    budget = Budget(alpha=0.5, level=0.95)
    fresh.draw_evenly(4, budget)
    fresh.draw_widest(budget)
    assert fresh.drawn == 12


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_is_that_of_the_tempered_table(task, temperature):
    tables = random_tables(task, 1)
    tempered = [t / temperature for t in tables]
    tempered = [t - np.logaddexp.reduce(t, axis=1, keepdims=True) for t in tempered]
    policy, cold = table_of(task, tables), table_of(task, tempered)
    options = {"alpha": 0.5, "continuations": 4, "group_size": 3}
    at = step_values(policy, policy, task, temperature=temperature, **options)
    own = step_values(cold, cold, task, **options)
    assert at.log_z.value == pytest.approx(own.log_z.value, abs=1e-12)
    assert at.pin[0] == pytest.approx(own.pin[0], abs=1e-12)
    for one, other in zip(at.answers, own.answers, strict=True):
        assert one.tokens == other.tokens
        assert one.exact_values == pytest.approx(other.exact_values, abs=1e-12)
    assert at.pin[0] != pytest.approx(step_values(policy, policy, task, **options).pin[0])
