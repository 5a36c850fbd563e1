r"""What equations, lists and named values say, where math-verify takes one for another.

Of x = 5 the value 5 is an answer by itself, for x is only a name. Of x^2 = 5 it is not.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from gnivo_edu.tasks.answers.numbers import equal

_LETTERS_OF_A_VALUE = 1  # PV = nRT is a law, AB = 2r a length


def guarded(compare: Callable[..., bool]) -> Callable[..., bool]:
    """math-verify's comparison of two expressions, without its cutting of any equation to its right
    side, and with values that are compared by their names, or in the order of the gold.
    """

    def same(gold: Any, answer: Any, *more: Any) -> bool:
        if is_equation(answer) and not is_equation(gold) and not _gives_value(answer):
            return False
        values = _named_values(gold)
        if values is not None:
            others = _named_values(answer)
            if others is not None and others.keys() == values.keys():
                return all(compare(values[name], others[name], *more) for name in values)
            items = _items(answer)
            if others is None and items is not None and len(items) == len(values):
                pairs = zip(values.values(), items, strict=True)
                return all(compare(value, item, *more) for value, item in pairs)
        if _is_graph(gold, answer) or _is_graph(answer, gold):
            gold, answer = gold.rhs, answer.rhs
        return compare(gold, answer, *more)

    return same


def _is_graph(function: Any, equation: Any) -> bool:
    """Whether one side is f(x) = ..., and the other the same with y."""
    from sympy import Eq, Symbol
    from sympy.core.function import AppliedUndef

    if not (isinstance(function, Eq) and isinstance(equation, Eq)):
        return False
    name, y = function.lhs, equation.lhs
    of_a_letter = isinstance(name, AppliedUndef) and all(isinstance(a, Symbol) for a in name.args)
    return of_a_letter and str(y) == "y" and y not in equation.rhs.free_symbols | name.free_symbols


def equally_often(gold: Any, answer: Any) -> bool:
    """Whether what is said more than once is said as often in both of two equal lists.

    >>> from gnivo_edu.tasks.answers.reading import read
    >>> texts = ("1,2,2", "2,1,2", "1,1,2", "1,2")
    >>> [equally_often(read("1,2,2").expression, read(text).expression) for text in texts]
    [True, True, False, False]
    """
    lists = [_listed(gold), _listed(answer)]
    if len(lists[0]) == len(lists[1]) == 1:
        return True
    if len(lists[0]) == len(lists[1]) and all(len(set(items)) == len(items) for items in lists):
        return True

    def times(item: Any, items: list[Any]) -> int:
        return sum(item == other or equal(item, other) is True for other in items)

    repeated = [item for items in lists for item in items if times(item, items) > 1]
    return all(times(item, lists[0]) == times(item, lists[1]) for item in repeated)


def _listed(expression: Any) -> list[Any]:
    """The members of a list, the value in place of a named one; of anything else itself."""
    from sympy import FiniteSet

    expression = _value(expression)
    items = parts_of(expression) if isinstance(expression, FiniteSet) else [expression]
    return [_value(item) for item in items]


def _value(expression: Any) -> Any:
    """What a name is said to be; of anything else itself."""
    return _sides(expression)[-1] if is_assignment(expression) else expression


def same_residue(gold: Any, answer: Any, modulus: int) -> bool:
    """Whether two whole numbers, or names of the same letter for such, differ by a multiple.

    >>> from sympy import Integer
    >>> same_residue(Integer(7), Integer(19), 12), same_residue(Integer(7), Integer(8), 12)
    (True, False)
    """
    names = [_sides(side)[0] for side in (gold, answer) if is_assignment(side)]
    values = [_value(side) for side in (gold, answer)]
    if len(set(names)) > 1 or not all(getattr(value, "is_Integer", False) for value in values):
        return False
    return bool((values[0] - values[1]) % modulus == 0)


def is_equation(expression: Any) -> bool:
    """Whether an expression is an equation or a chain of them."""
    from sympy import And, Eq

    if isinstance(expression, And):
        return all(isinstance(part, Eq) for part in parts_of(expression))
    return isinstance(expression, Eq)


def is_assignment(expression: Any) -> bool:
    """Whether an equation, or a chain of them, gives a name its value, or computes a number.

    >>> from gnivo_edu.tasks.answers.reading import read
    >>> texts = ("x=5", "f(x)=x+1", "AB=5", "2+3=5", "x^2=5", "xy=1", "x=6-x", "PV=nRT")
    >>> [is_assignment(read(text).expression) for text in texts]
    [True, True, True, True, False, False, False, False]
    """
    if not is_equation(expression):
        return False
    sides = _sides(expression)
    return _is_name(sides[0], sides[-1]) or all(not side.free_symbols for side in sides)


def _gives_value(equation: Any) -> bool:
    """Whether the last side of an answer's equation is what it says: the value of a name, of an
    arithmetic, or of an expression that is the same in any case.
    """
    if is_assignment(equation):
        return True
    first, *middle, last = _sides(equation)
    # m+n = 3+7 = 10 computes what was asked for.
    if middle and not any(side.free_symbols for side in (*middle, last)):
        return not any(side.is_Number for side in middle)
    return equal(first, last) is True


def _is_name(side: Any, value: Any) -> bool:
    from sympy import Abs, Add, Derivative, Integral, Limit, Mul, Pow, Product, Sum, Symbol, Tuple
    from sympy.core.function import AppliedUndef

    if isinstance(side, Symbol):
        return side not in value.free_symbols
    if isinstance(side, Pow) and side.exp == -1:  # an inverse function
        side = side.base
        return isinstance(side, AppliedUndef)
    if isinstance(side, AppliedUndef | Derivative | Integral | Limit | Product | Sum | Tuple):
        return True
    factors = Mul.make_args(side.args[0] if isinstance(side, Abs) else side)
    # f(g(x)) and f(x+1), which the grammar takes for products.
    if any(isinstance(factor, AppliedUndef | Add) for factor in factors) and len(factors) > 1:
        rest = [factor for factor in factors if not isinstance(factor, AppliedUndef | Add)]
        return bool(rest) and all(str(factor) in ("f", "g", "h") for factor in rest)
    # Points name a length or an angle: AB, |AB|, \angle ABC.
    names = [factor.name if isinstance(factor, Symbol) else "" for factor in factors]
    points = all(name.isupper() or name in ("angle", "triangle") for name in names)
    return points and len(value.free_symbols) <= _LETTERS_OF_A_VALUE


def parts_of(relation: Any) -> Sequence[Any]:
    """The parts of a chain, a set or a pair, in the order in which they are written."""
    parts: Sequence[Any] = getattr(relation, "_unsorted_args", None) or relation.args
    return parts


def _sides(equation: Any) -> list[Any]:
    from sympy import And

    chain = parts_of(equation) if isinstance(equation, And) else [equation]
    return [chain[0].lhs, *(part.rhs for part in chain)]


def _items(expression: Any) -> list[Any] | None:
    """The members of a pair or a list without names; None where it is neither."""
    from sympy import FiniteSet, Interval, Tuple
    from sympy.core.relational import Relational

    if isinstance(expression, Interval):
        return [expression.start, expression.end] if expression.is_open else None
    if not isinstance(expression, Tuple | FiniteSet):
        return None
    items = list(parts_of(expression))
    return None if any(isinstance(item, Relational) for item in items) else items


def _named_values(expression: Any) -> dict[Any, Any] | None:
    """Names and their values, in the order of the text: of x=5, y=7 and of (x,y)=(5,7); None where
    they are not two or more, or one name has two values.
    """
    from sympy import Eq, FiniteSet, Symbol, Tuple

    if isinstance(expression, Eq) and isinstance(expression.lhs, Tuple):
        names, values = list(expression.lhs), _items(expression.rhs)
    elif isinstance(expression, Tuple | FiniteSet):
        equations = parts_of(expression)
        if not all(isinstance(part, Eq) for part in equations):
            return None
        names, values = [e.lhs for e in equations], [e.rhs for e in equations]
    else:
        return None
    named = len(set(names)) == len(names) > 1 and all(isinstance(n, Symbol) for n in names)
    if not named or values is None or len(values) != len(names):
        return None
    return dict(zip(names, values, strict=True))


@functools.cache
def verifier() -> Callable[..., bool]:
    """math-verify's `verify`, with our comparison of numbers wherever it compares two, as in sets,
    and with letters that keep their case.

    A copy of its module of our own is changed, so that nobody else's is.
    """
    spec = importlib.util.find_spec("math_verify.grader")
    if spec is None or spec.loader is None:
        raise ImportError("math_verify has no module grader")
    grader: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(grader)
    simplified, solve = grader.sympy_symbolic_eq, grader.solve

    def same(gold: Any, answer: Any, *precision: int) -> bool:
        verdict = equal(gold, answer)
        return bool(simplified(gold, answer)) if verdict is None else verdict

    def solutions(relation: Any, *names: Any) -> Any:
        solved = solve(relation, *names)
        if not solved:  # two equations without a solution are not the same one
            raise ValueError("no solution")
        return solved

    grader.solve = solutions
    grader.sympy_numeric_eq = grader.sympy_compare_symbols = same
    grader.sympy_symbolic_eq = lambda gold, answer: False  # `same` has asked already
    grader.is_assignment_relation = is_assignment
    grader.sympy_expr_eq = guarded(grader.sympy_expr_eq)
    verify: Callable[..., bool] = grader.verify
    return verify
