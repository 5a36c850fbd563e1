r"""From what a model or a data set writes to LaTeX that one parser reads, without losing a sign.

Every rule rewrites one notation into another of the same meaning; what no rule and no parser knows
stays as it is, and the answer is then not read at all. Nothing here imports sympy.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from gnivo_edu.tasks.answers.patterns import DEGREES

_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‒": "-", "‐": "-", "‑": "-", "﹣": "-", "∗": "*", "∕": "/",
    "⁄": "/", "×": r"\times ", "✕": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
    "÷": r"\div ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\neq ",
    "≈": r"\approx ", "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
    "∅": r"\emptyset ", "±": r"\pm ", "∖": r"\setminus ", "°": r"^{\circ}", "º": r"^{\circ}",
    "′": "'", "’": "'", "∣": "|", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ",
    "⌉": r"\rceil ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "ℏ": r"\hbar ", "∂": r"\partial ", "∠": r"\angle ",
    "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ",
}  # fmt: skip
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
_ROOT = re.compile(
    r"(?P<root>[√∛∜])\s*(?:(?P<group>[({])|(?P<radicand>\d+(?:\.\d+)?|\\[A-Za-z]+|[^\W\d_]))"
)
_ACCENTS = "d?dot(?!s)|vec|hat|bar|tilde|overline"
_SPACE = r"(?<!\\)\\[,;: >]|~|\\(?:q?quad|thinspace|enspace)(?![A-Za-z])"
_GROUPED = re.compile(
    r"(?<![\d._^])(?<!(?<!\\),)(?<!\d )(\d{1,3})"
    r"((?:(?:\\!|\\,|\\;|\\:|\\ |~|\s|'|\{\})+\d{3})+)(?![\d'])"
)
_GROUPED_DECIMALS = re.compile(r"(\.\d{3})((?:\s+\d{3})*\s+\d{1,3})(?!\d)")
_REPEATING = re.compile(
    r"(?<![\d.])(?P<whole>\d*)\.(?P<start>\d*)"
    r"(?:\\(?:overline|bar)\s*\{(?P<line>\d+)\}"
    r"|\\dot\s*\{?(?P<first>\d)\}?(?:(?P<between>\d*)\\dot\s*\{?(?P<last>\d)\}?)?"
    r"|\((?P<round>\d+)\))(?!\d)"
)
_DOTS = r"(?:\\[lc]?dots[cbmio]?(?![A-Za-z])|\.\.\.)"
_UNENDING = re.compile(rf"(?<![\d.])(\d*)\.(\d+?)\s*{_DOTS}")
_PERIOD = re.compile(r"(\d+?)\1+$")
_MIXED = re.compile(r"(?<![\d.,/^_{}\\])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d./^])")
_FUNCTION = re.compile(
    r"(?<![A-Za-z\\])(arc(?:sin|cos|tan)|sinh?|cosh?|tanh?|cot|sec|csc|log|ln|exp|sqrt|pi"
    r"|infty|infinity)(?![A-Za-z])"
)
_POWER = re.compile(r"(?<=[\w)}\]])\s*\*\*\s*(?:(-?\d+(?:\.\d+)?)|(?=[-\w({\\]))")
_SIGNED_EXPONENT = re.compile(r"\^\s*([-+]\s*(?:\d+(?:\.\d+)?|\\(?:pi|theta)\b|[A-Za-z]))")
# The sine of degrees; alone, degrees are a unit.
_TURNED = re.compile(
    r"(\\(?:sin|cos|tan|cot|sec|csc)(?:\s*\^\s*(?:\d|\{\s*\d\s*\}))?)\s*(?:[({]\s*)?"
    rf"(\d+(?:\.\d+)?)\s*{DEGREES}(?:\s*[)}}])?(?!\s*[\d.])"
)
_GREEK = (
    r"\\(?:alpha|beta|gamma|delta|epsilon|theta|lambda|mu|nu|pi|rho|sigma|tau|phi|omega)"
    r"(?![A-Za-z])"
)
_ARGUMENT = rf"(?:\{{[^{{}}]*\}}|{_GREEK}|[A-Za-z0-9])"
_BARE_FRACTION = re.compile(
    rf"(\\[dt]?(?:frac|binom))\s*(?=[^\s{{]|\{{[^{{}}]*\}}\s*{_GREEK})({_ARGUMENT})\s*({_ARGUMENT})"
)
_BARE_ROOT = re.compile(r"(\\sqrt\s*\[[^\]]*\])\s*([A-Za-z0-9])")


def clean(text: str) -> str:
    r"""An answer or gold as LaTeX, without what stands around its mathematics: currency and math
    signs, sizes of brackets, a full stop, an equals sign in front.

    Characters beyond ASCII become LaTeX, spaces between thousands go, repeating decimals become
    fractions.

    >>> clean(r"\$32,\!348"), clean("$f(x)=x$,$f(x)=2-x$."), clean(r" \left(1, 2\right) ")
    ('32348', 'f(x)=x,f(x)=2-x', '(1, 2)')
    >>> clean("2√5 − 5²"), clean(r"3\,000"), clean(r"0.1\overline{6}"), clean("2½")
    ('2\\sqrt{5} - 5^{2}', '3000', '\\frac{1}{6}', '2\\frac{1}{2}')
    """
    text = text if text.isascii() else ascii_latex(text)
    text = re.sub(r"\\(?:left|right)\.", "", stripped(text))
    text = re.sub(r"\\([lr])brace(?![A-Za-z])\s?", lambda m: r"\{" if m[1] == "l" else r"\}", text)
    text = re.sub(r"(\\(?:max|min|gcd|lcm))\s*\\\{([^{}]*)\\\}", r"\1(\2)", text)
    text = re.sub(r"\\(?:left|right|[bB]igg?[lrm]?)(?=\s*[\[\]()|/\\])", "", text)
    text = re.sub(rf"\\({_ACCENTS})\s*(\\[A-Za-z]+|[A-Za-z0-9])", r"\\\1{\2}", text)
    text = text.replace(r"\varnothing", r"\emptyset").replace(r"\mid ", "|")
    text = re.sub(r"(?<![A-Za-z\\])m\s*(?=\\angle)", "", text)  # the measure of an angle
    text = re.sub(r"(?<![\^_\w}])\{([-+])\}|(?<![\w)}\]])\^\{([-+])\}", r"\1\2", text)
    text = re.sub(r"\\(?:text)?degrees?(?![A-Za-z])", r"^{\\circ}", text)
    text = re.sub(r"\\(?:displaystyle|textstyle|limits|nolimits)(?![A-Za-z])", "", text)
    text = re.sub(r"^\*\*(.*)\*\*$|^(?:\\\(|\\\[)(.*)(?:\\\)|\\\])$", r"\1\2", text)
    text = re.sub(r"(?<=\w)\\?\$(?=\w)", " ", text)
    text = re.sub(r"\\?\$|[€£¥₹]", "", text)
    text = re.sub(r"(?<=\d)(?:\{,\}|,\\!)\s*(?=\d{3}(?!\d))", "", text)  # between thousands
    text = re.sub(r"\{,\}|,\\!", ",", text)
    text = _GROUPED.sub(_together, text)
    text = re.sub(_SPACE, " ", text.replace("\\!", ""))
    text = _GROUPED_DECIMALS.sub(lambda match: match[1] + re.sub(r"\s", "", match[2]), text)
    text = _REPEATING.sub(_repeating, text)
    text = _UNENDING.sub(_unending, text)
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = _FUNCTION.sub(lambda match: "\\" + match[1].replace("infinity", "infty"), text)
    text = _TURNED.sub(r"\1(\\frac{\2\\pi}{180})", _braced(_round_to_braces(text)))
    return re.sub(r"(?<!\.)\.$", "", text.strip().removeprefix("=")).strip()


def stripped(text: str) -> str:
    r"""A text without the space around it; the space of "\ " at its end is half of a command.

    >>> stripped(" 5 "), stripped("5\\ ")
    ('5', '5\\ ')
    """
    bare = text.strip()
    return f"{bare} " if bare.endswith("\\") and not text.endswith("\\") else bare


def ascii_latex(text: str) -> str:
    r"""Characters beyond ASCII as LaTeX: raised and lowered digits, roots, fractions, minus signs,
    Greek letters, wide and other digits; invisible characters go.

    >>> ascii_latex("x² ≤ ⅔π"), ascii_latex("−５"), ascii_latex("log₂8"), ascii_latex("³√7")
    ('x^{2} \\le \\frac{2}{3}\\pi ', '-5', 'log_{2}8', '\\sqrt[3]{7}')
    """
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = re.sub(
        "((?:\\d\u0305)+)", lambda m: rf"\overline{{{m[0].replace(chr(0x305), '')}}}", text
    )
    text = re.sub("(\\d)\u0307", r"\\dot{\1}", text)
    text = re.sub(r"(?<![\w)}\]])³√", "∛", text)
    text = re.sub(r"(?<![\w)}\]])⁴√", "∜", text)
    pieces: list[tuple[str, str]] = []  # kind of writing, and characters of one kind
    for character in text:
        kind, plain = _plain(character)
        if pieces and kind and pieces[-1][0] == kind:
            plain = pieces.pop()[1] + plain
        pieces.append((kind, plain))
    marks = {"super": "^", "sub": "_"}
    text = "".join(f"{marks[kind]}{{{plain}}}" if kind else plain for kind, plain in pieces)
    text = re.sub(r"\^\{(\d+)\}/_\{(\d+)\}", r"\\frac{\1}{\2}", text)
    return _ROOT.sub(
        lambda m: _ROOTS[m["root"]] + (m["group"] or f"{{{m['radicand']}}}"),  # \sqrt( is for later
        text,
    )


def _plain(character: str) -> tuple[str, str]:
    """A character as LaTeX, and "super" or "sub" where it is written above or below the line."""
    if character.isascii() or character in _ROOTS:
        return "", character
    if character in _SIGNS:
        return "", _SIGNS[character]
    kind = unicodedata.decomposition(character).partition(">")[0].removeprefix("<")
    plain = unicodedata.normalize("NFKC", character)
    if kind == "fraction" and re.fullmatch(r"\d+⁄\d+", plain):
        upper, _, lower = plain.partition("⁄")
        return "", rf"\frac{{{upper}}}{{{lower}}}"
    plain = "".join(_SIGNS.get(c, _letter(c)) for c in plain)
    return (kind, plain) if kind in ("super", "sub") else ("", plain)


def _letter(character: str) -> str:
    """Any script's digit as 0 to 9, and a Greek letter as its command."""
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.digit(character))
    match = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(character, ""))
    if match is None:
        return character
    name = match[2].replace("LAMDA", "LAMBDA").replace("FINAL SIGMA", "SIGMA")
    return "\\" + (name.lower() if match[1] == "SMALL" else name.capitalize()) + " "


def _together(match: re.Match[str]) -> str:
    """Thousands without the spaces between them; 5 123/500 may be a mixed number."""
    if match.string[match.end() : match.end() + 1] == "/" and match[2].startswith(" "):
        return match[0]
    return match[1] + re.sub(r"\D", "", match[2])


def _repeating(match: re.Match[str]) -> str:
    """A decimal with a repeating part as a fraction."""
    block = match["line"] or match["round"]
    block = block or match["first"] + (match["between"] or "") + (match["last"] or "")
    return _fraction(match["whole"], match["start"], block)


def _unending(match: re.Match[str]) -> str:
    """0.333... as 1/3; digits that show no period stay, and are not read."""
    period = _PERIOD.search(match[2])
    if period is None:
        return match[0]
    return _fraction(match[1], match[2][: period.start()], period[1])


def _fraction(whole: str, start: str, block: str) -> str:
    scale = 10 ** len(start)
    value = Fraction(int(whole + start or "0"), scale)
    value += Fraction(int(block), (10 ** len(block) - 1) * scale)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _braced(text: str) -> str:
    r"""Braces where LaTeX needs none and the parser does: 10^-3, \frac\pi6, \sqrt[3]2, and 2**n."""
    text = power_signs(text)
    text = re.sub(r"\^\{([-+])\}\s*(\d+)", r"^{\1\2}", text)  # 10⁻3
    text = _SIGNED_EXPONENT.sub(r"^{\1}", text)
    text = _BARE_FRACTION.sub(_fraction_in_braces, text)
    return _BARE_ROOT.sub(r"\1{\2}", text)


def power_signs(text: str) -> str:
    """The power sign of programs as that of mathematics.

    >>> power_signs("2**10"), power_signs("x ** n"), power_signs("**18**")
    ('2^{10}', 'x^n', '**18**')
    """
    return _POWER.sub(lambda match: f"^{{{match[1]}}}" if match[1] else "^", text)


def _fraction_in_braces(match: re.Match[str]) -> str:
    upper, lower = (part.removeprefix("{").removesuffix("}") for part in match.groups()[1:])
    return rf"{match[1]}{{{upper}}}{{{lower}}}"


def _round_to_braces(text: str) -> str:
    r"""\sqrt(2) as \sqrt{2}: the parser reads no other argument."""
    roots = {m.end() - 1 for m in re.finditer(r"\\sqrt\s*(?:\[[^\]]*\])?\s*\(", text)}
    characters, opened = list(text), []
    for position, character in enumerate(text if roots else ""):
        if character == "(":
            opened.append(position)
        elif character == ")" and opened and (start := opened.pop()) in roots:
            characters[start], characters[position] = "{", "}"
    return "".join(characters)
