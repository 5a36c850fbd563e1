"""Whole or not at all."""

from __future__ import annotations

import pytest

from gnivo_edu.tasks.answers.reading import read


@pytest.mark.parametrize(
    "text",
    [
        r"\neq 9", "> 9", r"9\mathbb{Q}", r"9\ldots", "9, 10, ...", "9 10", "9_{n}", "9_{3}+1",
        "9'2\"", r"\sqrt[9]{}", r"\cancel{9}", "9 +", "9)", "(9", r"\frac{9}", r"9\pmod{10}", "",
        "x, where x is any number", r"\frac{d}{dx} y^2",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_not_read_in_part(text: str) -> None:
    assert read(text).expression is None


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("9", "9"),
        ("1,729", "1729"),
        (r"\boxed{9}+1", "1 + 9"),
        ("S_{\\max} = 9", "9"),
        (r"\angle ABC = 9^\circ", "Eq(A*B*C*angle, 9)"),
        ("a=b=9", "Eq(a, b) & Eq(b, 9)"),
        (r"\frac{d}{dx} x^2", "Derivative(x**2, x)"),
        (r"8\text{ million}", "8*1000000"),
        (r"(31)_{4}", "31"),
        ("E+e", "LetterE + E"),
    ],
)
def test_what_is_read(text: str, expression: str) -> None:
    assert str(read(text).expression) == expression


def test_an_exponent_is_a_power_of_ten_or_a_product_with_e() -> None:
    assert str(read("4e3").expression) == "4*10**3"
    assert str(read("4e3", scientific=False).expression) in ("4*3*E", "4*E*3", "E*3*4", "4*(3*E)")
