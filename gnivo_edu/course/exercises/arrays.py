"""What the exercises on arrays share: reading what was returned, saying where two arrays differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnivo_edu.course.exercises.base import close, describe, refuse_short

Array = NDArray[np.float64]
Difference = Callable[[Any, Any], str | None]
Axis = tuple[str, int]


def frozen(values: ArrayLike) -> Array:
    """A read-only float64 copy: what stands in a list of arrays cannot be changed by the student's
    function either.

    >>> frozen([1, 2]).flags.writeable
    False
    """
    copy = np.array(values, dtype=np.float64)
    copy.setflags(write=False)
    return copy


def array(value: Any) -> Array:
    """A returned array, number or nested list as float64; ValueError, in words, if it is anything
    else.

    >>> array([1, 2])
    array([1., 2.])
    """
    refuse_short(value)
    try:
        result = np.asarray(value)
    except ValueError:
        raise ValueError(f"expected an array of numbers, got {describe(value)}") from None
    if result.dtype.kind not in "fiu":
        raise ValueError(
            f"expected an array of numbers, got {describe(value)} of type {result.dtype}"
        )
    refuse_short(result)
    return result.astype(np.float64)


def whole_numbers(value: Any) -> Array:
    """A returned array of integers, such as ids that index another; ValueError, in words, if it is
    anything else.

    >>> whole_numbers([1, 2])
    array([1., 2.])
    """
    result = array(value)
    if np.asarray(value).dtype.kind == "f" and result.size:
        raise ValueError(f"expected an array of integers, got {np.asarray(value).dtype}")
    return result


def arrays(value: Any) -> list[Array]:
    """A returned list of arrays, one for each depth; ValueError, in words, if it is anything
    else.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list of arrays, one for each depth, got {describe(value)}")
    return [array(item) for item in value]


def tuple_of(
    what: str, *readers: Callable[[Any], Any], kinds: tuple[type[Any], ...] = (list, tuple)
) -> Callable[[Any], tuple[Any, ...]]:
    """Reads a returned tuple, or another of `kinds`, each part by its own reader; ValueError, in
    words, if it is anything else.

    >>> tuple_of("a pair", array, array)(([1, 2], [3]))
    (array([1., 2.]), array([3.]))
    """

    def parse(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, kinds) or len(value) != len(readers):
            raise ValueError(f"expected {what}, got {describe(value)}")
        return tuple(read(part) for read, part in zip(readers, value, strict=True))

    return parse


def by_entry(*axes: Axis, tolerance: float = 1e-9) -> Difference:
    """How two arrays differ, or None: their shapes, or the first entry that differs. `axes`: names,
    first indices. What is masked in the expected one (`np.ma`) may be anything.

    >>> by_entry(("answer", 0), ("t", 1))(np.zeros((2, 3)), np.eye(2, 3))
    'at answer 0, t = 1: expected 1, got 0 (2 of 6 entries differ)'
    """

    def difference(got: Array, expected: Array) -> str | None:
        if got.shape != np.shape(expected):
            return f"expected {_form(np.shape(expected))}, got {_form(got.shape)}"
        same = np.isclose(got, np.ma.getdata(expected), tolerance, tolerance, equal_nan=True)
        same |= np.ma.getmaskarray(expected)
        if same.all():
            return None
        if got.ndim == 0:
            return f"expected {expected:.10g}, got {got:.10g}"
        index = tuple(int(i) for i in np.argwhere(~same)[0])
        count = f" ({(~same).sum()} of {same.size} entries differ)" if same.size > 1 else ""
        return (
            f"at {_place(index, axes)}: expected {expected[index]:.10g}, got "
            f"{got[index]:.10g}{count}"
        )

    return difference


def by_depth(
    first: int, *axes: Axis, tolerance: float = 1e-9
) -> Callable[[list[Array], list[Array]], str | None]:
    """The same for a list of arrays, one for each depth t = `first`, `first` + 1, ..."""
    compare = by_entry(*axes, tolerance=tolerance)

    def difference(got: list[Array], expected: list[Array]) -> str | None:
        if len(got) != len(expected):
            return f"expected a list of {len(expected)} arrays, got {len(got)} of them"
        for t, pair in enumerate(zip(got, expected, strict=True), start=first):
            problem = compare(*pair)
            if problem:
                return f"t = {t}, {problem}"
        return None

    return difference


def by_part(**comparisons: Difference) -> Difference:
    """How two tuples differ, or None: the name of the first part that does, and how it does.

    >>> by_part(shift=same_number, spread=same_number)((1.0, 2.0), (1.0, 3.0))
    'spread: expected 3, got 2'
    """

    def difference(got: Sequence[Any], expected: Sequence[Any]) -> str | None:
        for name, ours, theirs in zip(comparisons, got, expected, strict=True):
            problem = comparisons[name](ours, theirs)
            if problem:
                return f"{name}: {problem}"
        return None

    return difference


def finite_differences(loss: Callable[[Array], float], at: Array, h: float) -> Array:
    """dL/dx by central differences of the fourth order, of the shape of `at`; exact, but for
    rounding, where L is a parabola.

    >>> finite_differences(lambda x: float(x @ x), np.array([1.0, -2.0]), h=0.5)
    array([ 2., -4.])
    """
    result = np.empty(at.shape)
    for index in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[index] = h
        near, far = (loss(at + k * step) - loss(at - k * step) for k in (1, 2))
        result[index] = (8 * near - far) / (12 * h)
    return result


def _form(shape: tuple[int, ...]) -> str:
    return f"an array of shape {shape}" if shape else "one number"


def _place(index: tuple[int, ...], axes: Sequence[Axis]) -> str:
    if len(index) != len(axes):
        return f"index {index[0] if len(index) == 1 else index}"
    named = zip(axes, index, strict=True)
    return ", ".join(
        f"{name}{' = ' if len(name) == 1 else ' '}{first + i}" for (name, first), i in named
    )


def same_number(got: float, expected: float) -> str | None:
    """How two numbers differ, or None."""
    return None if close(got, expected) else f"expected {expected:.10g}, got {got:.10g}"
