"""Characters and notations become LaTeX of the same meaning; what has no rule stays."""

from __future__ import annotations

import time

import pytest

from gnivo_edu.tasks.answers.text import ascii_latex, clean

WRITINGS = {
    "z⁴ + z₁": "z^{4} + z_{1}",
    "10⁻¹²": "10^{-12}",
    "2³√5": r"2^{3}\sqrt{5}",
    "∜(a+b)": r"\sqrt[4]{a+b}",
    "¹⁄₈": r"\frac{1}{8}",
    "4¼": r"4\frac{1}{4}",
    "−０．５": "-0.5",
    "٤٢": "42",
    "Σ∕σ": r"\Sigma /\sigma",
    "1\u200b2": "12",
    "6\u202f022\u202f140": "6022140",
    r"6\;022": "6022",
    "6'022": "6022",
    r"6\!022": "6022",
    "0.602 214": "0.602214",
    "6 02": "6 02",
    r"6\,02": "6 02",
    r"-\,6\,022": "- 6022",
    r"6\,022/7": "6022/7",
    r"\dot q + \bar 1": r"\dot{q} + \bar{1}",
    "6$7": "6 7",
    r"0.\overline{09}": r"\frac{1}{11}",
    r"-1.\dot{6}": r"-\frac{5}{3}",
    "0.\\dot{2}8571\\dot{4}": r"\frac{2}{7}",
    "0.1̅8̅": r"\frac{2}{11}",
    "0.8333...": r"\frac{5}{6}",
    "2.718...": "2.718...",
    "4 3/8": r"4\frac{3}{8}",
    "7sqrt(x(y+1))": r"7\sqrt{x(y+1)}",
    "tan(3pi)": r"\tan(3\pi)",
    r"\begin{pmatrix} 1 \\ 200 \end{pmatrix}": r"\begin{pmatrix} 1 \\ 200 \end{pmatrix}",
    r"\bigl( 3, 4 \bigr]": "( 3, 4 ]",
    r"\[ 9 \]": "9",
    "**9**": "9",
    "*9": "*9",
    r"9\ ": "9",
    "= 9.": "9",
    "9\\": "9\\",
    "10⁻4": "10^{-4}",
    "⁻9": "-9",
    "{-}9": "-9",
    "\\lbrace 9\\rbrace": r"\{9\}",
    "\\min\\{a,9\\}": r"\min(a,9)",
    "\\sin 9°": r"\sin(\frac{9\pi}{180})",
    "\\cos^2(9^{\\circ})": r"\cos^2(\frac{9\pi}{180})",
    "4{,}500{,}000": "4500000",
}


@pytest.mark.parametrize(("text", "latex"), WRITINGS.items())
def test_a_writing_and_its_latex(text: str, latex: str) -> None:
    assert clean(text) == latex


def test_ascii_comes_back_as_it_is() -> None:
    text = r"\frac{a_1}{b^2} \le ~x' & \% #"
    assert ascii_latex(text) == text


def test_a_long_text_takes_linear_time() -> None:
    start = time.perf_counter()
    for text in ("√1" * 20_000, "1 " * 20_000, "9" * 50_000, "1\u2009000" * 5_000, "sqrt(" * 5_000):
        clean(text)
    assert time.perf_counter() - start < 5
