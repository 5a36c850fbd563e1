"""The task `dataset`: rows and columns of one's own, graded by name or by functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnivo_edu.tasks import check_options, get
from gnivo_edu.tasks.dataset import read_questions
from tests.tasks.small_data import Words

ROWS: list[dict[str, Any]] = [
    {"question": f"What is {n} + 1?", "answer": n + 1, "hint": f"count from {n}"} for n in range(10)
]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n", encoding="utf-8")
    return str(path)


def write(path: str, *rows: dict[str, Any]) -> None:
    Path(path).write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


def test_columns_make_the_problems(file: str) -> None:
    problems = read_questions(file, prompt="question", grade="number").problems
    assert [p.question for p in problems] == [row["question"] for row in ROWS]
    assert [p.gold for p in problems] == [str(row["answer"]) for row in ROWS]
    assert problems[3].row == ROWS[3]
    filled = read_questions(file, prompt="{question} ({hint})", answer="hint", grade="exact")
    assert filled.problems[0].question == "What is 0 + 1? (count from 0)"
    assert filled.problems[0].gold == "count from 0"


def test_messages_and_a_system_prompt_make_a_conversation(file: str) -> None:
    said = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "1 + 1?"},
    ]
    write(file, {"prompt": said, "answer": "2"})
    problem = read_questions(file, system="Be brief.", grade="exact").problems[0]
    assert problem.question == "1 + 1?"
    assert [role for role, _ in problem.turns] == ["system", "user", "assistant"]
    assert problem.messages()[1:] == said


def test_order_limit_and_held_out_rows(file: str) -> None:
    def golds(split: str = "train", **options: Any) -> list[str]:
        questions = read_questions(file, split, prompt="question", grade="number", **options)
        return [problem.gold for problem in questions.problems]

    assert golds(limit=3) == ["1", "2", "3"]
    mixed = golds(shuffle=0)
    assert mixed != golds()
    assert sorted(mixed) == sorted(golds())
    train, test = (golds(split, shuffle=0, held_out=0.3) for split in ("train", "test"))
    assert train + test == mixed
    assert len(test) == 3
    assert golds("test", held_out=0.01) == ["10"]


def test_rows_that_cannot_be_used_are_told_by_number_or_left_out(file: str) -> None:
    odd = [{"question": ""}, {"question": 4, "answer": 1}, {"question": "?", "answer": "four"}]
    write(file, ROWS[0], *odd, {"question": "?", "answer": None})
    with pytest.raises(ValueError, match="4 of 5 rows cannot be used") as error:
        read_questions(file, prompt="question", grade="number")
    for said in (
        "row 2: its question",
        "row 3: its question",
        "row 4: the answer 'four'",
        "1 more",
    ):
        assert said in str(error.value)
    questions = read_questions(file, prompt="question", grade="number", skip_bad=True)
    assert [problem.id for problem in questions.problems] == ["row 1"]
    assert [*questions.left_out] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no column 'prompt' for the prompt"),
        ({"prompt": "{question} {x}"}, "no column 'x'"),
        ({"prompt": "{question"}, "is no template"),
        ({"prompt": "{question:{x}}"}, "no column 'x'"),
        ({"prompt": "{question.x}"}, "no column 'question.x'"),
        ({"prompt": "question", "answer": "gold"}, "no column 'gold'"),
        ({"prompt": "question", "grade": "numbr"}, "did you mean 'number'"),
        ({"prompt": "question", "grade": "math", "reward": "a:b"}, "not both"),
        ({"prompt": "question", "reward": "tests.nowhere:f"}, "cannot be imported"),
        ({"prompt": "question", "held_out": 1.0}, "from 0 to below 1"),
        ({"prompt": "question", "held_out": 0.5, "split": "dev"}, "'train' or 'test'"),
        ({"prompt": "question", "limit": 0}, "from 1 on"),
        ({"path_or_id": ""}, "needs path_or_id"),
    ],
)
def test_what_does_not_fit_is_said_before_a_tokenizer_is_needed(
    file: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        check_options("dataset", {"path_or_id": file} | options)
    assert "\n" not in str(error.value)


def test_no_rows_and_no_good_rows_are_told_apart(file: str) -> None:
    Path(file).write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no rows"):
        read_questions(file, prompt="question")
    write(file, {"question": "", "answer": 1})
    with pytest.raises(ValueError, match="can be used: row 1: its question must be a text"):
        read_questions(file, prompt="question", skip_bad=True)


def test_options_of_both_kinds_are_known(file: str) -> None:
    asked = {"path_or_id": file, "prompt": "question", "horizon": 8.0, "segmenter": "token"}
    assert check_options("dataset", asked)["horizon"] == 8
    with pytest.raises(ValueError, match="no option 'promt'; did you mean 'prompt'"):
        check_options("dataset", {"path_or_id": file, "promt": "question"})


def test_a_task_of_own_rows_rewards_answers_in_tokens(file: str) -> None:
    task = get("dataset", Words(), path_or_id=file, prompt="question", grade="number", horizon=4)
    assert len(task.prompts()) == len(ROWS)
    assert [g.reward for g in task.grade_texts(["7", "1"], [6, 6])] == [1.0, 0.0]
    got: list[Any] = []

    def length(completion_ids: Any, hint: Any) -> list[float]:
        got.extend(hint)
        return [float(len(ids)) for ids in completion_ids]

    task = get("dataset", Words(), path_or_id=file, prompt="question", reward=length, horizon=4)
    tokens = np.full((2, 4), 2)
    rewards = task.reward(tokens, np.array([2, 4]), np.array([0, 1]))
    assert rewards.tolist() == [2.0, 4.0]
    assert got[-2:] == ["count from 0", "count from 1"]
    # A column called "answer" is the reward's to read: all questions are asked, none is graded.
    assert task.problems[0].gold
    assert task.gradable().tolist() == list(range(len(ROWS)))
    assert task.statuses(tokens, np.array([2, 4]), np.array([0, 1])) == [None, None]


def test_a_base_model_reads_no_conversation(file: str) -> None:
    said = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "?"}]
    write(file, {"prompt": said, "answer": 1})
    with pytest.raises(ValueError, match="the prompt of row 1 is a conversation"):
        get("dataset", Words(), path_or_id=file)


def test_the_gold_of_a_solution_is_what_it_ends_in(file: str) -> None:
    solutions = ["6 * 3 = 18\n#### 18", r"So \boxed{18}", "18"]
    write(file, *({"prompt": "6 * 3?", "answer": text} for text in solutions))
    for grade in ("number", "math", "exact"):
        assert [p.gold for p in read_questions(file, grade=grade).problems] == ["18"] * 3


def test_a_reward_that_fails_is_found_before_a_tokenizer_is_needed(file: str) -> None:
    def broken(completions: Any) -> list[float]:
        return [1 / 0]

    asked = {"path_or_id": file, "prompt": "question", "reward": [broken]}
    with pytest.raises(ValueError, match="the reward broken raised ZeroDivisionError"):
        check_options("dataset", asked)
