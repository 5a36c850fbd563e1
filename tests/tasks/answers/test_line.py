"""The line after a marker: number, mathematics, or heading."""

from __future__ import annotations

import time

import pytest

from gnivo_edu.tasks.answers.line import answer_line

NUMBERS = {
    "$42/week": "42",
    "84 / 2 = 42 dollars": "42",
    "21 × 2 = $42 a week": "42",
    "42 — so she pays": "42",
    "42 (as 84/2 = 42)": "42",
    "42. Half of 84 = 42.": "42",
    "**42**": "42",
    r"$\boxed{42 \text{ km}}$": "42",
    "n = 42": "42",
    "The answer is: 42": "42",
    "− 42 °C": "-42",
    "-$4,200.50": "-4200.50",
    "$.75": ".75",
    "4 200": "4200",
    "2.5 thousand people": "2500",
    "$3k": "3000",
    "3 dozen": "36",
    "6.5e4": "65000",
    "-3/8 of a mile": "-3/8",
    "3 3/8 cups": "3 3/8",
    r"\frac{3}{8}": r"\frac{3}{8}",
    "7 - 9": "7 - 9",
    "65 %": "65",
    "8 = all of them": "8",
    "Thus, the answer is 8</s>": "8",
    "3 pens + 4 pens = 7 pens": "7",
}
WHOLE = ("42, 43", "42 or 43", "42 to 43", "4:30 pm", "42x", "> 42", "2 and a half", "4 ft 2 in")
HEADINGS = ("Step 3: 4+5=9", "Explanation", "Why 42?", "", "not 42", "two")


@pytest.mark.parametrize(("line", "number"), NUMBERS.items())
def test_a_number_is_read_with_all_that_belongs_to_it(line: str, number: str) -> None:
    assert answer_line(line) == number


@pytest.mark.parametrize("line", WHOLE)
def test_what_is_more_than_a_number_stays_whole(line: str) -> None:
    assert answer_line(line) == line


@pytest.mark.parametrize("line", HEADINGS)
def test_a_heading_is_no_answer(line: str) -> None:
    assert answer_line(line) is None


def test_a_long_line_takes_linear_time() -> None:
    start = time.perf_counter()
    for line in ("(" * 50_000 + "1", "1 " * 50_000, "1," * 50_000, "1+" * 50_000, "9" * 100_000):
        assert answer_line(line) == line.strip()
    assert time.perf_counter() - start < 5


def test_a_numbered_heading_is_one_where_text_follows() -> None:
    assert answer_line("4. Money", below=True) is None
    assert answer_line("4. Money") == "4"
    assert answer_line("4", below=True) == "4"
    assert answer_line("4th day", below=True) is None
