"""Answers that lie ready: which are picked, which a replay forgets, which rows of a file are read,
and what is said of those that are not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu.evaluation.evaluate import evaluate
from gnivo_edu.policies import TabularLM
from gnivo_edu.training.stock import Replay, Rows, Stock, demonstrations_of, read_answers
from toy_envs import ArithmeticChain, Brackets, RandomTree

CHAIN = ArithmeticChain()
RIGHT = [int(token) for token in CHAIN.demonstration(1)]


def rows(prompts: list[int], written: int = 0) -> Rows:
    """An answer to each of these prompts, numbered by its length."""
    count = len(prompts)
    return {
        "tokens": torch.zeros(count, 2, dtype=torch.int64),
        "lengths": torch.arange(count),
        "logps": torch.zeros(count, 2),
        "truncated": torch.zeros(count, dtype=torch.bool),
        "rewards": torch.zeros(count),
        "prompt_index": torch.tensor(prompts, dtype=torch.int64),
        "written": torch.full((count,), written),
    }


def test_picks_are_answers_to_their_prompt_each_once_and_drawn_evenly() -> None:
    stock = Stock(rows([3, 0, 3, 3, 0]))
    seen = torch.zeros(3)
    for step in range(600):
        three, none, zero = stock.pick([3, 1, 0], count=2, seed=0, step=step)
        assert len(none) == 0
        assert sorted(stock.rows["lengths"][zero].tolist()) == [1, 4]
        picked = stock.rows["lengths"][three]
        assert len(set(picked.tolist())) == 2
        assert set(picked.tolist()) <= {0, 2, 3}
        seen += torch.tensor([int(number in picked) for number in (0, 2, 3)])
    # Each is picked two times in three; five standard deviations of 600 draws.
    assert (seen / 600 - 2 / 3).abs().max() < 5 * (2 / 9 / 600) ** 0.5


def test_a_place_picks_the_same_among_any_number_of_others() -> None:
    stock = Stock(rows([0] * 20))
    many = stock.pick([0] * 5, count=3, seed=1, step=2)
    for count in range(1, 6):
        few = stock.pick([0] * count, count=3, seed=1, step=2)
        assert all(torch.equal(one, two) for one, two in zip(few, many, strict=False))
    assert not torch.equal(many[0], many[1])
    assert not torch.equal(many[0], stock.pick([0], count=3, seed=1, step=3)[0])


def test_a_replay_keeps_what_is_at_most_so_many_steps_old_at_the_next_step() -> None:
    replay = Replay(rows([]), age=2)
    for step in range(5):
        replay = replay.after(step, rows([7, 8], written=step))
        kept = replay.rows["written"].unique().tolist()
        assert kept == [s for s in range(step + 1) if step + 1 - s <= 2]
    assert len(replay.of(7)) == len(replay.of(8)) == 2


# --- answers of a file, and demonstrations --------------------------------------------------------


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
