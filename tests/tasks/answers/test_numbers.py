"""Numbers are equal by their own size, and letters at points."""

from __future__ import annotations

import pytest
from sympy import (
    Abs,
    Eq,
    Float,
    I,
    Integer,
    Interval,
    Matrix,
    Rational,
    Symbol,
    cos,
    exp,
    floor,
    pi,
    sin,
    sqrt,
)

from gnivo_edu.tasks.answers.equations import verifier
from gnivo_edu.tasks.answers.numbers import contradicts_itself, distance, equal

X, Y = Symbol("x", real=True), Symbol("y", real=True)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (Rational(2, 3), Float("0.666667")),
        (sqrt(3) / 3, 1 / sqrt(3)),
        (Integer(0), sqrt(2) * sqrt(8) - 4),
        (2 * sin(X) * cos(X), sin(2 * X)),
        (X / 4, Float("0.25") * X),
        (Rational(1, 300), Float("0.0033333")),
        (Float("0.7"), Float("0.1") + Float("0.6")),
        (sqrt(5), Float("2.2360679774997896964")),
        (floor(X / 2), floor((X - 2) / 2) + 1),
        ((1 + I) ** 2, 2 * I),
        (Matrix([[1, sqrt(4)]]), Matrix([[1, 2]])),
    ],
)
def test_equal(gold: object, answer: object) -> None:
    assert equal(gold, answer) is True


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (Rational(2, 3), Float("0.667")),
        (Integer(0), Integer(10) ** -700),
        (Integer(10) ** 90, Integer(10) ** 90 + 1),
        (Float("6.1e-31"), Float("6.2e-31")),
        (Float("0.0000411"), Float("0.0000412")),
        (Integer(0), exp(-2000)),
        (X, X + Rational(1, 10**90)),
        (X, Abs(X)),
        (floor(sqrt(X)), floor(sqrt(X - 1))),
        (X * Y, X + Y),
        (Matrix([[1, 2]]), Matrix([[1], [2]])),
        (pi, Rational(355, 113)),
        (Rational(1, 100), Float("0.0100001")),
        (Float("0.0100001"), Rational(1, 100)),
        (Rational(1, 4096), Float("0.000244")),
        (Float("0.7"), Float("0.7000001")),
        (1 + Rational(1, 10**12), Float("1.0")),
    ],
)
def test_not_equal(gold: object, answer: object) -> None:
    assert equal(gold, answer) is False


def test_how_far_apart() -> None:
    assert distance(Rational(21, 5), Float("4.3")) == pytest.approx(0.1)
    assert distance(X, Integer(1)) is None
    assert distance(Interval(0, 1), Integer(1)) is None


def test_a_false_equation_of_numbers_contradicts_itself() -> None:
    assert contradicts_itself(Eq(Integer(4), Integer(5), evaluate=False))
    assert not contradicts_itself(Eq(Rational(36, 7), Float("5.14"), evaluate=False))
    assert not contradicts_itself(Eq(X, Integer(5), evaluate=False))
    assert not contradicts_itself(Eq(X, Interval(0, 1), evaluate=False))


def test_nobody_elses_math_verify_is_changed() -> None:
    from math_verify import grader

    before = grader.sympy_numeric_eq
    verifier()
    assert grader.sympy_numeric_eq is before
