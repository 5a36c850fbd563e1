"""Graders by name: what each takes for the answer, and what it refuses."""

from __future__ import annotations

import pytest

from gnivo_edu.tasks.graders import GRADERS, check_gold, get_grader
from gnivo_edu.tasks.grading import Problem


def status(name: str, text: str, gold: str) -> str:
    return get_grader(name)([text], [Problem(question="?", gold=gold)])[0].status


@pytest.mark.parametrize(
    ("name", "gold", "right", "wrong", "none"),
    [
        ("exact", "Paris", [" Paris\n", "#### Paris", r"So \boxed{Paris}"], ["paris"], ["", " \n"]),
        (
            "number",
            "1,018.5",
            [
                "1018.50",
                "$1,018.5.",
                "first 3, then 1018.5",
                "2037/2",
                "1527.75/1.5",
                "1.0185e3",
                "#### 1018.5 x",
            ],
            ["1018.5 of 3", "-1018.5", "−1018.5"],
            ["none", "v1018.5", "1" * 400],
        ),
        (
            "choice",
            "(B)",
            ["B", "(B)", "**B**", "B. It is blue", "The answer is B.", "#### B", "option B"],
            ["A", "Answer: (C)", "I say B? No. The answer is A"],
            ["b", "A cat and B", "Because"],
        ),
        ("contains", "New York", ["in new york."], ["New Yorkers", "York"], [""]),
        ("regex", r"\b4\d\b", ["it is 42"], ["421"], [""]),
        ("math", "1/2", ["#### 0.5", r"\boxed{\frac12}"], ["#### 2"], ["0.5"]),
    ],
)
def test_what_is_taken_for_the_answer(
    name: str, gold: str, right: list[str], wrong: list[str], none: list[str]
) -> None:
    for texts, expected in ((right, "right"), (wrong, "wrong"), (none, "no answer")):
        assert {text: status(name, text, gold) for text in texts} == dict.fromkeys(texts, expected)


def test_a_reward_is_one_for_right_answers_alone() -> None:
    asked = [Problem(question="?", gold="4")] * 3
    grades = get_grader("number")(["4", "5", "x"], asked)
    assert [grade.reward for grade in grades] == [1.0, 0.0, 0.0]
    assert [grade.answer for grade in grades] == ["4", "5", None]


def test_golds_that_cannot_be_read_and_names_that_are_not_known() -> None:
    for name, gold, message in (
        ("number", "four", "'four' is no number"),
        ("choice", "the second", "is no letter"),
        ("regex", "(", "is no regular expression"),
    ):
        with pytest.raises(ValueError, match=message):
            check_gold(name, gold)
    for name in (*GRADERS, None):
        check_gold(name, "4" if name == "number" else "B")
    with pytest.raises(ValueError, match="did you mean 'number'"):
        get_grader("numbr")
