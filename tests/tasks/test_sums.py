"""Sums in words: questions, right answers, grades and the first wrong step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gnivo_edu.tasks import get
from gnivo_edu.tasks.sums import TEST_QUESTIONS, first_difference, worked

TERMS = [35, 8, 4]


def rows_of(task: Any, texts: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    rows = [task.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    tokens = np.full((len(rows), task.horizon), task.pad_token_id)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    return tokens, [len(ids) for ids in rows]


def test_splits_share_no_question_and_examples_are_of_no_tier(stories_tokenizer: Any) -> None:
    train, test = (get("sums", stories_tokenizer, split=split) for split in ("train", "test"))
    asked = [{tuple(terms) for terms in task.terms} for task in (train, test)]
    assert not asked[0] & asked[1]
    assert len(test.prompts()) == 2 * TEST_QUESTIONS == len(asked[1])
    for terms, tier in zip(train.terms, train.tier, strict=True):
        count, digits = (int(number) for number in tier.split("x"))
        assert [len(str(term)) for term in terms] == [digits] * count
    worked_out = train.prompt_text(0).split("Question: ")[1:-1]
    assert len(worked_out) == 4
    lengths = [{len(n) for n in text.split(" = ?")[0].split(" + ")} for text in worked_out]
    assert lengths == [{1, 2}] * 4


def test_right_answers_are_rewarded_and_have_no_wrong_step(stories_tokenizer: Any) -> None:
    task = get("sums", stories_tokenizer, num_prompts=3, horizon=90)
    for number in range(len(task.prompts())):
        ids = task.demonstration(number)
        tokens = np.full((1, task.horizon), task.pad_token_id)
        tokens[0, : len(ids)] = ids
        assert task.reward(tokens, [len(ids)], number).tolist() == [1.0]
        assert task.first_wrong_step(tokens, [len(ids)], number).tolist() == [-1]
        assert task.step_ids(tokens, [len(ids)])[0, len(ids) - 1] == len(task.terms[number]) - 1


@pytest.mark.parametrize(
    ("text", "status", "first"),
    [
        (worked(TERMS), "right", -1),
        (" 35 + 8 = 43;  43 + 4 = 47 \n Answer: 047\nQuestion: 1", "right", 2),
        (" 35 + 8 = 44; 44 + 4 = 48\nAnswer: 48", "wrong", 0),
        (" 35 + 8 = 43; 43 + 4 = 48\nAnswer: 47", "right", 1),
        (" 35 + 8 = 43; 43 + 4 = 47\nAnswer: 48", "wrong", 2),
        (" 35 + 8 = 43\nAnswer: 47", "right", 1),
        (" 35 + 8 = 43; 43 + 4 = 47; 47 + 1 = 48\nAnswer: 48", "wrong", 2),
        (" 35 + 8 = 43; 43 + 4 = 47", "no answer", 2),
        (" 35 + 8 = 43; 43 + 4 = 47\nAnswer: 47 apples", "no answer", 2),
        ("", "no answer", 0),
    ],
)
def test_grades_and_first_wrong_steps(
    stories_tokenizer: Any, text: str, status: str, first: int
) -> None:
    task = get("sums", stories_tokenizer, tiers=["3x2"], num_prompts=1, horizon=120)
    task.terms[0] = TERMS
    grade = task._grader([task._until_stop(text)], [type(task.problems[0])(question="", gold="47")])
    assert grade[0].status == status
    tokens, lengths = rows_of(task, [text])
    assert task.first_wrong_step(tokens, lengths, 0).tolist() == [first]
    assert first_difference(task._until_stop(text), TERMS) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tiers": ["3"]}, "such as '3x2'"),
        ({"tiers": ["1x2"]}, "2 to 6 terms"),
        ({"split": "test", "num_prompts": 201}, "200 questions a tier"),
        ({"examples": -1}, "not be negative"),
        ({"tier": ["3x2"]}, "did you mean 'tiers'"),
    ],
)
def test_what_does_not_fit(stories_tokenizer: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get("sums", stories_tokenizer, **options)
