"""Results that are kept: read back as they were, and compared with those of a slower program."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gnivo_edu.bench import results
from gnivo_edu.bench.ratio import Row, missing_row, race, ratio_row, slope_row

COUNT = 20_000


def record(rows: list[Row], **more: Any) -> dict[str, Any]:
    """A record with some rows."""
    return {
        "benchmark": "sums",
        "results": rows,
        "machine": "some processor, 2 cores",
        "versions": {"python": "3.11"},
        "seconds": 90.0,
        "date": "2026-01-01",
        "command": "gnivo-edu bench sums",
        "about": "Sums against sums.",
    } | more


def sums(slower: int = 1) -> dict[str, Any]:
    """A sum of ours against a longer one, in truth measured, by the processor's time; `slower` is
    what has happened to ours.
    """
    calls: dict[str, Callable[[int], int]] = {
        "ours": lambda repeat: sum(range(slower * COUNT)),
        "peer": lambda repeat: sum(range(4 * COUNT)),
    }
    runs = race(calls, repeats=9, clock=time.process_time)
    row = ratio_row("a sum", runs["ours"].seconds, peer=runs["peer"].seconds, unit="s", bound=2.0)
    return record([row])


def rows_with(ratios: list[float], case: str = "case") -> list[Row]:
    """A row with these ratios."""
    return [ratio_row(case, ours=[1.0] * len(ratios), peer=ratios, unit="s")]


def test_a_planted_slow_down_is_found_and_the_same_program_passes(tmp_path: Path) -> None:
    results.measure([("sums", {})], lambda name: sums(), into=tmp_path)
    again = results.measure([("sums", {})], lambda name: sums(), against=tmp_path)
    assert (again["passed"], again["fell"]) == (True, [])
    slow = results.measure([("sums", {})], lambda name: sums(slower=3), against=tmp_path)
    assert slow["passed"] is False
    assert len(slow["fell"]) == 1
    assert slow["fell"][0].startswith("sums: a sum: fell from ")


@pytest.mark.parametrize(
    ("ratios", "fell"),
    [
        ([2.0, 2.1, 2.2], False),
        ([1.7, 1.85, 2.0], False),  # the intervals overlap
        ([1.9, 1.91, 1.92], False),  # they do not, but that is 9% of 2.1
        ([1.7, 1.75, 1.8], True),
        ([2.9, 3.0, 3.1], False),  # faster
    ],
)
def test_what_has_fallen(ratios: list[float], fell: bool) -> None:
    old = record(rows_with([2.0, 2.1, 2.2]))
    assert bool(results.fallen(record(rows_with(ratios)), old)) is fell


def test_a_row_that_is_gone_has_fallen_and_one_that_cannot_be_measured_is_named() -> None:
    old = record(rows_with([2.0]) + rows_with([3.0], case="TRL"))
    assert results.fallen(record(rows_with([2.0])), old) == [
        "sums: TRL: there is no such row any more"
    ]
    new = record([*rows_with([2.0]), missing_row("TRL", "not run: TRL is not there")])
    assert results.fallen(new, old) == []
    assert results.not_compared(new, old) == ["sums: TRL: not run: TRL is not there"]
    # Nor could it be measured then: nothing to say, and nothing that can fall.
    assert results.not_compared(new, new) == results.fallen(new, new) == []
    elsewhere = record(rows_with([2.0]), machine="another")
    assert "measured on another; committed: some processor" in " ".join(
        results.not_compared(elsewhere, record(rows_with([2.0])))
    )


def test_a_folder_holds_the_record_a_page_and_a_figure(tmp_path: Path) -> None:
    labels = {"x_label": "answers", "y_label": "seconds", "series": "ours"}
    growth = slope_row("growth", [1, 10], [[1.0, 10.0], [1.0, 11.0]], bound=0.9, **labels)
    rows = [ratio_row("a|b", [0.002], peer=[0.5], unit="s", bound=300.0), growth]
    rows.append(missing_row("TRL", "not run: TRL is not there"))
    results.write(record(rows), tmp_path, note="The machine was busy.")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "sums-1.png",
        "sums.json",
    ]
    kept = results.read(tmp_path)
    assert kept == [record(rows) | {"note": "The machine was busy."}]
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| a\\|b | 2 ms | 500 ms | 250 | 300 | NO |" in page
    assert "![growth](sums-1.png)" in page
    assert "**The machine was busy.**" in page
    assert "TRL: not run: TRL is not there" in page
    assert "those below took 2 minutes" in page
    assert "`gnivo-edu bench sums`, 2026-01-01: some processor, 2 cores; python 3.11." in page


def test_a_record_of_nothing_does_not_take_the_place_of_one_that_holds_something(
    tmp_path: Path,
) -> None:
    on_gpu = {"device": "cuda"}
    nothing = record([missing_row("step", "not run: no CUDA device was at hand")], **on_gpu)
    results.write(nothing, tmp_path)
    assert results.read(tmp_path) == [nothing]
    measured = record(rows_with([2.0]), **on_gpu)
    results.write(measured, tmp_path)
    results.write(nothing, tmp_path)
    assert results.read(tmp_path) == [measured]
    assert (tmp_path / "sums-cuda.json").exists()
