r"""Names for what math-verify's grammar would lose: derivatives, primes, the letters E, I, d and
gamma, letters in an upright or bold font, and rows of letters that are words.
"""

from __future__ import annotations

import re

from gnivo_edu.tasks.answers.patterns import GROUP, SUBSCRIPT, TEXT

_OPERAND = rf"(?:\\?[A-Za-z]+(?:\s*{SUBSCRIPT})?(?:\s*\(\s*\w+\s*\))?)"
_ORDER = r"(?:\^\s*\{?\s*(\d)\s*\}?)?"
_QUOTIENT = re.compile(
    rf"\\[dt]?frac\s*\{{\s*(d|\\partial)\s*{_ORDER}\s*((?=[A-Za-z(\\])(?:[^{{}}]|\{{[^{{}}]*\}})+)\}}"
    rf"\s*\{{\s*(?:d|\\partial)\s*(\\?[A-Za-z]+)\s*{_ORDER}\s*\}}"
)
_OPERATOR = re.compile(
    rf"\\[dt]?frac\s*\{{\s*(d|\\partial)\s*{_ORDER}\s*\}}\s*\{{\s*(?:d|\\partial)\s*(\\?[A-Za-z]+)"
    rf"\s*{_ORDER}\s*\}}\s*\(?\s*({_OPERAND})\s*\)?(?![\w^(])"
)
_INLINE = re.compile(
    r"(?<![A-Za-z\\])(d|\\partial)\s?([A-Za-z]|\\[A-Za-z]+)"
    r"\s*/\s*(?:d|\\partial)\s?([A-Za-z]|\\[A-Za-z]+)(?![A-Za-z])"
)
_PRIME = re.compile(
    rf"((?:\\[A-Za-z]+|[A-Za-z])(?:{SUBSCRIPT})?)\s*"
    r"(?:('+)|\^\s*\{?((?:\s*\\prime(?![a-z]))+)\s*\}?"
    r"|\^\s*\{\s*\((\d)\)\s*\})"
)
_TRANSPOSE = re.compile(r"\^\s*(?:T|\{\s*T\s*\})(?![A-Za-z])")
_GROUP = re.compile(GROUP)
_LETTERS = re.compile(
    r"\\(?:text|begin|end|operatorname|mathbb|mathcal)\s*\{[^{}]*\}|[_^]\s*\\text\s*\{[^{}]*\}"
    rf"|{SUBSCRIPT}|\\[A-Za-z]+|\\.|[EId]"
)
_NAMES = {
    "E": r"\text{LetterE}",
    "I": r"\text{LetterI}",
    "d": r"\text{d}",
    r"\gamma": r"\text{Lettergamma}",
    r"\Gamma": r"\text{LetterGamma}",
}


def named(latex: str, imaginary: bool = False) -> str:
    r"""LaTeX in which derivatives and single letters are names of their own.

    `imaginary` makes the letter i the root of -1, which the grammar writes I.

    >>> named(r"\frac{d x}{d t}=k x-a"), named(r"\frac{d^2 x}{d t^2}"), named("y''")
    ('\\text{D1xt}=k x-a', '\\text{D2xt}', '\\text{P2y}')
    >>> named(r"I \omega"), named(r"\gamma^2-1"), named("2+i", imaginary=True)
    ('\\text{LetterI} \\omega', '\\text{Lettergamma}^2-1', '2+{I}')
    """
    latex = _upright(latex)
    latex = _QUOTIENT.sub(lambda m: _derivative(m[1], m[2], m[3], m[4], m[5]), latex)
    latex = _OPERATOR.sub(lambda m: _derivative(m[1], m[2], m[5], m[3], m[4]), latex)
    latex = _INLINE.sub(lambda m: _derivative(m[1], None, m[2], m[3], None), latex)
    latex = _PRIME.sub(_primed, latex)
    differential = re.search(r"\\int|\\frac\s*\{\s*d\s*\}", latex) is not None

    def name(match: re.Match[str]) -> str:
        letter = match[0]
        if letter == "d" and differential:  # of an integral, or of an operator on an expression
            return letter
        return _NAMES.get(letter, letter)

    latex = _LETTERS.sub(name, _TRANSPOSE.sub(r"^{\\text{LetterT}}", latex))
    if imaginary:
        latex = re.sub(
            rf"(\\text\s*\{{[^{{}}]*\}}|\\[A-Za-z]+|{SUBSCRIPT})|i",
            lambda m: m[1] or "{I}",
            latex,
        )
    return latex


def word(text: str) -> str | None:
    r"""The word that a text is, its letters alone; None where it is mathematics.

    A word stands between the braces of \text, or is a row of three capitals or more: an order, an
    acronym, a product that is written without a sign, which its letters in another order are not.

    >>> word(r"\text{Evelyn}"), word("BDAC"), word(r"\text{no solution}"), word("abc"), word("AB")
    ('evelyn', 'BDAC', 'nosolution', None, None)
    """
    text = text.strip().strip("()").rstrip(".")
    inner = re.fullmatch(rf"(?:{TEXT}\s*\{{([A-Za-z\s()'-]*)\}}\s*)+", text)
    if inner is not None:
        letters = re.sub(r"[^A-Za-z]", "", _GROUP.sub(r"\1", text))
        return letters.lower() if len(letters) > 1 else None
    return text if re.fullmatch(r"[A-Z]{3,}", text) else None


def letters(text: str, like: str) -> str:
    """The letters of a text, to be compared with the word `like`."""
    plain = re.sub(r"[^A-Za-z]", "", _GROUP.sub(r"\1", text))
    return plain if like.isupper() else plain.lower()


def _upright(latex: str) -> str:
    r"""Numbers and single letters out of fonts: \mathrm{e} is e, \text{5} is 5, \mathbf{v} is v."""

    def content(match: re.Match[str]) -> str:
        inner = match[1].strip()
        if re.fullmatch(r"[A-Za-z]|\\[A-Za-z]+", inner):
            return f"{inner} "
        number = re.fullmatch(r"(?=.*\d)[\d\s.,+\-*/^()]+", inner)
        return match[0] if number is None else f"{{{inner}}}"

    return _GROUP.sub(content, latex)


def _derivative(
    sign: str, order: str | None, function: str, variable: str, below: str | None
) -> str:
    kind = "D" if sign == "d" else "Q"
    orders = order or "1" if (order or "1") == (below or "1") else f"{order or 1}of{below or 1}of"
    name = re.sub(r"[^A-Za-z0-9]", "", function + variable)
    return rf"\text{{{kind}{orders}{name}}}"


def _primed(match: re.Match[str]) -> str:
    order = match[4] or len(match[2] or "") or match[3].count("\\prime")
    return rf"\text{{P{order}{re.sub(r'[^A-Za-z0-9]', '', match[1])}}}"
