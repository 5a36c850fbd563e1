"""What every benchmark shares: calls in turn, and a ratio that says better when it is larger."""

from __future__ import annotations

import itertools
import time

import pytest
import torch

from gnivo_edu.bench.ratio import missing_row, race, ratio_row, slope_row


def test_calls_take_turns_and_hear_the_number_of_their_repeat() -> None:
    order: list[tuple[str, int]] = []

    def note(name: str, repeat: int) -> int:
        if (name, repeat) not in order:  # a call may be made more than once for one measurement
            order.append((name, repeat))
        return 10 * repeat

    said: list[str] = []
    calls = {name: lambda repeat, name=name: note(name, repeat) for name in ("a", "b")}
    runs = race(calls, repeats=3, progress=said.append, label="x, ")
    # The second round goes backward; the first meets calls that were made once, unmeasured.
    assert order == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    unmeasured = [f"x, {name}: once, unmeasured" for name in ("a", "b")]
    assert said == unmeasured + [f"x, {name}: run {repeat + 1} of 3" for name, repeat in order]
    assert runs["a"].results == runs["b"].results == [0, 10, 20]


def test_seconds_are_those_of_one_call() -> None:
    runs = race({"nap": lambda repeat: time.sleep(0.02), "nothing": lambda repeat: None}, repeats=2)
    assert all(0.02 <= seconds < 2 for seconds in runs["nap"].seconds)
    assert all(0 < seconds < 0.01 for seconds in runs["nothing"].seconds)


def test_a_clock_of_ones_own_is_read_before_and_after() -> None:
    ticks = itertools.count(step=3)
    runs = race({"call": lambda repeat: None}, repeats=2, clock=lambda: float(next(ticks)))
    assert runs["call"].seconds == [3.0, 3.0]


def test_threads_are_set_for_the_calls_alone() -> None:
    before = torch.get_num_threads()
    runs = race({"threads": lambda repeat: torch.get_num_threads()}, repeats=1, threads=before + 1)
    assert runs["threads"].results == [before + 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("unit", "ratio"), [("s", 2.0), ("bytes", 2.0), ("tokens/s", 0.5), ("share", 0.5)]
)
def test_a_ratio_is_larger_where_ours_is_better(unit: str, ratio: float) -> None:
    row = ratio_row("case", ours=[1.0, 2.0, 3.0], peer=[2.0, 4.0, 12.0], unit=unit)
    assert (row["ours"], row["peer"], row["ratio"]) == (2.0, 4.0, ratio)
    assert (row["ratio_min"], row["ratio_max"]) == ((0.25, 0.5) if ratio == 0.5 else (2.0, 4.0))
    assert row["better"] == "larger"
    assert (row["bound"], row["holds"]) == (None, None)


def test_the_low_end_of_the_interval_is_held_to_the_bound() -> None:
    seconds = [10 / n for n in range(1, 10)]  # ratios 1..9, median 5, interval 2..8
    row = ratio_row("case", ours=seconds, peer=[10.0] * 9, unit="s", bound=2.0)
    assert (row["ratio"], row["interval"], row["pairs"]) == (5.0, [2.0, 8.0], 9)
    assert row["holds"] is True
    assert ratio_row("case", seconds, peer=[10.0] * 9, unit="s", bound=2.1)["holds"] is False


@pytest.mark.parametrize("power", [0.8, 1.0, 1.2])
def test_a_slope_is_fitted_and_held_on_both_sides(power: float) -> None:
    x = [1.0, 10.0, 100.0]
    runs = [[scale * value**power for value in x] for scale in (1.0, 2.0, 5.0)]
    row = slope_row("growth", x, runs, bound=0.95, x_label="x", y_label="s", series="ours")
    assert row["ours"] == pytest.approx(power)
    assert row["ratio"] == pytest.approx(min(power, 1 / power))
    assert row["interval"][0] == pytest.approx(row["ratio"])
    assert row["holds"] is (power == 1.0)
    assert row["curve"]["series"]["ours"] == pytest.approx([2 * value**power for value in x])


def test_slopes_on_both_sides_of_one_are_no_slope_of_one() -> None:
    x = [1.0, 10.0]
    runs = [[1.0, 10.0**power] for power in (0.8, 0.8, 1.0, 1.2, 1.2)]
    row = slope_row("growth", x, runs, bound=0.95, x_label="x", y_label="s", series="ours")
    assert row["ratio"] == pytest.approx(1.0)
    assert row["interval"] == pytest.approx([0.8, 1.0])
    assert row["holds"] is False


def test_a_row_without_a_peer_has_the_columns_of_the_others() -> None:
    row = ratio_row("case", ours=[1.0], peer=[2.0], unit="s")
    missing = missing_row("case", "not run: it is not there")
    assert set(missing) == set(row)
    assert missing["ratio"] is None
    assert missing["note"] == "not run: it is not there"
