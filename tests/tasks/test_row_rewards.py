"""Rewards that see the row: what they are passed, what they may give, and how they fail."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu.tasks.grading import Problem
from gnivo_edu.tasks.row_rewards import RowReward, rehearse, row_rewards

ROWS = [
    Problem(question="2+2?", gold="4", row={"answer": 4, "level": 1}),
    Problem(question="2+3?", gold="5", row={"answer": 5}),
]
COLUMNS = ("answer", "level")
TEXTS, IDS = ["4", "six"], [[1], [2, 3]]


def call(function: Callable[..., Any], problems: list[Problem] = ROWS) -> Any:
    return RowReward("mine", function, COLUMNS)(TEXTS, problems, IDS)


def test_parameters_say_what_is_passed() -> None:
    got: dict[str, Any] = {}

    def named(completions: Any, level: Any, prompts: Any, completion_ids: Any) -> list[float]:
        got.update(c=completions, level=level, p=prompts, ids=completion_ids)
        return [1.0, 2.0]

    def everything(**kwargs: Any) -> list[float]:
        got.update(kwargs)
        return [1.0, 2.0]

    def defaults(completions: Any, level: Any = "never", other: int = 7) -> list[float]:
        got.update(level=level, other=other)
        return [1.0, 2.0]

    assert call(named).tolist() == [1.0, 2.0]
    assert got == {"c": TEXTS, "level": [1, None], "p": ["2+2?", "2+3?"], "ids": IDS}
    got.clear()
    call(everything)
    assert {*got} == {
        *("prompts", "completions", "completion_ids", "answer", "level"),
        *("trainer_state", "log_extra", "log_metric"),
    }
    got.clear()
    call(defaults)
    assert got == {"level": [1, None], "other": 7}


def test_one_parameter_of_another_name_takes_the_texts() -> None:
    assert call(lambda texts: [len(text) for text in texts]).tolist() == [1, 3]
    assert call(lambda texts, /: [len(text) for text in texts]).tolist() == [1, 3]
    assert call(lambda texts, scale=2: [scale for _ in texts]).tolist() == [2, 2]


def test_conversations_are_passed_as_messages() -> None:
    got = {}

    def reward(prompts: Any, completions: Any) -> list[float]:
        got.update(p=prompts, c=completions)
        return [0.0, 0.0]

    call(reward, [Problem(question="2+2?", turns=(("system", "Be brief."),))] * 2)
    assert got["p"][0] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2+2?"},
    ]
    assert got["c"][1] == [{"role": "assistant", "content": "six"}]


def test_several_rewards_are_summed_where_they_apply() -> None:
    async def right(completions: Any, answer: Any) -> list[float]:
        return [float(text == str(gold)) for text, gold in zip(completions, answer, strict=True)]

    def short(completions: Any) -> list[float | None]:
        return [None if len(text) > 2 else 1.0 for text in completions]

    def array(texts: Any) -> Any:
        return np.array([3, 4])

    grader = row_rewards([right, short, array], COLUMNS, weights=[2.0, 0.5, 1.0])
    grades = grader(TEXTS, ROWS, IDS)
    assert [grade.reward for grade in grades] == [2.0 + 0.5 + 3, 4]
    assert {grade.status for grade in grades} == {"scored"}
    assert row_rewards([short], COLUMNS)(TEXTS, ROWS, IDS)[1].reward == 0.0
    with pytest.raises(ValueError, match="got 1 for 3"):
        row_rewards([right, short, array], COLUMNS, weights=[1.0])
    with pytest.raises(ValueError, match="reward_weights are finite numbers"):
        row_rewards([short], COLUMNS, weights=[float("nan")])
    with pytest.raises(ValueError, match=r"reward 'math:squrt': .* did you mean 'sqrt'"):
        row_rewards(["math:squrt"], COLUMNS)
    with pytest.raises(ValueError, match=r"no reward 'my_rewards'; .* module:function"):
        row_rewards(["my_rewards"], COLUMNS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda texts: 1 / 0, "mine raised ZeroDivisionError: division by zero"),
        (lambda texts: [1.0], "gave 1 numbers for 2 answers"),
        (lambda texts: 1.0, "must give a list of numbers"),
        (lambda texts: {"a": 1, "b": 2}, "must give a list of numbers"),
        (lambda texts: [1.0, float("nan")], "gave nan for an answer"),
        (lambda texts: [1.0, "2"], "gave '2' for an answer"),
        (lambda texts: [[1.0], [2.0]], "for an answer"),
        (lambda texts: torch.ones(2, requires_grad=True), "a tensor with a gradient"),
        (lambda texts: [torch.ones((), requires_grad=True)] * 2, "a tensor with a gradient"),
        (lambda texts: [1.0, 1j], "gave 1j for an answer"),
        (lambda texts: [1.0, 10**400], "for an answer"),
        (lambda texts: [1.0, object()], "for an answer"),
        (lambda texts: (1.0 for _ in texts), "must give a list of numbers"),
    ],
)
def test_what_a_reward_does_wrong_is_said_in_one_line(
    given: Callable[..., Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        call(given)
    assert "\n" not in str(error.value)
    assert "mine" in str(error.value)


def test_a_column_that_is_not_there_is_named_before_any_call() -> None:
    def reward(completions: Any, solution: Any) -> list[float]:
        raise AssertionError

    with pytest.raises(ValueError, match="asks for 'solution', which is no column of the data"):
        RowReward("mine", reward, COLUMNS)


def test_a_rehearsal_finds_what_raises_and_what_hangs() -> None:
    seen: list[list[str]] = []

    def fine(completions: Any) -> list[float]:
        seen.append(completions)
        return [0.0] * len(completions)

    rehearse(row_rewards([fine], COLUMNS), ROWS)
    assert seen == [["4", "", "5", ""]]
    with pytest.raises(ValueError, match="raised ZeroDivisionError"):
        rehearse(row_rewards([fine, lambda texts: 1 / 0], COLUMNS), ROWS)
    with pytest.raises(ValueError, match="it hangs, or is too slow"):
        rehearse(row_rewards([lambda texts: time.sleep(0.5)], COLUMNS), ROWS, seconds=0.02)


def test_an_asynchronous_reward_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    script = tmp_path / "hangs.py"
    script.write_text(
        "import asyncio\n"
        "from gnivo_edu.tasks.grading import Problem\n"
        "from gnivo_edu.tasks.row_rewards import rehearse, row_rewards\n"
        "async def slow(completions): await asyncio.sleep(1000)\n"
        "try:\n"
        "    rehearse(row_rewards([slow], ['a']), [Problem(question='?')], seconds=0.1)\n"
        "except ValueError as error:\n"
        "    print(error)\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert "it hangs, or is too slow" in done.stdout, done.stderr


def test_whatever_ends_a_rehearsal_is_raised() -> None:
    def interrupted(completions: Any) -> list[float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearse(row_rewards([interrupted], COLUMNS), ROWS)
