"""Each benchmark, small: the record of the contract, in plain JSON."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import pytest

from gnivo_edu import bench

SMALL = {
    "critics": partial(bench.bench_critics, steps=1, prompts=1, group_size=2, repeats=1),
    "exact": partial(bench.bench_exact, vocab_size=2, horizon=3, repeats=2),
    "grading": partial(bench.bench_grading, shared=Path("no data sets")),
    "import": partial(bench.bench_import, repeats=1),
    # One thread: two that wait for one another are slow where others work too.
    "sample": partial(
        bench.bench_sample, prompt_length=4, group_size=2, horizon=3, repeats=2, threads=1
    ),
    "score": partial(bench.bench_score, tokens=16, vocabulary=64, width=4, repeats=2),
}
ROWS = {"critics": 6, "exact": 2, "grading": 6, "import": 2, "sample": 3, "score": 9}
COLUMNS = ["case", "ours", "peer", "ratio", "ratio_min", "ratio_max", "unit", "better"]


@pytest.mark.parametrize("name", bench.BENCHMARKS)
@pytest.mark.slow
def test_a_record_meets_its_contract(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.BENCHMARKS, name, SMALL[name])
    said: list[str] = []
    record = json.loads(json.dumps(bench.run_benchmark(name, progress=said.append)))
    assert list(record) == ["benchmark", "results", "machine", "versions"]
    assert record["benchmark"] == name
    assert len(record["results"]) == ROWS[name]
    for row in record["results"]:
        assert list(row) == COLUMNS
        assert row["unit"] in ("s", "bytes", "tokens/s", "nats", "share")
        assert 0 < row["ratio_min"] <= row["ratio"] <= row["ratio_max"] < math.inf
    assert said


def test_chunked_scores_agree_with_dense_ones_and_take_less_memory() -> None:
    rows = bench.bench_score(tokens=512, vocabulary=2048, width=8, repeats=1)
    memory = [row for row in rows if row["unit"] == "bytes"]
    assert len(memory) == 4
    assert all(row["ratio"] > 1 for row in memory)
    assert rows[-1]["ratio"] >= 1  # the error is within its limit


def test_an_unknown_benchmark_is_answered_with_the_known() -> None:
    with pytest.raises(
        ValueError, match="no benchmark 'speed'; known: critics, exact, grading, import"
    ):
        bench.run_benchmark("speed")
