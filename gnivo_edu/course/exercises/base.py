"""What an exercise is, and how an answer to it is checked and a known mistake named."""

from __future__ import annotations

import functools
import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gnivo_edu.course.exercises.listing import listing

Function = Callable[..., Any]
# What Python says of a call with other arguments than a function takes.
MISFIT = (
    r"takes .*positional argument|required (positional|keyword-only) argument|takes no arguments"
)


class CheckFailed(AssertionError):
    """An answer that does not hold: what was compared, where, expected and got, and the usual
    cause.
    """

    def _render_traceback_(self) -> list[str]:
        # A notebook shows this instead of a traceback through the library.
        return [f"CheckFailed: {self}"]


class NothingYet(CheckFailed):
    """There is no answer yet: the very first case got None or NotImplementedError."""


@dataclass(frozen=True)
class Case:
    """One question put to the student's function: where it stands, its arguments, the value it must
    give, and the exception that it may raise instead.
    """

    where: str
    arguments: tuple[Any, ...]
    expected: Any
    refusal: type[Exception] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a function did: `value`, or the exception it raised."""

    value: Any = None
    error: Exception | None = None


@dataclass(eq=False)
class Exercise:
    """A statement, a reference solution, known wrong answers, hints, and the cases that tell them
    apart.

    Call it with the student's function: it prints one line, or raises `CheckFailed`. `gives` says
    in a sentence what that function returns.
    `wrong_answers` maps the name of a mistake to a function that makes it, whose docstring
    completes "this is what you get when ...". `parse` turns what a function returned into the form
    that is compared and raises ValueError, in words, on a wrong type or shape. `difference` says
    how such a value departs from the expected one, or returns None. The expected values come from
    the reference solution or a closed form, never from the student's code. After a check that did
    not hold `failed` has the arguments of its case, to call your function with."""

    name: str
    compares: str
    statement: str
    reference: Function
    gives: str
    wrong_answers: Mapping[str, Function]
    hints: tuple[str, ...]
    cases: Callable[[np.random.Generator], Iterable[Case]]
    parse: Callable[[Any], Any]
    difference: Callable[[Any, Any], str | None]
    praise: str
    failed: tuple[Any, ...] | None = field(default=None, repr=False)
    _hints_given: int = field(default=0, repr=False)

    def __repr__(self) -> str:
        has = ".statement, .hint(), .solution(), .failed"
        return f"check.{self.name}: call it with your function; {has}"

    @property
    def stub(self) -> Function:
        """What a student starts from: name and arguments of the reference, `gives` for a docstring,
        and no body.
        """

        @functools.wraps(self.reference)
        def unwritten(*arguments: Any) -> Any:
            raise NotImplementedError("your code here")

        unwritten.__doc__ = self.gives
        return unwritten

    def __call__(self, function: Function, seed: int = 0) -> None:
        """Check the student's function: one line when it is right, `CheckFailed` when it is not."""
        count = self.run(function, seed)
        print(f"Correct. {self.name} gives the right answer in {count} cases: {self.praise}.")

    def run(self, function: Function, seed: int = 0) -> int:
        """The check without the printing; `seed` draws the random cases. Returns the number of
        cases.
        """
        if not callable(function):
            raise CheckFailed(
                f"{self.name}: give the check your function itself, without brackets; got "
                f"{_shorten(function)}"
            )
        passed: list[Case] = []
        for case in self.cases(np.random.default_rng(seed)):
            self._ask(function, case, passed)
            passed.append(case)
        return len(passed)

    def hint(self) -> None:
        """Print the next hint."""
        if self._hints_given == len(self.hints):
            print(f"No more hints. check.{self.name}.solution() shows one way to do it.")
            return
        self._hints_given += 1
        print(f"Hint {self._hints_given} of {len(self.hints)}: {self.hints[self._hints_given - 1]}")

    def solution(self) -> None:
        """Print a solution, ready to paste into a notebook."""
        print(listing(self.reference))

    def _ask(self, function: Function, case: Case, passed: Sequence[Case]) -> None:
        outcome = attempt(function, case.arguments)
        if case.refusal is not None and isinstance(outcome.error, case.refusal):
            return
        reason = ""
        if isinstance(outcome.error, NotImplementedError):
            reason = "still raises NotImplementedError"
        elif outcome.error is None and outcome.value is None:
            reason = "returns None"
        if reason and not passed:
            raise NothingYet(
                f"{self.name}: nothing to check yet: your function {reason}. Write it, return the "
                f"result, and run this cell again; check.{self.name}.hint() helps."
            ) from None
        if reason:  # in one branch of several
            raise self._failure(case, None, f"your function {reason} here", passed)
        if outcome.error is not None:
            line = _blame(function, outcome.error)
            asked = "" if line else self._signature(outcome.error)
            problem = f"your function raised {_error_line(outcome.error)}{line}{asked}"
            raise self._failure(case, outcome, problem, passed) from outcome.error
        try:
            outcome = Outcome(self.parse(detached(outcome.value)))
        except ValueError as error:
            raise self._failure(case, None, f"{error}", passed) from None
        except (
            TypeError,
            RuntimeError,
        ) as error:  # a tensor that numpy cannot hold, as in bfloat16
            problem = f"your answer cannot be read as numbers: {_error_line(error)}"
            raise self._failure(case, None, problem, passed) from None
        problem = self.difference(outcome.value, case.expected) or ""
        if problem:
            raise self._failure(case, outcome, problem, passed)

    def _failure(
        self, case: Case, outcome: Outcome | None, problem: str, passed: Sequence[Case]
    ) -> CheckFailed:
        self.failed = case.arguments
        causes = self.diagnose(case, outcome, passed) if outcome is not None else []
        lines = [f"{self.name}: {self.compares}", f"  where: {case.where}", f"  {problem}"]
        if causes:
            lines.append(f"  usual cause: this is what you get when {'; or when '.join(causes)}")
        else:
            lines.append(f"  check.{self.name}.hint() helps")
        return CheckFailed("\n".join(lines))

    def _signature(self, error: Exception) -> str:
        """How the function is called, where it takes other arguments."""
        inside = ", in its line: " in str(error)  # so it says where the function ran elsewhere
        if inside or not isinstance(error, TypeError) or not re.search(MISFIT, str(error)):
            return ""
        names = ", ".join(inspect.signature(self.reference).parameters)
        return f"; it is called as {self.name}({names})"

    def diagnose(self, case: Case, outcome: Outcome, passed: Sequence[Case] = ()) -> list[str]:
        """The causes of the known mistakes that do what the student's function did: the same on
        this case, and right on all cases that it `passed`. One that raises the same words on the
        same arguments is named whatever it does on those.
        """
        alike = []
        for wrong in self.wrong_answers.values():
            with np.errstate(all="ignore"):
                known = attempt(wrong, case.arguments)
            if outcome.error is not None or known.error is not None:
                same = repr(outcome.error) == repr(known.error)
            else:
                same = self.difference(outcome.value, self.parse(known.value)) is None
            if same:
                alike.append(wrong)
        likely = [
            wrong for wrong in alike if all(self._is_right(wrong, earlier) for earlier in passed)
        ]
        causes = alike if outcome.error is not None and not likely else likely
        return [" ".join((wrong.__doc__ or "").split()).rstrip(".") for wrong in causes]

    def _is_right(self, function: Function, case: Case) -> bool:
        with np.errstate(all="ignore"):
            outcome = attempt(function, case.arguments)
        return (
            outcome.error is None
            and self.difference(self.parse(outcome.value), case.expected) is None
        )


def attempt(function: Function, arguments: tuple[Any, ...]) -> Outcome:
    """Call a function on read-only copies of the arguments, and keep what it raises."""
    copies = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            argument = argument.copy()
            argument.setflags(write=False)
        copies.append(argument)
    try:
        with np.errstate(all="ignore"):  # an overflow is named by the check, not by numpy above it
            return Outcome(value=function(*copies))
    except Exception as error:
        return Outcome(error=error)


def detached(value: Any) -> Any:
    """The same value without torch's record of how it was computed, which numpy refuses."""
    if isinstance(value, list) or type(value) is tuple:
        return type(value)(map(detached, value))
    return value.detach() if hasattr(value, "detach") else value


def number(value: Any) -> float:
    """A returned number as a float; ValueError, in words, if it is anything else.

    >>> number(np.float64(0.5))
    0.5
    """
    refuse_short(value)
    if (
        isinstance(value, bool | np.bool_ | str | list | tuple)
        or np.ndim(value) != 0
        or np.iscomplexobj(value)
    ):
        raise ValueError(f"expected one number, got {describe(value)}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected one number, got {describe(value)}") from None


def refuse_short(value: Any) -> None:
    """ValueError if an array, a tensor or a number has fewer digits than float64.

    >>> refuse_short(np.float32(0.5))
    Traceback (most recent call last):
    ...
    ValueError: expected float64, got float32: exact work needs all the digits
    """
    kind = str(getattr(value, "dtype", "")).removeprefix("torch.")
    if re.match(r"bfloat|float(?!64|96|128|ing)", kind):
        raise ValueError(f"expected float64, got {kind}: exact work needs all the digits")


def close(got: float, expected: float, tolerance: float = 1e-9) -> bool:
    """Equal to a relative and absolute `tolerance`; infinities and nan are equal to themselves
    only.
    """
    return bool(np.isclose(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True))


def describe(value: Any) -> str:
    """A value's kind, in a few words: its type and shape, or the value itself.

    >>> describe(np.zeros((2, 3)))
    'an array of shape (2, 3)'
    """
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"{type(value).__name__} {_shorten(value)}"


def _shorten(value: Any) -> str:
    return _trim(re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(repr(value).split())))


def _trim(text: str, width: int = 72) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _error_line(error: Exception) -> str:
    hint = " (the arguments are read-only: work on a copy)" if "read-only" in str(error) else ""
    return f"{type(error).__name__}: {error}{hint}"


def _blame(function: Function, error: Exception) -> str:
    """The line of the student's own function that raised, if it can be found."""
    filename = getattr(getattr(function, "__code__", None), "co_filename", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__)[1:] if f.filename == filename]
    return f", in its line: {_trim(frames[-1].line)}" if frames and frames[-1].line else ""
