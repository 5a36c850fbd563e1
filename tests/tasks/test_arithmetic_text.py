"""Arithmetic with a tokenizer: the same ids, the same grades, and a tree that is the model's
own.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from gnivo_edu import exact, policies
from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.tasks.arithmetic import Arithmetic
from gnivo_edu.tasks.arithmetic_text import ArithmeticText, character_tokenizer
from toy_envs import TokenMDP


@pytest.fixture(scope="module")
def task() -> ArithmeticText:
    return ArithmeticText(tiers=(2,), num_prompts=3, split="test")


def test_the_tokenizer_has_the_ids_of_the_task(task: ArithmeticText) -> None:
    for number in range(3):
        assert task.tokenizer(task.question(number))["input_ids"] == task.prompts()[number].tolist()
    every = "".join(task.vocabulary)
    assert task.tokenizer(every)["input_ids"] == [task.bos_token_id, *range(task.vocab_size)]
    assert task.tokenizer.decode(list(range(task.vocab_size))) == every
    assert sorted(task.tokenizer.all_special_ids) == sorted([task.bos_token_id, task.pad_token_id])


def test_a_tokenizer_of_any_characters_gives_the_text_back() -> None:
    tokenizer = character_tokenizer("a\n b", 4, 5)
    ids = tokenizer("b \n\na")["input_ids"]
    assert ids == [4, 3, 2, 1, 1, 0]
    assert (
        tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        == "b \n\na"
    )


def test_grades_of_texts_are_those_of_tokens(task: ArithmeticText) -> None:
    plain = Arithmetic(tiers=(2,), num_prompts=3, split="test")
    tokens, lengths, index = plain.demonstrations(60, seed=1)
    texts = [plain.decode(row[:length]) for row, length in zip(tokens, lengths, strict=True)]
    expected = plain.grade(tokens, lengths, index)
    assert {grade.reward for grade in expected} == {0.0, 1.0}
    assert task.grade_texts(texts, index) == expected


def test_what_follows_the_end_is_not_read_and_no_end_is_no_answer(task: ArithmeticText) -> None:
    right = task.grade_texts(["64;56."])[0]
    assert right.status == "right"
    assert task.grade_texts(["64;56.12345"]) == [right]
    assert [grade.status for grade in task.grade_texts(["64;56", "", "64;57."])] == [
        "no answer",
        "no answer",
        "wrong",
    ]


def test_texts_that_are_no_answers_are_refused_in_one_line(task: ArithmeticText) -> None:
    for text, said in (("64 56.", "holds ' '"), ("64;56;64.", "is longer than 6 characters")):
        with pytest.raises(ValueError, match=said) as caught:
            task.grade_texts([text])
        assert "\n" not in str(caught.value)


def test_steps_are_totals_or_tokens(task: ArithmeticText) -> None:
    row = np.array([task.tokenizer("64;56.", add_special_tokens=False)["input_ids"]])
    assert task.step_ids(row, [6]).tolist() == [[0, 0, 0, 1, 1, 1]]
    by_token = ArithmeticText(tiers=(2,), num_prompts=1, split="test", segmenter="token")
    assert by_token.step_ids(row, [6]).tolist() == [[0, 1, 2, 3, 4, 5]]


def test_the_pruned_tree_of_the_shipped_model_is_that_of_its_tables() -> None:
    """Every action kept: the tree's tables are the model's own, and its exact values those of the
    task enumerated.
    """
    task = ArithmeticText(tiers=(2,), num_prompts=1, split="test", segmenter="token")
    model = policies.load_checkpoint("arithmetic", torch.float64)
    mdp, tables = policies.tree_from_model(
        model,
        task.tokenizer,
        task.question(0),
        task.vocab_size,
        2,
        lambda texts: [len(x) for x in texts],
    )
    found = policies.tabulate(model, _Cut(task, 2))
    for t, prefixes in enumerate(
        itertools.product(range(task.vocab_size), repeat=t) for t in range(2)
    ):
        for number, prefix in enumerate(prefixes):
            own = mdp.model_tokens(prefix)
            row = sum(token * task.vocab_size ** (t - 1 - i) for i, token in enumerate(own))
            if task.eos_token_id not in own:
                np.testing.assert_allclose(
                    tables[t][number], found[t][row, mdp.token_ids[t][number]], atol=1e-10
                )


class _Cut(TokenMDP):
    """The first tokens of a task's answers."""

    def __init__(self, task: ArithmeticText, horizon: int) -> None:
        super().__init__(
            task.vocab_size, horizon, eos_token_id=task.eos_token_id, prompts=task.prompts()
        )


def test_step_values_find_an_exact_line() -> None:
    task = ArithmeticText(tiers=(2,), num_prompts=1, split="test", segmenter="token")
    model = policies.load_checkpoint("arithmetic", torch.float64)
    answer = task.tokenizer("64;64.", add_special_tokens=False)["input_ids"]
    found = step_values(model, model, task, alpha=0.5, continuations=8, answers=[answer], top_k=2)
    assert found.exact is not None
    assert found.exact.kind == "pruned"
    mdp, tables = policies.tree_from_model(
        model,
        task.tokenizer,
        task.question(0),
        2,
        6,
        lambda texts: [g.reward for g in task.grade_texts(texts)],
    )
    key = exact.solve(exact.enumerate_tree(mdp, tables), 0.5)
    ranks = next(r for r in itertools.product(range(2), repeat=6) if mdp.decode(r) == "64;64.")
    expected = [key.soft_value(ranks[:t]) for t in range(7)]
    np.testing.assert_allclose(found.answers[0].exact_values, expected, atol=1e-12)
    assert found.answers[0].texts == tuple("64;64.")
