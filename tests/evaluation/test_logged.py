"""Answers that somebody's model has written, explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gnivo_edu import tasks
from gnivo_edu.evaluation.explore import answer_rows, explore
from gnivo_edu.evaluation.logged import read_logged

SMALL = {"alpha": 0.5, "continuations": 4}


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_texts_become_the_tokens_that_the_model_writes(tmp_path):
    task = tasks.get("arithmetic", texts=True)
    right = task.decode(task.demonstration(0))
    file = write(tmp_path / "log.jsonl", {"completion": right}, {"completion": right[:-1] + "."})
    tokens = read_logged(file).tokens(task, 0)
    assert tokens[0] == list(task.demonstration(0))
    assert tokens[0] == tokens[1]


def test_only_the_rows_of_the_question_are_meant(tmp_path):
    task = tasks.get("arithmetic", texts=True)
    rows = [
        {"prompt": task.question_text(i), "completion": task.decode(task.demonstration(i))}
        for i in (0, 1, 0)
    ]
    logged = read_logged(write(tmp_path / "log.jsonl", *rows))
    assert len(logged.tokens(task, 0)) == 2
    assert logged.tokens(task, 1) == [list(task.demonstration(1))]
    assert logged.questions(task, None) == [0, 1]
    assert logged.questions(task, 1) == [1]
    with pytest.raises(ValueError, match=r"has no answer to .*leave --prompt-index out for all"):
        logged.tokens(task, 2)
    with pytest.raises(ValueError, match=r"prompt_index must be in 0\.\."):
        logged.questions(task, len(task.prompts()))
    rows.append({"prompt": task.question_text(0)})
    with pytest.raises(ValueError, match=r"row 4 of .* has no answer"):
        read_logged(write(tmp_path / "short.jsonl", *rows)).tokens(task, 0)
    other = read_logged(write(tmp_path / "other.jsonl", rows[0], {"prompt": "?", "completion": ""}))
    with pytest.raises(ValueError, match=r"the prompt of row 2 of .*, '\?', is no question"):
        other.questions(task, None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": None, "reply": "6"}, "row 1 of .* has no answer: name its column one of"),
        ({"tokens": "1 2"}, "the tokens in row 1 of .* must be a list of whole numbers, got '1 2'"),
        ({"tokens": [1] * 99}, "has 99 tokens, above the horizon of .*: give --horizon 99"),
    ],
)
def test_what_is_no_answer_is_refused_by_its_row(tmp_path, row, message):
    task = tasks.get("arithmetic", texts=True)
    with pytest.raises(ValueError, match=message):
        read_logged(write(tmp_path / "log.jsonl", row)).tokens(task, 0)
    with pytest.raises(ValueError, match="holds no answers"):
        read_logged(write(tmp_path / "empty.jsonl"))


def test_a_wrong_answer_is_explained_where_it_went_wrong(tmp_path):
    task = tasks.get("arithmetic", texts=True)
    text = task.decode(task.demonstration(0))
    assert text.endswith(".")
    slip = "3" if text[-2] != "3" else "4"
    file = write(
        tmp_path / "log.jsonl", {"completion": text}, {"completion": f"{text[:-2]}{slip}."}
    )
    report = explore("shipped", task="arithmetic", answers=file, alpha=0.5, continuations=64)
    assert [answer["reward"] for answer in report["answers"]] == [1.0, 0.0]
    right, wrong = answer_rows(report)
    assert right["value falls at"] == ""
    assert wrong["value falls at"].startswith(f"{wrong['steps']}: ")
    assert wrong["by nats"] > 0
    assert wrong["chance"].endswith("-> 0%")


def test_a_log_with_messages_and_a_prompt_of_its_own(tmp_path, shared_model):
    asked = [{"role": "user", "content": "Once upon a time"}]
    said = [{"role": "assistant", "content": ", there was a happy dog."}]
    file = write(tmp_path / "log.jsonl", {"prompt": asked, "completion": said, "advantage": 1.0})
    report = explore(shared_model, answers=file, tree_horizon=1, top_k=2, horizon=16, **SMALL)
    assert "Once upon a time" in report["prompt"]
    assert "there was a happy dog." in report["answers"][0]["text"]
    assert report["answers"][0]["reward"] == 0.75


def test_answers_to_several_questions_are_explained_on_pages_of_their_own(tmp_path):
    task = tasks.get("arithmetic", texts=True)
    rows = []
    for i in (3, 1):
        text = task.decode(task.demonstration(i))
        slip = "3" if text[-2] != "3" else "4"
        rows.append({"prompt": task.question_text(i), "completion": f"{text[:-2]}{slip}."})
    report = explore(
        "shipped",
        task="arithmetic",
        answers=write(tmp_path / "log.jsonl", *rows),
        alpha=0.5,
        continuations=64,
        out=tmp_path / "page",
    )
    assert [x["prompt"] for x in report["questions"]] == [task.prompt_text(i) for i in (3, 1)]
    index = Path(report["page"]).read_text(encoding="utf-8")
    assert index.count("The value first falls at step") == 2
    for number in (1, 2):
        assert f'href="question-{number}.html"' in index
        assert (tmp_path / "page" / f"question-{number}.html").is_file()
