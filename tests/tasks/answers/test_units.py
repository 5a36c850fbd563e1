"""What may follow a number, and what may not."""

from __future__ import annotations

import pytest

from gnivo_edu.tasks.answers.units import is_unit, magnitude, per_cent, unit_name, without_unit


@pytest.mark.parametrize(
    ("latex", "number", "power"),
    [
        (r"15\mbox{ cm}^3", "15", "3"),
        (r"\frac{9}{4}\text{ pounds}", r"\frac{9}{4}", ""),
        (r"3 \mathrm{m}/\mathrm{s}", "3", ""),
        ("40 square feet", "40", ""),
        (r"8\text{ each}", "8", ""),
    ],
)
def test_a_unit_is_taken_away(latex: str, number: str, power: str) -> None:
    assert without_unit(latex)[::2] == (number, power)


@pytest.mark.parametrize(
    "latex",
    [
        r"8\text{ or more}",
        r"8\text{ at most}",
        r"8\text{ and a half}",
        r"8\text{ ft 3 in}",
        r"8\mathrm{e}",
        r"8\mathrm{x}",
        r"8\text{ squared}",
        r"8\text{ tenths}",
        r"8\text{ Doubled}",
        r"8\text{ divided by three}",
        r"8\text{ maximum}",
        r"8\text{ to twenty}",
        r"8\text{ is incorrect}",
        "8k",
        r"\frac{1}{m} t",
        r"\text{metres}",
    ],
)
def test_what_changes_a_number_stays(latex: str) -> None:
    assert without_unit(latex) == (latex, "", "")


def test_names_of_common_units() -> None:
    assert unit_name("kilometers") == unit_name(r"\text{ km}") == "km"
    assert unit_name("M") == unit_name("pens") == ""
    assert unit_name("ms") == unit_name("milliseconds") == "ms"
    assert without_unit("9 hrs") == ("9", "h", "")
    assert without_unit(r"9\text{ m}\text{/s}") == ("9", "", "")
    assert without_unit(r"9\text{ ft²}".replace("²", "^{2}")) == ("9", "ft", "2")
    assert without_unit("9ft", unit=r"\text{feet}") == ("9", "ft", "")
    assert without_unit("9yd", unit=r"\text{feet}") == ("9yd", "", "")


def test_a_unit_of_the_problem_may_follow_in_plain_letters() -> None:
    assert without_unit("9 furlongs", "furlong") == ("9", "", "")
    assert without_unit("9 furlongs") == ("9 furlongs", "", "")


def test_magnitudes_and_per_cent() -> None:
    assert magnitude("2.5 billion") == r"2.5 \times 1000000000"
    assert magnitude(r"7\text{ dozen eggs}") == r"7 \times 12\text{ eggs}"
    assert magnitude(r"18\text{ Million}") == r"18 \times 1000000"
    assert magnitude("a million") == "a million"
    assert [per_cent(text) for text in ("6%", r"6 \%", r"6\text{ pct}")] == [r"6\%"] * 3


def test_words_that_are_a_unit() -> None:
    assert is_unit("square metres per hour")
    assert not any(is_unit(words) for words in ("", "not", "2", "half", "if x is even"))
