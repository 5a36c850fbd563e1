"""Each benchmark, small: the record of the contract, in plain JSON."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import pytest

from gnivo_edu import bench
from gnivo_edu.bench.phases import bench_phases
from gnivo_edu.bench.step import TINY

SMALL = {
    "atlas": partial(bench.bench_atlas, repeats=1),
    "critics": partial(bench.bench_critics, steps=1, prompts=1, group_size=2, repeats=1),
    "exact": partial(
        bench.bench_exact, vocab_size=2, horizon=3, depths=(3, 4), prompts=(1, 2), repeats=2
    ),
    "grading": partial(bench.bench_grading, shared=Path("no data sets")),
    "import": partial(bench.bench_import, repeats=1),
    "memory": partial(
        bench.bench_memory,
        vocabulary=64,
        length=4,
        group_size=2,
        sizes={"vocabulary": (64, 128), "length": (4, 8), "K": (2, 4)},
        size="tiny",
    ),
    "population": partial(bench.bench_population, group_size=2, repeats=1),
    "processes": partial(bench.bench_processes, size="tiny", repeats=1),
    # One thread: two that wait for one another are slow where others work too.
    "sample": partial(
        bench.bench_sample,
        prompt_length=4,
        group_size=2,
        horizon=3,
        short=2,
        repeats=2,
        threads=1,
        size="tiny",
    ),
    "score": partial(bench.bench_score, tokens=16, sizes=((64, 4), (64, 4)), repeats=2),
    "train-step": partial(bench.bench_train_step, short=TINY, long=TINY, repeats=1),
}
ROWS = {
    "atlas": 2,
    "critics": 6,
    "exact": 5,
    "grading": 6,
    "import": 2,
    "memory": 9,
    "population": 2,
    "processes": 2,
    "sample": 4,
    "score": 11,
    "train-step": 16,
}
COLUMNS = [
    *("case", "ours", "peer", "ratio", "ratio_min", "ratio_max", "unit", "better"),
    *("interval", "pairs", "bound", "holds", "note"),
]


@pytest.mark.parametrize("name", bench.BENCHMARKS)
@pytest.mark.slow
def test_a_record_meets_its_contract(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.BENCHMARKS, name, SMALL[name])
    said: list[str] = []
    record = json.loads(json.dumps(bench.run_benchmark(name, progress=said.append)))
    assert list(record)[:4] == ["benchmark", "results", "machine", "versions"]
    assert record["benchmark"] == name
    assert record["about"]
    assert len(record["results"]) == ROWS[name]
    for row in record["results"]:
        assert [key for key in row if key != "curve"] == COLUMNS
        if row["ratio"] is None:
            assert row["note"].startswith("not run: ")
            continue
        assert row["unit"] in ("s", "bytes", "tokens/s", "nats", "share", "slope")
        assert 0 < row["ratio_min"] <= row["ratio"] <= row["ratio_max"] < math.inf
        low, high = row["interval"]
        assert low <= row["ratio"] <= high
    assert said


def test_chunked_scores_agree_with_dense_ones_and_take_less_memory() -> None:
    rows = bench.bench_score(tokens=512, sizes=((2048, 8), (2048, 8)), repeats=1)
    memory = [row for row in rows if row["unit"] == "bytes"]
    assert len(memory) == 4
    assert all(row["ratio"] > 1 for row in memory)
    assert rows[-1]["ratio"] >= 1  # the error is within its limit


def test_an_unknown_benchmark_is_answered_with_the_known() -> None:
    with pytest.raises(ValueError, match="no benchmark 'zzz'; known: atlas, critics, exact"):
        bench.run_benchmark("zzz")
    with pytest.raises(ValueError, match="no benchmark 'smaple'; did you mean 'sample'"):
        bench.run_benchmark("smaple")
    with pytest.raises(ValueError, match="'exact' takes no --device: leave it out"):
        bench.run_benchmark("exact", device="cpu")


def test_all_are_every_one() -> None:
    assert [name for name, _ in bench.runs_of(["all"])][: len(bench.BENCHMARKS)] == [
        *bench.BENCHMARKS
    ]
    assert [name for name, _ in bench.runs_of(["sample", "exact"])] == ["sample", "exact"]


def test_without_a_gpu_one_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    record = bench.run_benchmark("train-step", device="cuda")
    assert [row["note"] for row in record["results"]] == ["not run: no CUDA device was at hand"]
    assert record["command"] == "gnivo-edu bench train-step --device cuda"
    assert record["device"] == "cuda"


@pytest.mark.slow
def test_the_phases_of_a_step_on_the_cpu() -> None:
    rows = bench_phases("cpu", "tiny", repeats=1)
    phases = ["sampling", "scoring", "update"]
    assert [row["case"] for row in rows][:3] == phases
    assert [row["unit"] for row in rows] == ["tokens/s"] * 4 + ["bytes"]
    assert all(row["ours"] > 0 for row in rows)
