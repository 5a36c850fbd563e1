"""Completions on disk: all of them, resumed where a run was stopped."""

import json

import pytest

from gnivo_edu.evaluation import (
    evaluate,
    load_report,
)
from gnivo_edu.policies.generation import sample_completions
from tests.evaluation.chain import CHAIN, table


def test_every_completion_is_written_with_its_reward(tmp_path):
    evaluate(table(sharp=3.5), CHAIN, samples=3, out=tmp_path, max_rows=5)
    rows = [json.loads(line) for line in (tmp_path / "completions.jsonl").read_text().splitlines()]
    assert [(row["problem"], row["sample"]) for row in rows] == [
        (i, j) for i in range(4) for j in range(3)
    ]
    for row in rows:
        assert row["text"] == CHAIN.decode(row["tokens"])
        assert row["reward"] == CHAIN.reward([row["tokens"]], [row["length"]], row["problem"])[0]
    assert {row["reward"] for row in rows} == {0.0, 1.0}


class Stopped(Exception):
    pass


def stop_after(problems):
    def say(line):
        if line.startswith(f"{problems} of"):
            raise Stopped

    return say


def test_a_stopped_run_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    policy, whole, halved = table(sharp=2.5), tmp_path / "whole", tmp_path / "halved"
    evaluate(policy, CHAIN, samples=3, out=whole)
    with pytest.raises(Stopped):
        evaluate(policy, CHAIN, samples=3, out=halved, max_rows=3, say=stop_after(2))
    path = halved / "completions.jsonl"
    text = path.read_text()
    assert len(text.splitlines()) == 6
    path.write_text(text[:-40])  # the stop came in the middle of a line
    drawn = []

    def counted(policy, task, group_size, prompt_index, **options):
        drawn.extend(prompt_index)
        return sample_completions(policy, task, group_size, prompt_index, **options)

    monkeypatch.setattr("gnivo_edu.policies.generation.sample_completions", counted)
    said = []
    report = evaluate(policy, CHAIN, samples=3, out=halved, say=said.append)
    assert drawn == [1, 2, 3], "problem 0 was done"
    assert said[0] == "1 of 4 problems were done before"
    assert path.read_text() == (whole / "completions.jsonl").read_text()
    assert (halved / "report.json").read_text() == (whole / "report.json").read_text()
    assert load_report(halved).to_json() == report.to_json()


def test_a_folder_holds_one_evaluation(tmp_path):
    evaluate(table(0), CHAIN, samples=3, out=tmp_path)
    for policy, options, name in [
        (table(1), {}, "weights"),
        (table(0), {"seed": 1}, "seed: 0, now 1"),
    ]:
        with pytest.raises(
            ValueError, match=f"another evaluation .*{name}.*: choose another folder"
        ):
            evaluate(policy, CHAIN, samples=3, out=tmp_path, **options)
    with pytest.raises(ValueError, match="prompts"):
        evaluate(table(0), CHAIN, samples=3, prompts=[0, 1], out=tmp_path)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ValueError, match="is not from an evaluation"):
        evaluate(table(0), CHAIN, samples=3, out=tmp_path)


def test_loading_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="holds no finished evaluation"):
        load_report(tmp_path)
    evaluate(table(0), CHAIN, samples=3, out=tmp_path)
    path = tmp_path / "completions.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(
        ValueError, match=r"completions are missing .* all of 3 problems, and the report is of 4"
    ):
        load_report(tmp_path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"completions are missing .* all of 0 problems"):
        load_report(tmp_path)
    for broken in ('{"a":', "[1]"):
        (tmp_path / "settings.json").write_text(broken)
        with pytest.raises(ValueError, match=r"settings\.json' is broken"):
            load_report(tmp_path)
        with pytest.raises(ValueError, match=r"settings\.json' is broken"):
            evaluate(table(0), CHAIN, samples=3, out=tmp_path)
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(ValueError, match="no evaluation wrote"):
        load_report(tmp_path)
