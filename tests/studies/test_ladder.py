"""The GPU rung: what it says without a GPU, its estimate, the same pieces with a small model."""

from pathlib import Path

import pytest
import torch

from gnivo_edu import studies
from gnivo_edu.studies.ladder import pieces, study
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.runner import TIMINGS, run_study
from gnivo_edu.studies.study import Cell


@pytest.fixture
def no_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("GNIVO_MODEL", raising=False)


def of_gpu(listed):
    return [cell for cell in listed if cell.settings["device"] == "none"]


def test_without_a_gpu_the_rung_is_on_record_as_not_run(no_card, tmp_path):
    listed = of_gpu(study.cells("full", [0]))
    assert [cell.row for cell in listed] == [
        "30M, base", "30M, GN-IVO", "30M, GRPO", "30M, GVPO",
        "speed, 30M", "speed, 0.5B", "speed, 1.5B",
    ]  # fmt: skip
    results = run_study(
        study.STUDY, listed, tmp_path, tmp_path / "s", jobs=0, progress=lambda line: None
    )
    assert {run["not_run"] for run in results.runs} == {"not run: no CUDA device"}
    study.report(results)
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert table.count("| not run: no CUDA device |") == 7
    assert "7 pieces 7 were not run" in table
    assert "not measured" in table


def test_a_gpu_makes_other_runs_of_it(no_card, monkeypatch):
    before = {cell.row: cell.settings for cell in study.cells("full", [0])}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    after = {cell.row: cell.settings for cell in study.cells("full", [0])}
    assert after["30M, GRPO"] == before["30M, GRPO"] | {"device": "cuda"}
    assert not any("CPU" in row for row in after)


def test_all_pieces_are_thought_to_take_less_than_nine_minutes(no_card):
    seconds = [study.estimate(cell.settings) for cell in of_gpu(study.cells("full", [0]))]
    assert 60 < sum(seconds) < 9 * 60


def test_a_model_of_the_hub_joins_by_the_environment(no_card, monkeypatch, tmp_path):
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    monkeypatch.setenv("GNIVO_SHARED", str(tmp_path))
    monkeypatch.setenv("GNIVO_MODEL", "owner/name")
    rows = {cell.row: cell for cell in study.cells("full", [0])}
    train = rows["name, GVPO"].settings["train"]
    assert train["model"] == "owner/name"
    assert train["task"] == "gsm8k"
    assert train["precision"] == "bf16"
    assert train["task_options"]["path_or_id"] == str(tmp_path / "data" / "gsm8k")


def test_pace_counts_answers_drawn_after_the_first_step():
    rows = [
        {"step_time": 9.0, "step_tokens": 10, "num_tokens": 40},
        {"step_time": 2.0, "step_tokens": 10, "num_tokens": 80},
    ]
    config = pieces.load_config(objective="gnivo")
    told = pieces.pace(rows, config, torch.nn.Linear(3, 2))
    assert told["tokens_per_second"] == 5
    assert told["parameters"] == 8


@pytest.mark.slow
def test_the_school_is_shared_by_those_that_need_it(tmp_path, no_card):
    settings = {"school": study.SCHOOL["smoke"], "questions": 2}
    cells = [Cell(name, 0, settings) for name in "ab"]
    homes = [pieces.schooled(cell, tmp_path / cell.row) for cell in cells]
    other = pieces.schooled(Cell("a", 1, settings), tmp_path / "a")
    assert homes[0] == homes[1] != other
    assert {path.parent for path in homes} == {tmp_path}


@pytest.mark.slow
def test_the_smoke_form_runs_and_gives_the_same_numbers_again(tmp_path, no_card):
    done = studies.run("ladder", size="smoke", seeds=1, jobs=0, out=tmp_path / "a")
    assert done.runs == 5
    assert "small, on a CPU, GVPO" in done.table
    cells = study.cells("smoke", [0])[:2]
    again = run_study(
        study.STUDY, cells, tmp_path / "b", tmp_path / "s", jobs=0, progress=lambda line: None
    )
    timings = (*TIMINGS, "training_seconds", "curve", "tokens_per_second")
    for old, new in zip(Results.read(tmp_path / "a").runs, again.runs, strict=False):
        assert {k: v for k, v in old.items() if k not in timings} == {
            k: v for k, v in new.items() if k not in timings
        }


def test_results_of_the_course_say_what_was_not_run():
    folder = Path(__file__).resolve().parents[2] / "results" / "ladder"
    runs = Results.read(folder).runs
    assert all(run["not_run"] == "not run: no CUDA device" for run in runs if "not_run" in run)
    assert {run["row"] for run in runs} >= {"30M, GN-IVO", "small, on a CPU, GN-IVO"}
