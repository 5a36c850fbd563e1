"""Rows: every objective of the papers has some, each with a theory to match."""

from __future__ import annotations

from gnivo_edu import objectives
from gnivo_edu.population.atlas import baselines, implicit, rows_of, vimpo


def test_the_objectives_of_the_papers_have_rows_with_a_theory():
    families = {row.objective for row in (*implicit.ROWS, *vimpo.ROWS, *baselines.ROWS)}
    assert len(families) == 16
    assert families <= set(objectives.names())
    assert all(row.expected for name in families for row in rows_of(name))
