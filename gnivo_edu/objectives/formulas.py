"""Formulas that can be read, filled in and computed: lines such as `A = (R - mean_R)/std_R` over
named numbers. The page of a run writes them out for one token, and computes them again.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

SIGNAL = "signal"  # what the last line of a sheet is called
_OPERATORS: dict[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def kept(A: Tensor, u: Tensor, low: Tensor, high: Tensor, dual: Tensor) -> Tensor:
    """1 where a clip lets the gradient of - u A through, else 0: where A >= 0 up to `high`, where
    A < 0 from `low` on, and up to `dual`.

    >>> one = torch.tensor(1.0)
    >>> [float(kept(A, 2 * one, 0.8 * one, 1.2 * one, 10 * one)) for A in (one, -one)]
    [0.0, 1.0]
    """
    return torch.where(A >= 0, u <= high, (u >= low) & (u <= dual)).to(u.dtype)


# The page computes with these as well: `compute` in its script.
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "exp": torch.exp,
    "sqrt": torch.sqrt,
    "min": torch.minimum,
    "max": torch.maximum,
    "sigma": torch.sigmoid,
    "kept": kept,
}


def evaluate(expression: str, numbers: Mapping[str, Tensor]) -> Tensor:
    """The value of an expression over named numbers: + - * /, brackets, and `FUNCTIONS`.

    >>> evaluate("(R - 1)/exp(x)", {"R": torch.tensor(3.0), "x": torch.tensor(0.0)})
    tensor(2., dtype=torch.float64)
    """

    def of(node: ast.AST) -> Tensor:
        match node:
            case ast.Constant(value=int() | float() as value):
                return torch.tensor(float(value), dtype=torch.float64)
            case ast.Name(id=name):
                return numbers[name]
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -of(inner)
            case ast.BinOp(left=left, op=kind, right=right):
                return _OPERATORS[type(kind)](of(left), of(right))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return FUNCTIONS[name](*map(of, arguments))
        raise ValueError(f"no formula: {ast.unparse(node)}")

    return of(ast.parse(expression, mode="eval").body)


@dataclass(frozen=True)
class Line:
    """`symbol` = `expression`; `words` say what it is."""

    symbol: str
    expression: str
    words: str


@dataclass
class Sheet:
    """The formula of an objective for every token of a batch at once.

    `numbers`: float64, [], [N], [N, K], or [N, K, T], by symbol, with what they are in `words`;
    `lines`: from top to bottom, the last one the signal of a token, - dL/d `scored`, by default of
    its log-probability: what the update does to it, loss per nat, positive where it becomes more
    likely.
    """

    scored: str = "policy_logps"
    numbers: dict[str, Tensor] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)

    def number(self, symbol: str, value: Any, words: str) -> None:
        """Name a number."""
        self.numbers[symbol] = torch.as_tensor(value, dtype=torch.float64).detach()
        self.words[symbol] = words

    def line(self, symbol: str, expression: str, words: str) -> None:
        """Name what an expression gives."""
        self.lines.append(Line(symbol, expression, words))

    def values(self, shape: tuple[int, int, int]) -> dict[str, Float[Tensor, "N K T"]]:
        """All numbers and the values of all lines, as [N, K, T], by symbol."""
        known = {name: expanded(x, shape) for name, x in self.numbers.items()}
        for line in self.lines:
            known[line.symbol] = evaluate(line.expression, known).expand(shape)
        return known


def expanded(x: Tensor, shape: tuple[int, int, int]) -> Float[Tensor, "N K T"]:
    """A number of the batch, of each prompt, of each answer or of each token, at every token."""
    return x.reshape(*x.shape, *[1] * (3 - x.dim())).expand(shape)
