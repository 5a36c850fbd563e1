r"""From the text of an answer to sympy, whole or not at all.

math-verify's `parse` takes a number out of a text that its grammar does not read. So its grammar is
called here without that search, letters keep their case, and what the grammar would drop without a
word is refused first.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

from gnivo_edu.tasks.answers.patterns import DEGREES
from gnivo_edu.tasks.answers.symbols import named
from gnivo_edu.tasks.answers.text import clean
from gnivo_edu.tasks.answers.units import magnitude, per_cent, without_unit

_FRAMES = re.compile(r"\\(?:(?:boxed|fbox|underline)\s*(?=\{)|(?:bf|it|rm)(?![A-Za-z]))")
_SCIENTIFIC = re.compile(r"(?<![\w\\.])(\d+(?:\.\d*)?|\.\d+)[eE]([+-]?\d+)(?![\w.])")
_BARE_POINT = re.compile(r"(?<=\d)\.(?=\s*[-+*/^=,;)\]}])")
_PLAIN = re.compile(r"[+-]?\s*(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[+-]?\s*\.\d+")
_ARGUMENTS = re.compile(
    r"\\(?:[dtc]?frac|binom)\s*(?:\d|\{[^{}]*\})\s*(?:\d+|\{[^{}]*\})"
    r"|\\[A-Za-z]+\s*(?:\[[^\]]*\])?(?:\s*\{[^{}]*\})+|[_^]\s*(?:\{[^{}]*\}|\w)"
)
# What the grammar drops without a word: dots, quotes, one of two numbers side by side, and the
# subscript of a number, which is a base where it stands behind a whole answer.
_DROPPED = re.compile(r"\\[lc]?dots|\.\.\.|['\"`#?]|\\infty\s*\]|\[\s*-\s*\\infty")
_SIDE_BY_SIDE = re.compile(r"\d[\s{}]+\d")
_SUBSCRIPT = re.compile(r"(?<!\^)\d\s*_")
_NUMERAL = re.compile(r"[-+]?\s*[\d.,]+\s*_\s*(?:\d+|\{\s*\d+\s*\})")
_COMMAND = re.compile(r"(?<!\\)(?:\\\\)*\\([A-Za-z]+)")
# The lexer takes a command that it does not know for one that it knows and letters: \pmod is \pm.
_KNOWN = """
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi
omicron pi varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta
Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega hbar ell mho nabla partial prime imath jmath wp
eth infty frac dfrac tfrac cfrac binom dbinom tbinom choose over sqrt surd overline bar vec
overrightarrow hat tilde widetilde dot ddot acute grave breve check mathring text textbf textit
textrm textnormal textsf mbox mathrm mathbf mathit mathsf mathcal mathbb mathfrak mathscr mathtt
operatorname bm boldsymbol sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan arccot
arcsec arccsc arsinh arcosh artanh arcsinh arccosh arctanh log ln exp lim sum prod int det gcd
lcm max min floor ceil lfloor rfloor lceil rceil langle rangle lbrace rbrace lbrack rbrack lvert
rvert vert lgroup rgroup cdot times div pm mp circ le leq leqslant lt ge geq geqslant gt ne neq
approx in notin cup cap setminus subseteq supseteq emptyset varnothing complement angle
measuredangle triangle to rightarrow left right begin end quad qquad displaystyle Re Im
"""
_COMMANDS = frozenset(_KNOWN.split())
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}(?:\s+[A-Za-z]{2,}){2,}")
# The left side of S_{\max} = 5 or \angle ABC = 90: a name, which the grammar need not read.
_NAME = re.compile(
    r"(?:[A-Za-z\s()|,_{}]|\\(?:angle|triangle|text|mathrm|mathbb|operatorname|max|min|overline|vec"
    r"|left|right|cap|cup|mid|[lr]?vert|Pr|det)(?![A-Za-z]))+"
)
_LEFT_WORDS = re.compile(
    r"^(?:[A-Z][a-z]{2,}|(?=[a-z]*[aeiou])[a-z]{4,})(?:\s+[A-Za-z]{2,})*(?=\s*=(?!=))"
)
_AND = re.compile(r"(?<=[\w)}\]])(?:\s*,)?\s+(?:and|\\text\s*\{\s*and\s*\})\s+(?=[-\w(\\])")
_CONGRUENCE = re.compile(
    r"(?P<value>(?=.*\d)[^()]*?)\s*(?P<round>\(\s*)?"
    r"(?:\\(?:pmod|pod|bmod|mod)|\\text\s*\{\s*mod\s*\}|(?<![A-Za-z])mod(?![A-Za-z]))"
    r"\s*(?:\{\s*(?P<braced>\d+)\s*\}|(?P<bare>\d+))\s*\)?"
)
_ROW = re.compile(r"[1-9]\d\d(?:,[1-9]\d\d){2,}")
_DEGREES_OF_A_FUNCTION = re.compile(rf"\\(?:sin|cos|tan|cot|sec|csc|pi)(?![a-z]).*{DEGREES}")
_RATIO = re.compile(r"\d+(?:\.\d+)?(?:\s*:\s*\d+(?:\.\d+)?){2,}")


@dataclass(frozen=True)
class Reading:
    """LaTeX of an answer, what it says (None where it cannot be read), the name and the power of
    its unit, and the modulus of a congruence.
    """

    latex: str
    expression: Any
    unit: str = ""
    unit_power: str = ""
    modulus: str = ""


def read(
    text: str,
    scientific: bool = True,
    unit: str | None = None,
    imaginary: bool = False,
    rows: bool = True,
) -> Reading:
    r"""What a text says. With `scientific`, 3e6 is three million and not 3*e*6; `unit` may follow;
    with `imaginary`, the letter i is the root of -1; with `rows`, 153,370,371 are three numbers
    and not one in thousands.

    >>> read("3e6").expression, read("5 6").expression, read(r"\neq 5").expression
    (3*10**6, None, None)
    """
    latex = per_cent(_FRAMES.sub("", clean(text)))
    latex, unit_name, power = without_unit(magnitude(_BARE_POINT.sub("", latex)), unit)
    latex, modulus = _without_modulus(latex)
    if scientific:
        latex = _SCIENTIFIC.sub(lambda m: rf"{m[1]} \times 10^{{{int(m[2])}}}", latex)
    latex = re.sub(r"\(\s*(\d+)\s*\)\s*(?=_)", r"\1", latex)  # (52)_8 is no permutation
    latex = re.sub(r"^(['\"`])(.*)\1$", r"\2", latex.strip()).strip()
    latex = _AND.sub(r" \\text{ and } ", latex)
    latex = re.sub(r"(?<=[\w)}\]])\s*\\approx(?![A-Za-z])", "=", latex)
    if rows and _ROW.fullmatch(latex):
        latex = latex.replace(",", ", ")
    whole = _LEFT_WORDS.sub(lambda m: rf"\text{{{re.sub(r'[^A-Za-z]', '', m[0])}}}", latex)
    return Reading(latex, _expression(named(whole, imaginary)), unit_name, power, modulus)


def _without_modulus(latex: str) -> tuple[str, str]:
    r"""A congruence as an equation, and its modulus ("" where there is none).

    >>> _without_modulus(r"x \equiv 7 \pmod{12}"), _without_modulus("7 (mod 12)")
    (('x = 7', '12'), ('7', '12'))
    >>> _without_modulus(r"17 \bmod 5")  # a remainder
    ('2', '5')
    """
    match = _CONGRUENCE.fullmatch(latex.strip())
    if match is None:
        return latex, ""
    value, modulus = match["value"].strip(), match["braced"] or match["bare"]
    operation = match["round"] is None and r"\pmod" not in latex
    if operation and re.fullmatch(r"-?\d+", value) and int(modulus):
        value = str(int(value) % int(modulus))
    return value.replace(r"\equiv", "="), modulus


@functools.lru_cache(4096)
def _expression(latex: str) -> Any:
    """The sympy expression of LaTeX; None where any of it is not read."""
    if _PLAIN.fullmatch(latex):
        return _number(latex)
    if latex.endswith(r"\%") and not re.fullmatch(r"[-+]?\s*[\d.,]+\s*\\%", latex):
        body = latex.removesuffix(r"\%").strip()
        return None if body.endswith("%") else _hundredth(_expression(body))
    if _RATIO.fullmatch(latex):
        return _ratio(latex)
    if _loses(latex):
        return None
    parts = re.split(r"(?<![\\<>!])=", latex)
    single = not re.search("[,;]", latex)
    for candidate in [latex, parts[-1]] if single and len(parts) > 1 else [latex]:
        # Of a chain of equations, or of a name and its value, the last part is the answer.
        if candidate is latex or len(parts) > 2 or _NAME.fullmatch(parts[0]):
            expression = _parse(candidate)
            if expression is not None:
                return expression
    return None


def _loses(latex: str) -> bool:
    """Whether the grammar would read only a part."""
    bare, before = latex, ""
    while bare != before:
        bare, before = _ARGUMENTS.sub(";", bare), bare
    return bool(
        _DROPPED.search(latex)
        or _DEGREES_OF_A_FUNCTION.search(latex)
        or not _COMMANDS.issuperset(_COMMAND.findall(latex))
        or _SIDE_BY_SIDE.search(bare)
        or _PROSE.search(bare)
        or (_SUBSCRIPT.search(latex) and not _NUMERAL.fullmatch(latex))
    )


def _number(text: str) -> Any:
    from sympy import Float, Integer

    digits = re.sub(r"[\s,]", "", text)
    return Float(digits) if "." in digits else Integer(digits)


def _ratio(text: str) -> Any:
    """A ratio of three or more, by its first number that is not 0: 2:4:6 is 1:2:3."""
    from sympy import Rational, Symbol, Tuple

    numbers = [Rational(part.strip()) for part in text.split(":")]
    scale = next((number for number in numbers if number), Rational(1))
    return Tuple(Symbol("ratio"), *(number / scale for number in numbers))


def _hundredth(expression: Any) -> Any:
    """An expression in per cent, in the form that math-verify gives it."""
    from sympy import Mul, Rational, UnevaluatedExpr

    if expression is None:
        return None
    return Mul(expression, UnevaluatedExpr(Rational(1, 100)), evaluate=False)


def _parse(latex: str) -> Any:
    """What math-verify's grammar reads, without its search for a part that it can read."""
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
    from latex2sympy2_extended.math_normalization import NormalizationConfig
    from sympy import Basic, Derivative, MatrixBase, nan, zoo

    normalization = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
    )
    try:
        expression = latex2sympy(
            latex,
            is_real=True,
            normalization_config=normalization,
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
    except RecursionError:
        raise
    except Exception:  # the grammar has errors of many kinds
        return None
    if not isinstance(expression, Basic | MatrixBase) or expression.has(zoo, nan):
        return None
    for derivative in expression.atoms(Derivative) if isinstance(expression, Basic) else ():
        # sympy takes whatever does not contain the variable for a constant.
        if not derivative.expr.has(*derivative.variables):
            return None
    return expression
