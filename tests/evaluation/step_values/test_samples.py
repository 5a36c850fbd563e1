"""Answers that start with a given prefix."""

from __future__ import annotations

import numpy as np

from gnivo_edu.evaluation.step_values.samples import Asked
from tests.evaluation.step_values.small_tasks import random_tables, table_of


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
    fresh = asked.continued(reference, [(0, 1, 2)], [np.arange(3)], 5)
    assert fresh[()] != asked.after(reference, [()], 5, step=0)[()]
    assert [row[1:2] for row in fresh[(0,)]] != [row[:1] for row in fresh[()]]
