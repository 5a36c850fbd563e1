"""TextTask: prompts, grades, steps and ends of answers in a real tokenizer's tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gnivo_edu.tasks import get
from gnivo_edu.tasks.grading import Grade, Problem
from gnivo_edu.tasks.prompting import base_prompt, end_tokens, left_pad
from gnivo_edu.tasks.stories import OPENINGS, sentiment
from gnivo_edu.tasks.text_task import TextTask

TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{{ prefill }}{% endif %}"
)
PROBLEMS = [
    Problem(question="What is 2+2?", gold="4"),
    Problem(question="What is ten times 12?", gold="120"),
]


def last_word(texts: Sequence[str], problems: Sequence[Problem]) -> list[Grade]:
    grades = []
    for text, problem in zip(texts, problems, strict=True):
        answer = text.split()[-1] if text.split() else None
        status: Any = (
            "no answer" if answer is None else "right" if answer == problem.gold else "wrong"
        )
        grades.append(
            Grade(
                text=text,
                answer=answer,
                gold=problem.gold,
                status=status,
                reward=float(status == "right"),
            )
        )
    return grades


def make(tokenizer: Any, **options: Any) -> TextTask:
    return TextTask("sums", PROBLEMS, tokenizer, last_word, **({"horizon": 24} | options))


def encode(task: TextTask, *texts: str, end: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rows = [list(task.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    rows = [row if end is None else [*row, end] for row in rows]
    tokens = np.full((len(rows), task.horizon), task.pad_token_id)
    for own, row in zip(tokens, rows, strict=True):
        own[: len(row)] = row
    return tokens, np.array([len(row) for row in rows])


def test_prompts_are_left_padded(stories_tokenizer) -> None:
    task = make(stories_tokenizer, base_text="Q: {question}\nA:")
    prompts, mask = task.prompts(), task.prompt_mask()
    assert prompts.dtype == np.int64
    assert prompts.shape == mask.shape
    assert mask[:, -1].all()
    assert (np.diff(mask.astype(int), axis=1) >= 0).all()
    for n, problem in enumerate(PROBLEMS):
        row = prompts[n][mask[n]].tolist()
        assert row == stories_tokenizer(f"Q: {problem.question}\nA:")["input_ids"]
        assert row[0] == stories_tokenizer.bos_token_id
        assert task.prompt_text(n).endswith(f"Q: {problem.question}\nA:")
    assert (prompts[~mask] == task.pad_token_id).all()
    assert task.vocab_size == len(task.vocabulary) == len(stories_tokenizer)
    tokens, mask = left_pad([[], [1]], fill=7)
    assert (tokens.tolist(), mask.tolist()) == ([[7], [1]], [[False], [True]])


def test_instruct_models_are_asked_through_their_template(byte_tokenizer) -> None:
    with pytest.raises(ValueError, match="no chat template"):
        make(byte_tokenizer, chat=True)
    byte_tokenizer.chat_template = TEMPLATE
    try:
        task = make(byte_tokenizer, instruction="Be brief.", chat_options={"prefill": "So:"})
        assert task.chat
        assert task.prompt_text(0) == (
            "<|turn|>user\nWhat is 2+2?\n\nBe brief.<|end|>\n<|turn|>assistant\nSo:"
        )
        turn = byte_tokenizer.convert_tokens_to_ids("<|turn|>")
        assert (task.prompts()[0] == turn).sum() == 2  # one token each, not spelled out
        assert (
            make(byte_tokenizer, stop=("!",)).grade_texts(["5! or 4"])[0].reward == 1
        )  # a turn ends by its token
        base = make(byte_tokenizer, instruction="Be brief.", chat=False)
        assert base.prompt_text(0) == "What is 2+2?"
    finally:
        byte_tokenizer.chat_template = None


def test_a_template_writes_its_own_beginning(stories_tokenizer) -> None:
    stories_tokenizer.chat_template = "<s>" + TEMPLATE
    try:
        assert (make(stories_tokenizer).prompts()[0] == stories_tokenizer.bos_token_id).sum() == 1
    finally:
        stories_tokenizer.chat_template = None


def test_rewards_and_grades(stories_tokenizer) -> None:
    task = make(stories_tokenizer)
    tokens, lengths = encode(task, "It is 4", "It is 120", "It is 5", "")
    np.testing.assert_array_equal(task.reward(tokens, lengths, [0, 1, 0, 0]), [1, 1, 0, 0])
    np.testing.assert_array_equal(task.reward(tokens, lengths), [1, 0, 0, 0])
    grades = task.grade(tokens, lengths, [0, 1, 0, 0])
    assert [own.status for own in grades] == ["right", "right", "wrong", "no answer"]
    assert [own.text.strip() for own in grades] == ["It is 4", "It is 120", "It is 5", ""]
    assert task.decode(tokens[1]).strip() == "It is 120"
    tokens[:, 3:] = 99  # what stands after the length changes nothing
    assert (
        task.grade(tokens[:, :12], np.minimum(lengths, 3))[0].text
        == task.texts(tokens, np.minimum(lengths, 3))[0]
    )
    for arguments, message in (
        ((tokens, lengths, 2), "prompt_index must be in 0..1"),
        ((tokens, lengths[:1]), "need tokens"),
        ((tokens + 10**6, lengths), "is not an action"),
        ((np.zeros((1, 25), int), [25]), "at most 24 tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            task.reward(*arguments)
    with pytest.raises(ValueError, match=r"prompt_index must be in 0\.\.1"):
        task.grade_texts(["4"], 2)


def test_problems_whose_gold_cannot_be_read_are_known_before_training(stories_tokenizer) -> None:
    asked = []

    def grader(texts: Sequence[str], problems: Sequence[Problem]) -> list[Grade]:
        asked.append(len(texts))
        grades = last_word(texts, problems)
        return [
            replace(own, status="unparsable gold", reward=0.0) if own.gold == "4" else own
            for own in grades
        ]

    problems = [PROBLEMS[1], PROBLEMS[0], PROBLEMS[1], PROBLEMS[0]]
    task = TextTask("sums", problems, stories_tokenizer, grader)
    assert task.gradable().tolist() == task.gradable().tolist() == [0, 2]
    assert asked == [4]  # once
    assert len(make(stories_tokenizer).gradable()) == len(PROBLEMS)
    without_gold = TextTask("free", [Problem(question="Tell.")], stories_tokenizer, grader)
    assert without_gold.gradable().tolist() == [0]
    assert get("stories", stories_tokenizer).gradable().tolist() == list(range(8))
    assert asked == [4]


def test_a_benchmark_knows_its_unreadable_problems(stories_tokenizer, tmp_path) -> None:
    rows = [{"problem": "?", "answer": answer} for answer in ("5", "> 5", r"\frac{1}{2}")]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert get(
        "math500", stories_tokenizer, str(tmp_path / "a.jsonl"), check_rows=False
    ).gradable().tolist() == [0, 2]


def test_any_end_token_ends_an_answer(byte_tokenizer) -> None:
    turn = byte_tokenizer.convert_tokens_to_ids("<|turn|>")
    task = make(byte_tokenizer, eos_token_ids=(byte_tokenizer.eos_token_id, turn))
    assert task.eos_token_ids == (byte_tokenizer.eos_token_id, turn)
    assert task.pad_token_id == byte_tokenizer.eos_token_id  # it has no pad token
    for end in task.eos_token_ids:
        tokens, lengths = encode(task, "It is 4", end=end)
        assert task.reward(tokens, lengths)[0] == 1
        assert task.is_finished(tokens[0][: lengths[0]].tolist())
        assert not task.is_finished(tokens[0][: lengths[0] - 1].tolist())
        tokens[0, lengths[0] : lengths[0] + 3] = encode(task, " 5")[0][0, :3]
        assert task.reward(tokens, lengths + 3)[0] == 1  # what follows the end is ignored


def test_end_tokens_of_tokenizer_and_model() -> None:
    tokenizer = SimpleNamespace(eos_token_id=5)
    assert end_tokens(tokenizer) == (5,)
    assert end_tokens(tokenizer, SimpleNamespace(eos_token_id=[7, 5])) == (5, 7)
    assert end_tokens(tokenizer, SimpleNamespace(eos_token_id=6)) == (5, 6)
    with pytest.raises(ValueError, match="no end-of-sequence token"):
        end_tokens(SimpleNamespace(eos_token_id=None))


def test_an_answer_is_graded_up_to_the_next_question_it_asks_itself(stories_tokenizer) -> None:
    answer = "It is 4\nQ: what is 1+1? A: 2"
    task = make(stories_tokenizer, stop=("\nQ:", "\nProblem:"), horizon=64)
    assert task.reward(*encode(task, answer))[0] == 1
    assert make(stories_tokenizer, horizon=64).reward(*encode(task, answer))[0] == 0


def test_one_episode_step_by_step(stories_tokenizer) -> None:
    task = make(stories_tokenizer)
    tokens, lengths = encode(task, "It is 120", end=task.eos_token_id)
    observation, info = task.reset(seed=0, options={"prompt_index": 1})
    assert observation.shape == (task.prompts().shape[1] + task.horizon,)
    rewards = []
    for token in tokens[0, : lengths[0]]:
        _, reward, ended, _, info = task.step(token)
        rewards.append(reward)
    assert ended
    assert rewards == [0.0] * (lengths[0] - 1) + [1.0]
    assert info["prefix"] == tuple(tokens[0, : lengths[0]].tolist())


def test_steps_of_answers(stories_tokenizer) -> None:
    task = make(stories_tokenizer, segmenter="line")
    tokens, lengths = encode(task, "So\nit is\n4", "4", end=task.eos_token_id)
    ids = task.step_ids(tokens, lengths)
    assert ids.shape == tokens.shape
    assert ids[0, lengths[0] - 1] == ids[0, -1] == 2
    texts = [
        task.texts(tokens[:1] * 0 + tokens[:1], [int((ids[0] <= n)[: lengths[0]].sum())])[0]
        for n in range(3)
    ]
    assert texts == ["So\n", "So\nit is\n", "So\nit is\n4"]
    assert not ids[1].any()


def test_base_prompts_hold_the_question(stories_tokenizer) -> None:
    with pytest.raises(ValueError, match=r"holds \{question\}"):
        base_prompt(stories_tokenizer, "2+2?", "Question:")
    assert (
        base_prompt(stories_tokenizer, "\\boxed{}", "{question}")
        == stories_tokenizer("\\boxed{}")["input_ids"]
    )

    class Closing:  # a tokenizer that ends what it encodes, and has nothing to begin with
        eos_token_id, bos_token_id = 2, None

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [*map(ord, text), 2]}

    assert base_prompt(Closing(), "ab", "{question}") == [97, 98]
    with pytest.raises(ValueError, match="the prompt is empty"):
        base_prompt(Closing(), "", "{question}")
    with pytest.raises(ValueError, match="has no problems"):
        TextTask("none", [], stories_tokenizer, last_word)


def test_stories_are_scored(stories_tokenizer) -> None:
    task = get("stories", stories_tokenizer)
    assert task.name == "stories"
    assert len(task.prompts()) == len(OPENINGS)
    texts = ["was happy. She smiled.", "cried. It was a sad, sad day.", "sat."]
    tokens, lengths = encode(task, *texts)
    np.testing.assert_allclose(task.reward(tokens, lengths, [0, 1, 2]), sentiment(texts))
    assert {own.status for own in task.grade(tokens, lengths)} == {"scored"}
    assert task.step_ids(tokens, lengths).max(axis=1).tolist() == [1, 1, 0]
    own = get(
        "stories",
        stories_tokenizer,
        openings=["Hi"],
        reward=lambda texts: [len(t) for t in texts],
        horizon=8,
    )
    assert own.reward(*encode(own, "abc")) == [len(own.texts(*encode(own, "abc"))[0])]
    broken = get("stories", stories_tokenizer, reward=lambda texts: 1.0)
    with pytest.raises(ValueError, match="one for each text"):
        broken.reward(tokens, lengths)


def test_a_real_model_continues_a_story(shared_model) -> None:
    torch = pytest.importorskip("torch")
    from gnivo_edu.policies import load_model

    model, tokenizer = load_model(shared_model)
    task = get("stories", tokenizer, horizon=24, limit=2)
    ids, mask = torch.from_numpy(task.prompts()), torch.from_numpy(task.prompt_mask())
    out = model.generate(
        input_ids=ids, attention_mask=mask.long(), max_new_tokens=task.horizon, do_sample=False
    )
    answers = out[:, ids.shape[1] :].numpy()
    rewards = task.reward(answers, np.full(2, answers.shape[1]), [0, 1])
    assert ((rewards > 0) & (rewards < 1)).all()
    # Left padding with the mask changes nothing: alone, the shorter prompt is continued alike.
    n = int(mask.sum(1).argmin())
    alone = model.generate(
        input_ids=ids[n][mask[n]][None], max_new_tokens=task.horizon, do_sample=False
    )
    assert task.decode(alone[0, int(mask[n].sum()) :].numpy()) == task.decode(answers[n])


def test_graders_are_any_function(stories_tokenizer) -> None:
    task = TextTask(
        "echo", PROBLEMS, stories_tokenizer, partial(last_word), segmenter="token", horizon=8
    )
    assert task.step_ids(*encode(task, "a b"))[0, 0] == 0
