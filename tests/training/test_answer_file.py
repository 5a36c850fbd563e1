"""Answers of a file: which rows are read, and what is said of those that are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu.evaluation.evaluate import evaluate
from gnivo_edu.policies import TabularLM
from gnivo_edu.training.answer_file import demonstrations_of, read_answers
from gnivo_edu.training.stock import Stock
from toy_envs import ArithmeticChain, Brackets, RandomTree

CHAIN = ArithmeticChain()
RIGHT = [int(token) for token in CHAIN.demonstration(1)]


def read(folder: Path, *rows: Any, task: Any = CHAIN) -> Stock:
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_answers(str(path), task)


def test_a_prompt_is_named_by_number_or_text_and_an_answer_by_tokens_or_text(
    tmp_path: Path,
) -> None:
    text = CHAIN.decode(RIGHT)
    stock = read(
        tmp_path,
        {"prompt_index": 1, "tokens": RIGHT},
        {"problem": 1, "completion": text},
        {"prompt": CHAIN.prompt_text(1), "completion": text.removesuffix(".")},
        {"prompt": 1, "question": CHAIN.question_text(1), "tokens": RIGHT, "text": "not read"},
    )
    rows, count = stock.rows, len(RIGHT)
    assert rows["prompt_index"].tolist() == [1] * 4
    assert rows["lengths"].tolist() == [count] * 4
    assert (rows["tokens"][:, :count] == torch.tensor(RIGHT)).all()
    assert (rows["tokens"][:, count:] == CHAIN.pad_token_id).all()
    assert rows["rewards"].tolist() == [1.0] * 4  # the task's
    assert rows["logps"][:, :count].isnan().all()
    assert not rows["truncated"].any()


def test_rewards_and_log_probabilities_are_those_of_the_row(tmp_path: Path) -> None:
    logps = [-0.25 * t for t in range(len(RIGHT))]
    stock = read(
        tmp_path,
        {"prompt_index": 1, "tokens": RIGHT, "reward": -2, "logps": logps},
        {"prompt_index": 0, "tokens": RIGHT},
    )
    assert stock.rows["rewards"].tolist() == [CHAIN.reward([RIGHT], [len(RIGHT)], 0)[0], -2.0]
    assert stock.rows["logps"][1, : len(RIGHT)].tolist() == logps
    assert stock.rows["logps"][0, : len(RIGHT)].isnan().all()


def test_an_answer_that_runs_into_the_horizon_is_cut_off_where_the_task_has_an_end(
    tmp_path: Path,
) -> None:
    chain = read(tmp_path, {"prompt_index": 0, "tokens": [0] * CHAIN.horizon})
    tree = read(tmp_path, {"prompt_index": 0, "tokens": [0] * 4}, task=RandomTree())
    assert chain.rows["truncated"].tolist() == [True]
    assert tree.rows["truncated"].tolist() == [False]


def test_what_an_evaluation_keeps_can_be_learned_from(tmp_path: Path) -> None:
    policy, task = TabularLM.from_mdp(Brackets(), seed=0), Brackets()
    evaluate(policy, task, samples=6, out=tmp_path)
    stock = read_answers(str(tmp_path / "completions.jsonl"), task)
    kept = [json.loads(line) for line in (tmp_path / "completions.jsonl").open()]
    assert len(kept) == 6
    for name, column in (("rewards", "reward"), ("lengths", "length"), ("truncated", "truncated")):
        assert stock.rows[name].tolist() == [row[column] for row in kept]
    for row, tokens in zip(kept, stock.rows["tokens"], strict=True):
        assert tokens[: row["length"]].tolist() == row["tokens"]


ROW = {"prompt_index": 1, "tokens": RIGHT}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"tokens": RIGHT}, "has no prompt: give prompt_index"),
        (ROW | {"prompt_index": 4}, r"prompt_index must be in 0\.\.3, got 4"),
        (ROW | {"prompt_index": "zwei"}, "has no prompt 'zwei'"),
        (ROW | {"question": "1+1="}, "give the task_options"),
        ({"prompt_index": 1}, "has no answer: give completion"),
        ({"prompt_index": 1, "completion": "1x"}, "has no token 'x'"),
        (ROW | {"tokens": [99]}, "token 99 is not an action"),
        (ROW | {"tokens": ["a"]}, "tokens of row 2 .* must be"),
        (ROW | {"tokens": RIGHT[:-1]}, "no whole answer"),
        (ROW | {"tokens": []}, "no whole answer"),
        (ROW | {"tokens": RIGHT[-1:] * 2}, "no whole answer"),
        (ROW | {"tokens": [0] * 99}, "has 99 tokens, and an answer at most"),
        (ROW | {"reward": "good"}, "reward of row 2 .* must be a number"),
        (ROW | {"reward": float("nan")}, "reward of row 2 .* must be finite"),
        (ROW | {"logps": [-1.0]}, "has 1 logps for"),
        (ROW | {"logps": [0.5] * len(RIGHT)}, "must be finite and at most 0"),
        ([1], "is no record"),
    ],
)
def test_a_row_that_cannot_be_meant_is_one_line(row: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says) as error:
        read(tmp_path, ROW, row)
    assert "\n" not in str(error.value)
    assert "2 of" in str(error.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, says in (("nowhere", "cannot be read"), ("empty", "holds no answers")):
        with pytest.raises(ValueError, match=f"data: .*{name}.* {says}"):
            read_answers(str(tmp_path / name), CHAIN)


def test_demonstrations_are_the_tasks_own_and_all_right() -> None:
    stock = demonstrations_of(CHAIN)
    assert stock.rows["prompt_index"].tolist() == [0, 1, 2, 3]
    assert stock.rows["rewards"].tolist() == [1.0] * 4
    for number, tokens in enumerate(stock.rows["tokens"].numpy()):
        length = stock.rows["lengths"][number]
        assert np.array_equal(tokens[:length], CHAIN.demonstration(number))
    with pytest.raises(ValueError, match="writes no demonstrations"):
        demonstrations_of(Brackets())
