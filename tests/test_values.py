"""Values have the type of the parameter that they set, or are refused in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest

from gnivo_edu.values import convert, convert_options, option_kinds


@pytest.mark.parametrize(
    ("value", "kind", "meant"),
    [
        (3, int, 3),
        (3.0, int, 3),
        ("4", int, 4),
        ("1e3", int, 1000),
        (2**62 + 1, int, 2**62 + 1),
        (1, float, 1.0),
        ("1e-3", float, 0.001),
        (False, bool, False),
        (0, bool, False),
        (None, int | None, None),
        (False, bool | None, False),
        ("raw", Literal["raw", "softmax"], "raw"),
        ("###", Sequence[str], ["###"]),
        ("###", tuple[str, ...], ("###",)),
        (["a", "b"], tuple[str, ...], ("a", "b")),
        ([1.0, 2], Sequence[int], [1, 2]),
        ({"a": 1}, Mapping[str, Any] | None, {"a": 1}),
        ("line", str | Callable[[str], int], "line"),
        (2, int | float, 2),
        ([[1]], Any, [[1]]),
    ],
)
def test_a_value_that_fits_has_the_type_that_is_meant(value: Any, kind: Any, meant: Any) -> None:
    got = convert("x", value, kind)
    assert got == meant
    assert type(got) is type(meant)


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [
        (True, int, "x must be a whole number, got True"),
        (False, float | None, "x must be a number, got False"),
        (True, str, "x must be text, got True"),
        ("False", bool | None, "x must be true or false, got 'False'"),
        (2, bool, "x must be true or false, got 2"),
        (2.5, int, "x must be a whole number, got 2.5"),
        (float("nan"), int, "x must be a whole number, got nan"),
        (1e30, int, "x must be below 2^63, got 1e+30"),
        pytest.param(10**5000, float, "x must be a number, got a number of", id="huge"),
        ("x", int, "x must be a whole number, got 'x'"),
        (5, str | Callable[[str], int], "x must be text, got 5"),
        (5, Sequence[str] | None, "x must be a list, got 5"),
        ("5", Sequence[int], "x must be a list, got '5'"),
        ([1], Sequence[str] | None, "the entries of x must be text, got 1"),
        ([True], Sequence[int], "the entries of x must be a whole number, got True"),
        ({1: 2}, dict[str, Any], "the entries of x have names, got 1"),
        ("a", Mapping[str, Any] | None, "x must be a group of entries, got 'a'"),
        ("b", Literal["raw", "softmax"], "x must be one of raw, softmax, got 'b'"),
        (3, np.random.Generator, "x cannot be written: it is set in Python code, got 3"),
        ("\x1b[31m{", int, r"x must be a whole number, got '\x1b[31m{'"),
    ],
)
def test_a_value_of_another_type_is_one_line(value: Any, kind: Any, says: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # compared to the letter below
        convert("x", value, kind)
    assert str(error.value).startswith(says)
    assert str(error.value).isprintable()


def test_what_only_code_can_pass_is_left_alone() -> None:
    array = np.arange(2)
    assert convert("x", array, Sequence[str]) is array
    assert convert("x", len, str | Callable[..., Any]) is len
    assert convert("x", np.int64(3), int) == 3


def test_the_options_of_a_function_are_those_with_a_default() -> None:
    def boil(eggs: int, minutes: float = 4, *, salt: bool) -> None: ...

    class Pot:
        def __init__(self, size: int = 3) -> None: ...

    class Large(Pot):
        pass

    assert option_kinds(boil) == {"minutes": float, "salt": bool}
    assert option_kinds(partial(boil, 3)) == {"minutes": float, "salt": bool}
    assert option_kinds(Pot) == option_kinds(Large) == {"size": int}
    assert convert_options("the pot", {"salt": 1, "size": 2.0}, [Pot, boil]) == {
        "salt": True,
        "size": 2,
    }
    with pytest.raises(ValueError, match="the pot has no option 'eggs'; known: minutes, salt"):
        convert_options("the pot", {"eggs": 1}, [boil])


def test_a_function_that_takes_anything_is_given_anything() -> None:
    def anything(size: int = 3, **more: Any) -> None: ...

    def unknowable(size: "Nowhere" = 3) -> None: ...  # noqa: F821, UP037  # no such name

    assert convert_options("it", {"size": 4.0, "b": "c"}, [anything]) == {"size": 4, "b": "c"}
    assert convert_options("it", {"size": "4"}, [unknowable]) == {"size": "4"}


def test_only_the_standard_library_is_imported() -> None:
    code = "import sys, gnivo_edu.values; print({'numpy', 'torch', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
