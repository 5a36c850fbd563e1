r"""Which part of a text is the answer; what graders get wrong, one test each; and what
math-verify does with doubtful answers, measured.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import pytest

from gnivo_edu.tasks import grading
from gnivo_edu.tasks.grading import (
    Grade,
    Problem,
    after_marker,
    count,
    first_number,
    grade_answers,
    last_box,
    marker_or_box,
    unparsable_golds,
)


def grade(gold: str, text: str, **more: object) -> Grade:
    return grade_answers([text], [Problem(question="?", gold=gold, **more)])[0]  # type: ignore[arg-type]


def verdicts(pairs: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    problems = [Problem(question="?", gold=gold) for gold, _ in pairs]
    grades = grade_answers([rf"\boxed{{{answer}}}" for _, answer in pairs], problems)
    return {pair: own.status for pair, own in zip(pairs, grades, strict=True)}


RIGHT = [
    ("1000", "1,000"),
    ("10080", "10{,}080"),
    ("10080", r"10,\!080"),
    (r"\$32,\!348", "32348"),
    ("18", r"\$18"),
    ("18", "18.00"),
    ("18", r"18\text{ dollars}"),
    ("0.5", r"50\%"),
    (r"\frac{3}{4}", r"75\%"),
    ("1/2", r"\dfrac12"),
    (r"5\frac{1}{2}", "5.5"),
    (r"\frac{1}{3}", "0.333333"),
    ("033", "33"),
    ("90", r"90^\circ"),
    ("x=5", "5"),
    ("5", "x=5"),
    ("1024", "2^{10}"),
    ("p-q", "-q+p"),
    (r"\text{Evelyn}", r"\text{Evelyn}"),
    (r"\text{(C)}", "C"),
    ("(1,2)", "(1, 2)"),
    ("(1,2)", r"\left(1, 2\right)"),
    ("-2,0,2", r"\{2, 0, -2\}"),
    ("1,2", r"2 \text{ and } 1"),
    ("$(1,1), (3,2)$", "(3,2), (1,1)"),
    ("$f(x)=x$,$f(x)=2-x$", "f(x)=2-x, f(x)=x"),
    (r"$[\frac{1}{2}, 8]$", "[0.5, 8]"),
    (r"$(-\infty, 0) \cup\{1\}$.", r"(-\infty,0)\cup\{1\}"),
    (r"k \geqslant 2", r"[2, \infty)"),
    (r"(-\infty,5]", r"x \le 5"),
    ("1<x<2", "(1,2)"),
    ("(1,2)", "1<x<2"),
    ("4.5e33", r"4.5 \times 10^{33}"),
    ("3e6", "3000000"),
    ("1e-5", "0.00001"),
    ("4.6e-24", r"4.6 \times 10^{-24}"),
    ("2(e-1)", "2e-2"),
    ("-1./3", r"-\frac13"),
    ("-3./2", "-1.5"),
    ("52_8", "52_{8}"),
    ("52_8", "52"),
    ("255", "255_{10}"),
    (r"\gamma", r"\gamma"),
    (r"\hbar \omega", r"\omega \hbar"),
    ("9", r"9\%"),  # math-verify lets a whole number be one of per cent
    ("0", "-0"),
    ("0.0000123", "0.00001230"),
    (r"864 \mbox{ inches}^2", "864"),  # a unit is not compared
]
WRONG = [
    ("5", "-5"),
    (r"\frac{1}{3}", "0.333"),
    (r"\pi", "3.14159"),
    ("3.14159", r"\pi"),
    ("10", "10.5"),
    ("12", "1,2"),
    ("1,3,5", "1,3"),
    ("1,3", "1,3,5"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("[0,1]", "(0,1]"),
    ("$(1,1), (3,2)$", "(1,1), (2,3)"),
    (r"\text{Evelyn}", r"\text{Carla}"),
    ("C", "D"),
    ("2", "two"),
    ("40_9", "36"),
    ("3e6", "18e"),
    ("3e6", "3e5"),
    ("4.6e-24", r"4.6 \times 10^{-23}"),
    ("0.0000003", "0.0000001"),
    ("-1./3", "-1"),
    ("-3./2", "-3"),
    ("52_8", "52_4"),
    ("4210_{5}", "4210_{2}"),
    ("5", "5_{7}"),
    ("5", r"5 \text{ or anything}"),
    (r"864 \mbox{ inches}^2", r"864 \mbox{ inches}^7"),
]


@pytest.mark.slow
def test_forms_of_a_right_answer_are_right() -> None:
    assert {pair: status for pair, status in verdicts(RIGHT).items() if status != "right"} == {}


def test_wrong_answers_are_wrong() -> None:
    assert {pair: status for pair, status in verdicts(WRONG).items() if status != "wrong"} == {}


def test_the_gold_comes_first_whatever_the_order_in_the_library() -> None:
    # math_verify.verify("1<x<2", "(1,2)") holds and the swap does not; here relations and intervals
    # agree both ways, and grade_answers takes texts and problems, which cannot be swapped by
    # mistake.
    from math_verify import parse, verify

    relation, interval = parse("$1<x<2$"), parse("$(1,2)$")
    assert verify(relation, interval) is True
    assert verify(interval, relation) is False
    assert set(verdicts([("1<x<2", "(1,2)"), ("(1,2)", "1<x<2")]).values()) == {"right"}
    with pytest.raises(TypeError):
        grade_answers([Problem(question="?", gold="5")], ["5"])  # type: ignore[list-item]


def test_naming_several_answers_gains_nothing() -> None:
    # Of a chain the last part is read: naming both is a guess like any other.
    hedges = [
        r"5 \text{ or } 6",
        "5,6",
        r"5 \pm 1",
        "x>0",
        r"x \ge 5",
        "5=6",
        r"6\text{ or 5}",
        r"\{5, 6\}",
        "5;6",
        "5 6",
    ]
    assert set(verdicts([("5", hedge) for hedge in hedges]).values()) == {"wrong"}


def test_a_set_in_braces_is_no_pair() -> None:
    from math_verify import parse, verify

    assert (
        verify(parse(r"$\{1,2\}$"), parse("$(2,1)$")) is True
    )  # what the library alone would reward
    pairs = [
        (r"\{1,2\}", "(1,2)"),
        (r"\{1,2\}", "(2,1)"),
        ("(1,2)", r"\{1,2\}"),
        (r"\left\{1,2\right\}", "(1,2)"),
    ]
    assert set(verdicts(pairs).values()) == {"wrong"}
    assert (
        verdicts([("1,2", "(1,2)")])["1,2", "(1,2)"] == "right"
    )  # a bare list has no brackets to contradict


def test_two_boxes_are_not_one_answer() -> None:
    assert grade("205", r"\boxed{204} \boxed{205}").status == "right"
    assert grade("204", r"\boxed{204}\boxed{205}").status == "wrong"
    assert grade("204205", r"\boxed{204}\boxed{205}").status == "wrong"


def test_mathematics_outside_a_box_is_no_answer() -> None:
    assert grade(r"\sqrt{2}", r"The answer is \sqrt{2}, that is $\sqrt{2}$.") == Grade(
        text=r"The answer is \sqrt{2}, that is $\sqrt{2}$.",
        answer=None,
        gold=r"\sqrt{2}",
        status="no answer",
        reward=0,
    )
    assert grade(r"\sqrt{2}", r"The answer is \boxed{\sqrt{2}}.").reward == 1


UNREADABLE = [
    "",
    r"\frac{",
    "np.arcsin(10/13)",
    r"\neq 5",
    "5 6",
    r"5\ldots",
    "$f(x)=a x+b$, where $b$ is an arbitrary integer",
]


@pytest.mark.parametrize("gold", UNREADABLE)
def test_an_unparsable_gold_is_never_rewarded(gold: str) -> None:
    for text in (rf"\boxed{{{gold}}}", r"\boxed{5}", r"\boxed{}", gold, "no box"):
        own = grade(gold, text)
        assert (own.status, own.reward, own.counts) == ("unparsable gold", 0.0, False)


def test_unparsable_golds_are_reported() -> None:
    problems = [
        Problem(question="?", gold=gold) for gold in ("5", "> 5", r"\frac{1}{2}", r"\frac{")
    ]
    assert unparsable_golds(problems) == [1, 3]
    grades = grade_answers([r"\boxed{5}"] * 4, problems)
    assert count(grades) == {"unparsable gold": 2, "right": 1, "wrong": 1}


@pytest.mark.slow
def test_any_grader_says_which_golds_it_cannot_read() -> None:
    problems = [Problem(question="?", gold=gold) for gold in ("> 5", "5")]
    assert unparsable_golds(
        problems, partial(grade_answers, extract=marker_or_box, timeout=30.0)
    ) == [0]


def test_without_math_verify_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "math_verify.py").write_text("raise ImportError('not there')")
    monkeypatch.syspath_prepend(tmp_path)  # a worker looks for modules where its caller does
    with pytest.raises(ValueError, match=r"needs math-verify \(not there\): pip install") as error:
        grade_answers([r"\boxed{5}"], [Problem(question="?", gold="5")], timeout=7.5, workers=1)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_an_answer_that_never_ends_is_stopped() -> None:
    tower = r"\boxed{9^{9^{9^{9}}}}"
    texts = [tower, r"\boxed{5}", tower.replace("}}}}", "}}}+1}"), r"\boxed{6}"]
    grade_answers(
        ["\\boxed{1}"], [Problem(question="?", gold="1")], timeout=2.0
    )  # the workers start
    start = time.monotonic()
    grades = grade_answers(texts, [Problem(question="?", gold="5")] * 4, timeout=2.0)
    assert [own.status for own in grades] == ["timeout", "right", "timeout", "wrong"]
    assert [own.reward for own in grades] == [0, 1, 0, 0]
    assert time.monotonic() - start < 60


def test_grading_works_in_a_thread() -> None:
    # math_verify's own alarm raises there.
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(grade("5", r"\boxed{5}").status))
    thread.start()
    thread.join()
    assert found == ["right"]


def test_a_unit_may_follow_and_an_allowed_error_is_allowed() -> None:
    assert grade("45", r"\boxed{45 \text{ minutes}}", unit="minute").status == "right"
    assert (
        grade(r"$\frac{600}{7}$", r"\boxed{\frac{600}{7}\ \mathrm{km/h}}", unit="km/h").status
        == "right"
    )
    assert grade("$166$", r"\boxed{166 \text{ cm}^2}", unit="$cm^2$").status == "right"
    per_cent = {"unit": "%", "tolerance": 0.1}
    answers = ["4.2", r"4.2\%", "4.3", "4.1", "4.31", "4.0", r"\pi", r"\text{four}"]
    found = [grade("4.2", rf"\boxed{{{answer}}}", **per_cent).status for answer in answers]
    assert found == ["right"] * 4 + ["wrong"] * 4


def test_equal_pairs_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Pool:
        def map(self, requests: list[object]) -> list[str]:
            asked.extend(requests)
            return ["right"] * len(requests)

    monkeypatch.setattr(grading, "_pool", lambda workers, timeout: Pool())
    grades = grade_answers(
        [r"\boxed{5}"] * 7 + [r"\boxed{6}"], [Problem(question="?", gold="5")] * 8, last_box
    )
    assert len(asked) == 2
    assert len(grades) == 8


def test_bad_input_is_one_line() -> None:
    with pytest.raises(ValueError, match="one problem for each text, got 1 problems and 2 texts"):
        grade_answers(["", ""], [Problem(question="?", gold="5")])
    assert grade_answers([], []) == []


# --- which part of a text is the answer ---------------------------------------------------------


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
        (r"\boxed{ 5\ }", "5\\ "),
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
        ("#### 18, 20", "18, 20"),
        ("####18", "18"),
        ("#### 1\nno:\n#### 2", "2"),
        ("#### 3\n\nQuestion: what is 4?", "3"),
        ("#### none", None),
        ("#### Answer\n18", "18"),
        ("#### **Final answer:**\n\n$18 a day", "18"),
        ("#### Answers\n18", None),
        ("#### She makes $18 per day.", "18"),
        ("#### She makes $18 per day.\nThen more.", None),
        ("#### 18!", "18!"),
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
