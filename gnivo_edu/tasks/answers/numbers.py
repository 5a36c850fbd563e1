r"""When two expressions are equal, in place of the two comparisons of math-verify that take what is
tiny for nothing.

math-verify rounds to six decimals and drops what is below 1e-15, so that 1e-400 is 0 for it, and
x plus a part in 1e20 is x. Here a value is compared with its own size.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

DIGITS = 60  # a value is computed to so many
PLACES = 6  # a decimal of so many places may be a rounded value
ROUNDED = 1e-4  # if it agrees to this part of its size too
SAME_DECIMALS = 2e-6  # and where the gold is a decimal as well, to this
EXACT = 1e-14  # decimals that are closer differ by the arithmetic that wrote them
# Expressions with letters are compared where all are above 0, where all are below, and in between.
POINTS = ((9, 11), (-60, -13), (-8, 19))
STEPS = 60


def equal(gold: Any, answer: Any) -> bool | None:
    """Whether two expressions are equal; None where that cannot be computed.

    A percentage is a hundredth of its number. Where the gold is in per cent, or a whole number or
    one above 1 that may have been asked for in per cent, it is its number as well.

    >>> from sympy import Float, Integer, Rational
    >>> equal(Rational(1, 3), Float("0.333333")), equal(Rational(1, 3), Float("0.333"))
    (True, False)
    >>> equal(Integer(0), Integer(10) ** -400), equal(Float("4.6e-24"), Float("4.6e-23"))
    (False, False)
    """
    from sympy import Expr, MatrixBase

    if isinstance(gold, MatrixBase) and isinstance(answer, MatrixBase):
        if gold.shape != answer.shape:
            return False
        verdicts = [equal(a, b) for a, b in zip(gold.flat(), answer.flat(), strict=True)]
        return None if None in verdicts else all(verdicts)
    if not (isinstance(gold, Expr) and isinstance(answer, Expr)):
        return None
    in_gold, in_answer = _per_cent(gold), _per_cent(answer)
    if in_gold is not None and in_answer is not None:
        gold, answer = in_gold, in_answer
    elif in_gold is not None:
        if equal(in_gold, answer):
            return True
        gold = in_gold / 100
    elif in_answer is not None:
        if _may_be_per_cent(gold, in_answer) and equal(gold, in_answer):
            return True
        answer = in_answer / 100
    if gold.free_symbols | answer.free_symbols:
        return _equal_at_points(gold, answer)
    return _equal_numbers(gold, answer)


def contradicts_itself(expression: Any) -> bool:
    """Whether an expression says of two numbers that they are equal, and they are not, as 4 = 5.

    A value that is rounded to a part in a hundred is no contradiction: 36/7 = 5.14.
    """
    from sympy import Basic, Eq

    for equation in expression.atoms(Eq) if isinstance(expression, Basic) else ():
        apart = distance(*equation.args)
        if apart is not None and apart > 0.01 * abs(float(_value(equation.rhs.doit()))):
            return True
    return False


def distance(gold: Any, answer: Any) -> float | None:
    """How far apart two numbers are; None where one of them is none."""
    from sympy import Expr

    if any(not isinstance(side, Expr) or side.free_symbols for side in (gold, answer)):
        return None
    x, y = _value(gold.doit()), _value(answer.doit())
    return None if x is None or y is None else float(abs(x - y))


def _per_cent(expression: Any) -> Any:
    """What is in per cent; None where an expression is not."""
    from sympy import Mul, Rational, UnevaluatedExpr

    hundredth = UnevaluatedExpr(Rational(1, 100))
    if not isinstance(expression, Mul) or hundredth not in expression.args:
        return None
    return Mul(*(factor for factor in expression.args if factor != hundredth))


def _may_be_per_cent(gold: Any, in_answer: Any) -> bool:
    """Whether a gold without a sign may be meant in per cent: a whole one, or one above 1."""
    if gold.is_Integer and in_answer.is_Integer:
        return True
    return bool(gold.is_Number and abs(gold) > 1)


def _value(expression: Any) -> Any:
    """A number to `DIGITS` digits, 0 where it is nothing but rounding; None where there is none."""
    from sympy import I, Integer

    parts = []
    for part in expression.evalf(DIGITS).as_real_imag():
        if not (part.is_Float or part.is_Rational):
            return None
        # sympy gives a zero that it cannot recognise a precision of a few bits.
        parts.append(Integer(0) if part.is_Float and part._prec < 8 else part)
    return parts[0] if parts[1] == 0 else parts[0] + parts[1] * I


def _places(decimal: Any) -> int:
    """How many digits a decimal has behind its point, without zeros at its end."""
    exponent = Decimal(str(decimal)).normalize().as_tuple().exponent
    return max(0, -int(exponent))


def _equal_numbers(gold: Any, answer: Any) -> bool | None:
    from sympy import Float

    decimal = gold.is_Float or answer.is_Float
    x, y = _value(gold), _value(answer)
    if x is None or y is None:
        return None
    apart, size = abs(x - y), max(abs(x), abs(y))
    if apart <= EXACT * size and (gold.has(Float) or answer.has(Float)):
        return True
    if decimal:
        # A decimal may be a rounded fraction or root: 0.333333 is right for 1/3, and 0.0010001,
        # which is none of 1/1000, is not.
        places = min(_places(side) for side in (gold, answer) if side.is_Float)
        part = SAME_DECIMALS if gold.is_Float and answer.is_Float else ROUNDED
        half_a_place = 0.5 * 10.0**-places
        return bool(
            places >= PLACES and apart <= part * size and apart <= half_a_place * (1 + EXACT)
        )
    if gold.has(Float) or answer.has(Float):
        return False
    if apart > size * 10 ** (10 - DIGITS):
        return False
    # Equal to fifty digits: exact where both are whole numbers or fractions.
    difference = gold.doit() - answer.doit()
    return bool(difference == 0) if difference.is_Rational else True


def _equal_at_points(gold: Any, answer: Any) -> bool | None:
    """Whether two expressions with letters agree at some points; None where they have no value."""
    from sympy import Float, Mod, Rational, ceiling, expand, floor

    names = sorted(gold.free_symbols | answer.free_symbols, key=str)
    decimal = gold.has(Float) or answer.has(Float)
    part = 1e-9 if decimal else Rational(1, 10) ** (DIGITS - 15)
    points = [
        [Rational(start + step * i, 7 + i) for i in range(len(names))] for start, step in POINTS
    ]
    if gold.has(floor, ceiling, Mod) or answer.has(floor, ceiling, Mod):
        # Steps may agree between two points: so ask at many whole numbers.
        points += [[n + 17 * i for i in range(len(names))] for n in range(1, STEPS + 1)]
    valued = False
    for point in points:
        x, y = (_value(side.subs(list(zip(names, point, strict=True)))) for side in (gold, answer))
        if x is None or y is None:
            continue
        if abs(x - y) > part * max(abs(x), abs(y)):
            return False
        valued = True
    if valued and not decimal:
        # What is too small for the digits of a point: x + 10^{-400}.
        difference = expand(gold - answer)
        return not (difference.is_Rational and difference != 0)
    return True if valued else None
