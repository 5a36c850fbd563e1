"""What a run writes: a few answers as text; and TensorBoard is told what metrics.jsonl holds, also
by a run that was stopped and resumed.
"""

from __future__ import annotations

import json

import pytest

from tests.training.training_runs import TINY, Stop, metrics, run

TOLD = TINY | {"save_every": 3, "trackers": ["tensorboard"]}


def told(out):
    """(step, value) by name, of all event files, as TensorBoard reads them."""
    module = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = pytest.importorskip(module, reason="needs tensorboard").EventAccumulator(
        str(out / "gnivo_edu")
    )
    accumulator.Reload()
    return {
        name: [(e.step, e.value) for e in accumulator.Scalars(name)]
        for name in accumulator.Tags()["scalars"]
    }


def expected(out):
    rows = metrics(out)
    return {
        name: [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows if name in row]
        for name in {name for row in rows for name in row} - {"step"}
    }


def without_timings(found):
    return {name: line for name, line in found.items() if name != "step_time"}


def test_tensorboard_is_told_every_metric(tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    run(tmp_path, **TOLD)
    found = told(tmp_path)
    assert len(found["step_time"]) == 6
    assert without_timings(found) == expected(tmp_path)


def test_after_a_resume_every_step_is_there_once(tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    with pytest.raises(Stop):
        run(
            tmp_path, stop_at=4, **TOLD
        )  # the checkpoint is that of step 3; steps 3 and 4 will be written again
    assert [step for step, _ in told(tmp_path)["reward"]] == [0, 1, 2, 3, 4]
    run(tmp_path, resume=True, **TOLD)
    found = told(tmp_path)
    assert [step for step, _ in found["step_time"]] == [0, 1, 2, 3, 4, 5]
    assert without_timings(found) == expected(tmp_path)


def test_saved_answers_come_with_their_question_and_their_status(tmp_path):
    run(
        tmp_path,
        model="shipped",
        task="arithmetic",
        task_options={"tiers": [2]},
        steps=1,
        prompts_per_step=3,
    )
    rows = [json.loads(line) for line in (tmp_path / "completions.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    for row in rows:
        assert row["question"].endswith("=")
        assert (row["status"] == "right") == (row["reward"] == 1)
        assert row["status"] in ("right", "wrong", "no answer")
    assert rows[0]["question"] != rows[2]["question"]
    assert [row["prompt"] for row in rows] == [rows[0]["prompt"]] * 2 + [rows[2]["prompt"]] * 2


def test_a_reward_without_a_right_answer_is_not_asked_again_for_a_status(
    shared_model, tmp_path, monkeypatch
):
    asked: list[int] = []

    def counted(texts):
        asked.append(len(texts))
        return [0.5] * len(texts)

    monkeypatch.setattr("gnivo_edu.tasks.stories.sentiment", counted)
    few = {"steps": 1, "prompts_per_step": 1, "group_size": 2, "task_options": {"horizon": 4}}
    run(tmp_path, model=shared_model, task="stories", **few)
    assert asked == [2]
    (first, _) = (
        json.loads(line) for line in (tmp_path / "completions.jsonl").read_text().splitlines()
    )
    assert "status" not in first
    assert first["question"]
