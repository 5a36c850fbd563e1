r"""Which part of a text is the answer: the last balanced box, or the number after ####."""

from __future__ import annotations

import time

import pytest

from gnivo_edu.tasks.grading import after_marker, first_number, last_box, marker_or_box
from gnivo_edu.tasks.math_worker import clean


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{5}.", "5"),
        (r"\boxed{1} or \boxed{2}", "2"),
        (r"\boxed{204}\boxed{205}", "205"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{3} and then, cut off, \boxed{\frac{1}{2", "3"),
        (r"\boxed{ {3} \boxed{4}", "4"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{\boxed{1}+\boxed{2}}", r"\boxed{1}+\boxed{2}"),
        (r"\boxed{\boxed{1}+2}", r"\boxed{1}+2"),
        (r"\boxed{x = \fbox{3}}", r"x = \fbox{3}"),
        (r"\fbox{8}", "8"),
        (r"a line \\\boxed{9}", "9"),
        (r"} \boxed{6}", "6"),
        (r"\boxed{}", None),
        (r"\boxed {5}", "5"),
        (r"\boxed 5", None),
        (r"\boxed", None),
        ("5", None),
        ("", None),
    ],
)
def test_the_last_balanced_box(text: str, answer: str | None) -> None:
    assert last_box(text) == answer


def test_many_open_boxes_take_linear_time() -> None:
    start = time.perf_counter()
    assert last_box("\\boxed{" * 20_000) is None
    assert last_box("\\boxed{" * 20_000 + "1}") == "1"
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("steps\n#### 18", "18"),
        ("#### 18 dollars per day", "18"),
        ("#### $1,018.50", "1018.50"),
        ("#### \\$70,000.", "70000"),
        ("#### -5", "-5"),
        ("#### -$5", "-5"),
        ("#### 50%", "50"),
        ("#### 1/2", "1/2"),
        ("#### 18, 20", "18"),
        ("####18", "18"),
        ("#### 1\nno:\n#### 2", "2"),
        ("#### 3\n\nQuestion: what is 4?", "3"),
        ("#### none", None),
        ("####", None),
        ("18", None),
    ],
)
def test_the_number_after_the_marker(text: str, answer: str | None) -> None:
    assert after_marker(text) == answer


def test_the_marker_comes_before_the_box_and_a_box_may_hold_words() -> None:
    assert marker_or_box("\\boxed{3}\n#### 4") == "4"
    assert marker_or_box("The answer is \\boxed{18 dollars}.") == "18"
    assert marker_or_box("\\boxed{\\frac{1}{2}}") == "\\frac{1}{2}"
    assert marker_or_box("\\boxed{3 + 4}") == "3 + 4"
    assert marker_or_box("The answer is 18.") is None


def test_numbers_with_commas_points_and_signs() -> None:
    found = {
        text: first_number(text)
        for text in ("1,234,567", "12,34", "1,2345", ".5", "3.", "$ 4", "-7", "none")
    }
    assert found == {
        "1,234,567": "1234567",
        "12,34": "12",
        "1,2345": "1",
        ".5": ".5",
        "3.": "3",
        "$ 4": "4",
        "-7": "-7",
        "none": None,
    }


def test_what_stands_around_the_mathematics_is_removed() -> None:
    assert clean(r"\$32,\!348") == "32,348"
    assert clean("$a=2$, $a=-6$.") == "a=2, a=-6"
    assert clean(r"\left\{1, \left(2, 3\right]\right\}") == r"\{1, (2, 3]\}"
    assert clean(r"\left.x\right|_{0}") == "x|_{0}"
    assert clean(r"a \leftarrow b \rightarrow c") == r"a \leftarrow b \rightarrow c"
