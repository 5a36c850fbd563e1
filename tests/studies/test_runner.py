"""The runner: what is done stays done, a run is its settings, and a failure says where."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gnivo_edu.studies import registry
from gnivo_edu.studies.results import REPLACED, RUNS, Results
from gnivo_edu.studies.runner import TIMINGS, run_study
from gnivo_edu.studies.study import Cell, Size, Study

CALLS: list[Cell] = []


def fake(cell: Cell, folder: Path) -> dict[str, Any]:
    CALLS.append(cell)
    if cell.settings.get("breaks"):
        raise ValueError("it broke")
    return {"score": cell.settings["x"] + cell.seed / 3, "pid": os.getpid()}


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    return [Cell(row, seed, {"x": x}) for row, x in (("b", 1), ("a", 2)) for seed in seeds]


STUDY = Study("fake", "A study of nothing.", cells=cells, run=fake, report=lambda results: None)


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    monkeypatch.setattr("gnivo_edu.studies.runner._study", lambda name: STUDY)


def go(folder: Path, listed: Sequence[Cell], jobs: int = 0) -> Results:
    return run_study(
        STUDY, listed, folder, folder / "scratch", jobs=jobs, progress=lambda line: None
    )


def test_runs_stand_in_the_order_of_the_cells_and_name_what_they_are(tmp_path: Path) -> None:
    results = go(tmp_path, cells("full", range(2)))
    assert [(run["row"], run["seed"]) for run in results.runs] == [
        *(("b", 0), ("b", 1), ("a", 0), ("a", 1))
    ]
    lines = (tmp_path / RUNS).read_text().splitlines()
    first = json.loads(lines[0])
    assert first["settings"] == {"x": 1}
    assert first["threads"] == 1
    assert {"python", "torch"} <= set(first["versions"])
    assert set(TIMINGS) - {"training_seconds"} <= set(first)


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    go(tmp_path, cells("full", range(1)))
    assert len(CALLS) == 2
    go(tmp_path, cells("full", range(2)))  # one seed more
    assert [cell.seed for cell in CALLS] == [0, 0, 1, 1]
    # Fewer seeds: nothing is run, and nothing is lost.
    results = go(tmp_path, cells("full", range(1)))
    assert len(CALLS) == 4
    assert len(results.runs) == 4


def test_a_run_after_a_line_that_was_cut_off_begins_a_line_of_its_own(tmp_path: Path) -> None:
    go(tmp_path, cells("full", range(1)))
    with (tmp_path / RUNS).open("a") as file:
        file.write('{"row": "a", "se')
    go(tmp_path, cells("full", range(2)))
    assert len(CALLS) == 4
    assert len(Results.read(tmp_path).runs) == 4


def test_other_settings_are_another_run(tmp_path: Path) -> None:
    go(tmp_path, [Cell("a", 0, {"x": 1})])
    results = go(tmp_path, [Cell("a", 0, {"x": 5})])
    assert len(CALLS) == 2
    assert [run["score"] for run in results.runs] == [5]
    # What took hours is not thrown away.
    (kept,) = (tmp_path / REPLACED).read_text().splitlines()
    assert json.loads(kept)["score"] == 1


def test_a_run_that_fails_is_named_and_loses_none(tmp_path: Path) -> None:
    listed = [Cell("a", 0, {"x": 1}), Cell("b", 3, {"x": 1, "breaks": True})]
    with pytest.raises(ValueError, match="fake: b, seed 3: it broke"):
        go(tmp_path, listed)
    assert [run["row"] for run in Results.read(tmp_path).runs] == ["a"]


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(ValueError, match="a study is at work in"):
        go(tmp_path, cells("full", range(1)))


@pytest.mark.slow
def test_runs_in_processes_are_those_in_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gnivo_edu.studies import study_of

    study = study_of("table1")
    listed = [
        Cell("base", 0, {"train": None, "questions": 2, "samples": 3}),
        Cell("base", 1, {"train": None, "questions": 3, "samples": 3}),
    ]
    monkeypatch.setattr("gnivo_edu.studies.runner._study", registry.study_of)
    here, there = (
        run_study(study, listed, tmp_path / str(jobs), tmp_path / "s", jobs, lambda line: None)
        for jobs in (0, 2)
    )
    assert bare(here) == bare(there)


def bare(results: Results) -> list[dict[str, Any]]:
    return [{k: v for k, v in run.items() if k not in TIMINGS} for run in results.runs]
