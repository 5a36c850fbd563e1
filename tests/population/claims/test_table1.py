"""Table 1 of the poster: the numbers as printed, and what is counted in them by other means."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gnivo_edu.population.claims import table1
from gnivo_edu.population.claims.table1 import BENCHMARKS, Cell, leads, scores, standings


def grid(model: str) -> np.ndarray:
    """Rows: base, seven baselines, GN-IVO; columns as printed."""
    return np.array(
        [[score for cell, score in row.items() if cell.model == model] for row in scores().values()]
    )


def test_the_table_is_whole_and_its_numbers_are_the_posters():
    assert list(scores()) == [
        "base", "SFT-winning", "Online-DPO", "PPO", "DRO", "OREO", "RLOO", "GRPO", "Ours",
    ]  # fmt: skip
    llama, qwen = (grid(model) for model in table1.TABLE)
    assert llama.shape == qwen.shape == (9, 10)
    # The poster's own columns and rows, added up without this module.
    columns = (
        [265.0, 330.6, 223.2, 308.2, 147.6, 235.3, 46.3, 102.9, 9.9, 16.5],
        [505.0, 625.0, 267.2, 342.7, 345.3, 438.4, 212.7, 286.4, 93.1, 133.0],
    )
    rows = (
        [176.5, 178.6, 169.3, 181.7, 165.4, 180.0, 202.4, 203.7, 227.9],
        [338.9, 350.8, 353.8, 345.3, 357.1, 352.7, 377.9, 365.9, 406.4],
    )
    for printed, down, across in zip((llama, qwen), columns, rows, strict=True):
        assert printed.sum(0).tolist() == pytest.approx(down)
        assert printed.sum(1).tolist() == pytest.approx(across)


def test_the_standings_are_those_of_the_printed_grid():
    best = tied = 0
    for model in table1.TABLE:
        printed = grid(model)
        rivals = printed[1:-1].max(0)
        best += int((printed[-1] > rivals).sum())
        tied += int((printed[-1] == rivals).sum())
    assert standings() == {"best": best, "tied": tied, "beaten": 20 - best - tied}
    assert standings() == {"best": 12, "tied": 5, "beaten": 3}
    beaten = [(cell.model[:5], cell.benchmark, cell.k) for cell, x in leads().items() if x < 0]
    assert beaten == [
        ("Llama", "Olympiad-Bench", 1),
        ("Llama", "AIME2025", 3),
        ("Qwen2", "Olympiad-Bench", 3),
    ]
    assert standings(over="base")["best"] == 20


def test_no_baseline_leads_in_more_than_two_cells():
    alone = dict.fromkeys(scores(), 0)
    for cell in leads():
        top = max(row[cell] for row in scores().values())
        holders = [name for name, row in scores().items() if row[cell] == top]
        if len(holders) == 1:
            alone[holders[0]] += 1
    assert alone.pop("Ours") == 12
    assert max(alone.values()) == 2


def test_a_pass_at_1_above_its_pass_at_3_is_found_where_one_is_made(monkeypatch):
    assert len(table1.falls()) == 3
    row = scores()["Ours"]
    cell = Cell("Qwen2.5-Math-7B", "AMC2023", 1)
    monkeypatch.setitem(row, cell, 80.0)
    assert ("Ours", cell) in table1.falls()


def test_a_problem_of_aime_is_three_and_a_third_points():
    assert [table1.aime_problems(points) for points in (0.0, 3.3, 3.4, 6.7, -3.3)] == [
        0,
        1,
        1,
        2,
        -1,
    ]
    aime = {cell: x for cell, x in leads().items() if cell.benchmark in BENCHMARKS[3:]}
    assert sorted(map(table1.aime_problems, aime.values())) == [-1, 0, 0, 0, 1, 1, 1, 2]


def test_three_trials_never_solve_less_than_one_of_them_on_average():
    for trials in itertools.product((0, 1), repeat=3):
        assert np.mean(trials) <= max(trials)
