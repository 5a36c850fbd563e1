"""Names for what the grammar loses, and words."""

from __future__ import annotations

import pytest

from gnivo_edu.tasks.answers.symbols import letters, named, word


@pytest.mark.parametrize(
    ("latex", "name"),
    [
        (r"\frac{d p}{d s}", r"\text{D1ps}"),
        (r"\frac{d^{3} p_{1}}{d s^{3}}", r"\text{D3p1s}"),
        (r"\frac{d^2 p}{d s^4}", r"\text{D2of4ofps}"),
        (r"\frac{\partial^2 w}{\partial s^2}", r"\text{Q2ws}"),
        (r"\frac{d}{ds} p", r"\text{D1ps}"),
        ("dp/ds", r"\text{D1ps}"),
        (r"g^{\prime}", r"\text{P1g}"),
        ("g'''", r"\text{P3g}"),
        ("g^{(5)}", r"\text{P5g}"),
        (r"\dfrac{\mathrm{d}p}{\mathrm{d}s}", r"\text{D1ps}"),
        ("E_{2}", r"\text{LetterE}_{2}"),
        ("2d", r"2\text{d}"),
        (r"\int_0^1 x dx", r"\int_0^1 x dx"),
        (r"x_{E}", r"x_{E}"),
        (r"\mathrm{e}", "e "),
        (r"\mathbf{12}", "{12}"),
        (r"\text{km}", r"\text{km}"),
    ],
)
def test_what_would_be_lost_has_a_name(latex: str, name: str) -> None:
    assert named(latex) == name


def test_the_root_of_minus_one_keeps_its_power() -> None:
    assert named("3i^2", imaginary=True) == "3{I}^2"
    assert named(r"x_i + \pi", imaginary=True) == r"x_i + \pi"


def test_a_row_of_capitals_is_a_word_and_a_product_is_none() -> None:
    assert [word(text) for text in ("QRST", r"\text{(odd)}", "xyz", "PV", "Q R S")] == [
        "QRST",
        "odd",
        None,
        None,
        None,
    ]
    assert letters(r"\text{Odd}", like="odd") == "odd"
    assert letters("Q R S T", like="QRST") == "QRST"
