"""What every benchmark shares: calls in turn, and a ratio that says better when it is larger."""

from __future__ import annotations

import time

import pytest
import torch

from gnivo_edu.bench.ratio import race, ratio_row


def test_calls_take_turns_and_hear_the_number_of_their_repeat() -> None:
    order: list[tuple[str, int]] = []

    def note(name: str, repeat: int) -> int:
        if (name, repeat) not in order:  # a call may be made more than once for one measurement
            order.append((name, repeat))
        return 10 * repeat

    said: list[str] = []
    calls = {name: lambda repeat, name=name: note(name, repeat) for name in ("a", "b")}
    runs = race(calls, repeats=2, progress=said.append, label="x, ")
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert said == [f"x, {name}: run {repeat + 1} of 2" for name, repeat in order]
    assert runs["a"].results == runs["b"].results == [0, 10]


def test_seconds_are_those_of_one_call() -> None:
    runs = race({"nap": lambda repeat: time.sleep(0.02), "nothing": lambda repeat: None}, repeats=2)
    assert all(0.02 <= seconds < 2 for seconds in runs["nap"].seconds)
    assert all(0 < seconds < 0.01 for seconds in runs["nothing"].seconds)


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
