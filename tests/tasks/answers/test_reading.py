"""Whole or not at all."""

from __future__ import annotations

import pytest

from gnivo_edu.tasks.answers.reading import read


@pytest.mark.parametrize(
    "text",
    [
        r"\neq 9", "> 9", r"9\mathbb{Q}", r"9\ldots", "9, 10, ...", "9 10", "9_{n}", "9_{3}+1",
        "9'2\"", r"\sqrt[9]{}", r"\cancel{9}", "9 +", "9)", "(9", r"\frac{9}", r"9\pmod{n}", "",
            "9\\", r"\cos t^\circ", r"\cos 9^\circ 9", r"\pi^\circ", r"(9,\infty]", r"[-\infty,9)",
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
        (r"\tan 45^\circ", "tan((45*pi)/180)"),
        (r"14 \bmod 9", "5"),
        (r"9\ ", "9"),
        ("111,222,333", "{111, 222, 333}"),
        ("11,222,333", "11222333"),
        (r"111{,}222{,}333", "111222333"),
        ("9^T", "9**LetterT"),
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


@pytest.mark.parametrize("text", ["3:4:5", "6 : 8 : 10"])
def test_a_ratio_of_three_is_no_quotient(text: str) -> None:
    assert read(text).expression == read("3:4:5").expression
    assert read(text).expression not in (read("3/20").expression, read("3:5:4").expression, None)


@pytest.mark.parametrize(
    ("bare", "braced"),
    [
        ("10^-3", "10^{-3}"),
        ("t^-2", "t^{-2}"),
        ("e^-t", "e^{-t}"),
        (r"6.6\times10^−34", r"6.6\times 10^{-34}"),
        (r"\frac\pi4", r"\frac{\pi}{4}"),
        (r"\frac1\pi", r"\frac{1}{\pi}"),
        (r"\sqrt[3]5", r"\sqrt[3]{5}"),
        ("3**k", "3^k"),
        ("2**10", "2^{10}"),
    ],
)
def test_arguments_without_braces(bare: str, braced: str) -> None:
    expression = read(braced).expression
    assert expression is not None
    assert read(bare).expression == expression
