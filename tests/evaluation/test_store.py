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


@pytest.fixture
def finished(tmp_path):
    """A folder with a finished evaluation of the chain, whose rewards are 0 or 1."""
    evaluate(table(sharp=3.5), CHAIN, samples=3, out=tmp_path, task_name="toy_envs/Chain-v0")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("reward", "1", "the reward of line 2 .* must be a number, got '1'"),
        ("reward", True, "the reward of line 2 .* must be a number, got True"),
        ("reward", 5, "the reward of line 2 .* must lie in 0..1, got 5"),
        ("reward", float("nan"), "the reward of line 2 .* must be finite, got nan"),
        ("reward", None, "the reward of line 2 .* must be a number, got None"),
        ("length", -1, "line 2 .* holds a negative number, -1"),
        ("length", 99, "the length of line 2 .* is 99, but it holds"),
        ("tokens", "abc", "the tokens of line 2 .* must be a list, got 'abc'"),
        ("tokens", [-1], "line 2 .* holds a negative number"),
        ("text", 3, "the text of line 2 .* must be text, got 3"),
        ("truncated", "no", "the truncated of line 2 .* must be true or false, got 'no'"),
        ("sample", 0, "line 2 .*: sample 0 of its problem is out of turn"),
        ("problem", 1.5, "the problem of line 2 .* must be a whole number, got 1.5"),
        ("reward", 0.5, "the rewards in .* have the mean .*, and report.json says"),
    ],
)
def test_a_line_that_no_evaluation_wrote_is_refused_by_its_number(finished, name, value, says):
    path = finished / "completions.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {name: value})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=says) as error:
        load_report(finished)
    assert "\n" not in str(error.value)
    assert "completions.jsonl" in str(error.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1]", "line 2 .* is no record"),
        ("{", "line 2 .* is not JSON"),
        ('{"problem": 0, "problem": 0}', "line 2 .*: the key 'problem' stands there twice"),
        ("{}", "there is no problem of line 2 .*: no evaluation wrote this"),
    ],
)
def test_a_line_that_is_no_completion_is_refused_by_its_number(finished, line, says):
    path = finished / "completions.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=says):
        load_report(finished)


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("report.json", {"solved_at": "1"}, "the solved_at of .* must be a number, got '1'"),
        ("report.json", {"ks": 3}, "the ks of .* must be a list, got 3"),
        ("report.json", {"reward": 0.9}, "report.json says 0.9"),
        ("settings.json", {"samples": "3"}, "the samples of .* must be a number"),
        ("settings.json", {"task": None}, "the task of .* must be text, got None"),
    ],
)
def test_numbers_that_no_evaluation_wrote_are_refused(finished, file, change, says):
    path = finished / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=says):
        load_report(finished)
