"""Word problems: the chains of `Arithmetic`, told."""

import numpy as np
import pytest

from gnivo_edu.studies.ladder.word_problems import WordProblems


@pytest.fixture(scope="module")
def task():
    return WordProblems(tiers=(2, 4), num_prompts=20, split="test")


def test_a_question_says_all_numbers_in_their_order(task):
    for number in range(40):
        told = "".join(c if c.isdigit() else " " for c in task.prompt_text(number))
        digits = "".join(told.split())
        signs = task.question(number)[:-1].replace("-", "+").split("+")
        assert digits == "".join(signs)


def test_more_and_less_are_told_apart(task):
    """From the words alone, and not from the sign, the totals follow."""
    gains = ("finds", "buys", "gets")
    for number in range(40):
        sentences = task.prompt_text(number).split(" then ")
        digits = sentences[0].split()[2:-1]
        total = int("".join(digits))
        for sentence in sentences[1:]:
            verb, amount, *_ = sentence.split()
            total += int(amount) if verb in gains else -int(amount)
        assert total == task.totals(number)[-1]


def test_demonstrations_are_paid_and_slips_are_not(task):
    right = task.demonstrations(100, 0.0, seed=0)
    assert task.reward(*right).all()
    assert (task.first_wrong_step(*right) == -1).all()
    wrong = task.demonstrations(200, 1.0, seed=0)
    slipped = task.first_wrong_step(*wrong) >= 0
    assert 0.3 < slipped.mean() < 1
    assert (task.reward(*wrong) == ~slipped).all()


def test_a_word_in_an_answer_is_paid_nothing(task):
    answer = np.full((1, task.horizon), task.pad_token_id)
    right = task.demonstration(0)
    answer[0, : len(right)] = right
    assert task.reward(answer, [len(right)]) == 1
    answer[0, len(right) - 2] = task.vocabulary.index("beads")
    assert task.reward(answer, [len(right)]) == 0


def test_an_answer_reads_as_that_of_arithmetic(task):
    assert task.decode(task.demonstration(0)) == ";".join(map(str, task.totals(0)[1:])) + "."
