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
    "3 m + 4 m = 7 m": "7",
    "2 pens * $4 a pen = 8": "8",
    "<<6*7=42>>42": "42",
    "*42*": "42",
    "42 (6 boxes)": "42",
    "<answer>42</answer>": "42",
    "$42 Million": "42000000",
    "4 bn": "4000000000",
    "3 Lakh rupees": "300000",
    "42 dollars for two people": "42",
    "42 pens over two weeks": "42",
    "42 for each one": "42",
    "42 dollars in total": "42",
    "They need 42 pens.": "42",
    "So Ann paid $4,200.50 in all": "4200.50",
    "The answer is 42 cups!": "42",
}
WHOLE = ("42, 43", "42 or 43", "42 to 43", "4:30 pm", "42x", "> 42", "2 and a half", "4 ft 2 in")
HEADINGS = (
    "Step 3: 4+5=9",
    "Nobody has 42",
    "Part has 2",
    "They do not need 42",
    "They need 4 or 5",
    "Explanation",
    "Why 42?",
    "",
    "not 42",
    "two",
)
CHANGED = (
    "tenths", "hundredths", "Squared", "cubed", "doubled", "twice", "factorial", "divided by three",
    "multiplied by two", "less two", "over two", "to the power of 2", "pi", "x", "at least",
    "at most", "minimum", "Maximum", "to twenty", "through twenty", "+", "is wrong", "incorrect",
    ", no", ", but that is wrong", "dollars and fifty cents", "point five", "below zero", "score",
    "inverse", "upper bound", "invalid", "% of fifty", "/x", "!", "...", "%%", "-",
)  # fmt: skip
ALGEBRA = ("2x = 42", "-x = 42", "2n + 1 = 42")


@pytest.mark.parametrize(
    "line", [*(f"42 {words}" for words in CHANGED), "42pi", "42+", "42nd", "42!", *ALGEBRA]
)
def test_another_number_stays_whole(line: str) -> None:
    assert answer_line(line) == line


@pytest.mark.parametrize(("line", "number"), NUMBERS.items())
def test_a_number_is_read_with_all_that_belongs_to_it(line: str, number: str) -> None:
    assert answer_line(line) == number


@pytest.mark.parametrize("line", WHOLE)
def test_what_is_more_than_a_number_stays_whole(line: str) -> None:
    assert answer_line(line) == line


@pytest.mark.parametrize("line", HEADINGS)
def test_a_heading_is_no_answer(line: str) -> None:
    assert answer_line(line) is None


@pytest.mark.parametrize("line", ["x^2 = 42", "x + y = 42"])
def test_an_equation_that_begins_with_a_letter_gives_no_number(line: str) -> None:
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
    for heading in ("4 Add the costs", "4.) Costs", "(4)", "4.", "14.", "They need 4"):
        assert answer_line(heading, below=True) is None
    assert answer_line("42 dollars", below=True) == "42"
