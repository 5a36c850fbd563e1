"""The record of a run: what is kept of every answer, at which steps, and after a resume."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.show.read import read_run
from gnivo_edu.training import record
from gnivo_edu.training.checkpoint import RunFolder
from gnivo_edu.training.field_gradients import coefficients
from tests.training.training_runs import TINY, Stop, metrics, run

pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
ALL = TINY | {"completions": "all", "save_every": 3, "precision": "float64"}


def parts(out):
    return {p.name: p.read_bytes() for p in sorted((out / "completions").iterdir())}


def test_the_columns_are_trls_and_ours_and_agree_with_the_log(tmp_path):
    run(tmp_path, **ALL)
    assert len(parts(tmp_path)) == 6
    for row in metrics(tmp_path):
        table = pq.read_table(tmp_path / "completions" / record.part_name(row["step"], 0))
        assert table.schema.names[:3] == ["step", "prompt", "completion"]
        assert table.schema.names[4] == "advantage"
        columns = table.to_pydict()
        rewards = columns[table.schema.names[3]]
        assert sum(rewards) / len(rewards) == pytest.approx(row["reward"])
        assert set(columns["step"]) == {row["step"]}
        for n, length in enumerate(columns["length"]):
            assert len(columns["token_ids"][n]) == len(columns["token_texts"][n]) == length
            gap = columns["log_probs"][n][0] - columns["ref_log_probs"][n][0]
            assert columns["implicit_values"][n][0] == pytest.approx(gap, abs=1e-12)


@pytest.mark.parametrize("group_size", [1, 4])
def test_the_advantage_is_that_of_trl(tmp_path, group_size):
    run(tmp_path, **ALL | {"objective": "dro", "group_size": group_size, "steps": 2})
    (part,) = read_run(tmp_path).updates(tmp_path / "completions" / record.part_name(0, 0))
    for _, places in part.groups:
        rewards = np.array(part.rewards)[places]
        expected = np.zeros(1)  # nothing to compare a single answer with
        if group_size > 1:
            expected = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)
        assert [part.columns["advantage"][n] for n in places] == pytest.approx(expected, abs=1e-9)


def test_the_signal_on_record_is_that_of_the_loss_on_the_batch_on_record(tmp_path):
    options = {"alpha": 0.3}
    run(tmp_path, **ALL | {"objective": "gvpo", "objective_options": options, "inner_steps": 2})
    found = read_run(tmp_path)
    assert [p.name for p in found.parts[:2]] == [record.part_name(0, 0), record.part_name(0, 1)]
    moved = 0.0
    for path in found.parts:
        (part,) = found.updates(path)
        assert part.batch is not None
        taken = coefficients(objectives.gvpo, part.batch, live=("policy_logps",), **options)
        ours = torch.zeros_like(part.batch.policy_logps)
        ours[part.batch.mask] = torch.tensor(
            [x for row in part.columns["signal"] for x in row]
        ).double()
        theirs = -taken.by_field["policy_logps"]
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
        moved += float((part.batch.policy_logps - part.batch.behaviour_logps).abs().max())
    assert moved > 0  # the second updates see a policy that has moved from its sampler


def test_a_run_that_was_stopped_and_resumed_has_the_same_record(tmp_path):
    run(tmp_path / "whole", **ALL)
    with pytest.raises(Stop):
        run(tmp_path / "cut", stop_at=4, **ALL)
    late = tmp_path / "cut" / "completions" / record.part_name(5, 0)
    late.write_bytes(b"of another time")
    run(tmp_path / "cut", resume=True, **ALL)
    assert parts(tmp_path / "cut") == parts(tmp_path / "whole")


def test_some_keeps_the_steps_that_report_and_none_without_pyarrow(tmp_path, monkeypatch):
    run(tmp_path / "some", **TINY | {"completions_every": 4})
    names = [record.part_name(step, 0) for step in (0, 4, 5)]
    assert list(parts(tmp_path / "some")) == names
    monkeypatch.setattr("gnivo_edu.training.record.has_parquet", lambda: False)
    monkeypatch.setattr("gnivo_edu.training.run_log.has_parquet", lambda: False)
    run(tmp_path / "none", **TINY)
    assert not (tmp_path / "none" / "completions").exists()
    with pytest.raises(ValueError, match="needs pyarrow: pip install 'gnivo-edu"):
        run(tmp_path / "all", **ALL)


def test_the_record_changes_no_number(tmp_path):
    def row(out):
        return [{k: v for k, v in row.items() if k != "step_time"} for row in metrics(out)]

    run(tmp_path / "all", **TINY | {"completions": "all"})
    run(tmp_path / "some", **TINY)
    assert row(tmp_path / "all") == row(tmp_path / "some")


def test_a_folder_with_completions_of_others_is_not_taken(tmp_path):
    (tmp_path / "completions").mkdir()
    (tmp_path / "completions" / "completions_00003.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"config\.yaml is lost"):
        run(tmp_path, **TINY)


def test_a_full_disk_is_one_line_that_names_the_part(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("gnivo_edu.training.checkpoint._write", full)
    folder = RunFolder(tmp_path)
    with pytest.raises(ValueError, match=r"completions_00000.parquet could not be .*make room"):
        folder.keep_part(record.part_name(0, 0), b"")


class Syllables:
    """A task whose tokens are parts of a character, a name, and text that is no Unicode."""

    eos_token_ids = (3,)
    vocabulary = ("a", "<half>", "<other half>", "<end>", "<odd>")

    def token_texts(self, row):
        texts = {0: " a", 1: "", 2: "\u00e9", 3: "", 4: "\ud800"}
        return [texts[token] for token in row]


def test_each_token_has_a_text():
    texts = record.TokenTexts(Syllables())
    assert texts.of([0, 1, 2, 3]) == [" a", "<half>", "\u00e9", "<end>"]
    assert texts.of([0, 4]) == [" a", "\\ud800"]
    assert json.dumps(texts.of([0]))
