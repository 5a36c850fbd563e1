"""Exercises 1 and 2: other right ways pass; what is said of other forms of answer and mistakes."""

import math

import numpy as np
import pytest

from gnivo_edu.course import check
from tests.course.exercises import refusal

# --- sequence_logprob -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "right",
    [
        lambda logps, tokens, length: sum(logps[t][tokens[t]] for t in range(length)),
        lambda logps, tokens, length: np.take_along_axis(
            logps[:length], tokens[:length, None], 1
        ).sum(),
        lambda logps, tokens, length: math.fsum(logps[np.arange(length), tokens[:length]].tolist()),
        lambda logps, tokens, length: np.array(logps[np.arange(length), tokens[:length]].sum()),
    ],
)
def test_other_ways_to_sum_are_right(right):
    check.sequence_logprob.run(right)


def test_padding_that_looks_like_a_token_and_padding_that_does_not():
    where = [
        case.where
        for case in check.sequence_logprob.cases(np.random.default_rng(0))
        if "pad id" in case.where
    ]
    assert len(where) == 4

    def crashes_only_beyond_the_vocabulary(logps, tokens, length):
        logps[np.arange(len(tokens)), tokens]
        return check.sequence_logprob.reference(logps, tokens, length)

    message = refusal(check.sequence_logprob, crashes_only_beyond_the_vocabulary)
    assert "the pad id is 9" in message
    assert "IndexError" in message
    assert "padding is counted" in message  # the same error on the same arguments


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (np.zeros(3), "expected one number, got an array of shape (3,)"),
        ("-2.8", "expected one number, got str '-2.8'"),
        (True, "expected one number, got bool True"),
        (1j, "expected one number, got complex 1j"),
        (object(), "expected one number, got object <object object>"),
        (math.nan, "got nan"),
    ],
)
def test_type_and_shape(returned, complaint):
    message = refusal(check.sequence_logprob, lambda logps, tokens, length: returned)
    assert complaint in message
    assert "usual cause" not in message


def test_arguments_cannot_be_changed():
    def in_place(logps, tokens, length):
        logps[length:] = 0.0
        return logps.sum()

    assert "work on a copy" in refusal(check.sequence_logprob, in_place)


def test_an_unknown_mistake_is_rejected_without_a_guess():
    message = refusal(
        check.sequence_logprob, lambda *a: check.sequence_logprob.reference(*a) + 1e-6
    )
    assert "usual cause" not in message
    assert "hint()" in message


# --- enumerate_leaves -----------------------------------------------------------------------------


def test_order_and_container_of_the_leaves_do_not_matter():
    def shuffled(*arguments):
        leaves = check.enumerate_leaves.reference(*arguments)
        return tuple((np.array(tokens), np.float64(p)) for tokens, p in reversed(leaves))

    check.enumerate_leaves.run(shuffled)


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        ({}, "expected a list of (tokens, probability) pairs, got dict {}"),
        ((x for x in ()), "got generator"),
        ([(0, 1, 2)], "each entry must be a pair (tokens, probability), got tuple (0, 1, 2)"),
        ([("ab", 0.1)], "tokens must be a tuple of integers, got str 'ab'"),
        ([((2,), None)], "expected one number, got NoneType None"),
        ([], "your 0 answers have total probability 0"),
    ],
)
def test_form_of_the_leaves(returned, complaint):
    message = refusal(check.enumerate_leaves, lambda *arguments: returned)
    assert complaint in message
    assert " at 0x" not in message


def test_one_wrong_probability_is_found_in_every_place():
    leaves = check.enumerate_leaves.reference

    def off(index):
        def answer(*arguments):
            right = leaves(*arguments)
            k = index % len(right)
            return [*right[:k], (right[k][0], right[k][1] + 1e-6), *right[k + 1 :]]

        return answer

    for index in range(7):
        assert "expected the answer" in refusal(check.enumerate_leaves, off(index))


def test_an_answer_past_the_end_is_called_none():
    wrong = check.enumerate_leaves.wrong_answers["continues past EOS"]
    assert "expected 7 answers and (2, 0) is none of them" in refusal(check.enumerate_leaves, wrong)


def test_worked_tree_sums_to_one():
    case = next(iter(check.enumerate_leaves.cases(np.random.default_rng(0))))
    assert sum(p for _, p in case.expected) == pytest.approx(1, abs=1e-13)
    assert (
        check.enumerate_leaves.difference(
            check.enumerate_leaves.reference(*case.arguments), case.expected
        )
        is None
    )
