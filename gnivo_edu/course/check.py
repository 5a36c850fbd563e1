"""Checks for the student's functions: `check.NAME(your_function)` prints one line, or says what is
wrong and why.

>>> from gnivo_edu.course import check
>>> check.sequence_logprob.hint()
Hint 1 of 3: An answer's probability is a product of choices. What does a logarithm make of ...
>>> def sequence_logprob(logps, tokens, length):
...     return logps[range(length), tokens[:length]].sum()
>>> check.sequence_logprob(sequence_logprob)
Correct. sequence_logprob gives the right answer in 13 cases: it adds up every choice, the end ...

Each of them also has `.statement`, `.hint()`, one hint further at every call, `.solution()`, and
`.failed`: the arguments of the last case that did not hold, to call your function with.
`dir(check)` lists them: the exercises of the course, and those of a folder `exercises` beside the
notebook. numpy only."""

from __future__ import annotations

from typing import Any

from gnivo_edu.course import exercises
from gnivo_edu.course.exercises import CheckFailed as CheckFailed


# Any, not Exercise: Python asks a module for names of its own here too, such as __path__.
def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        return exercises.get(name)
    except ValueError as error:
        raise AttributeError(str(error)) from error


def __dir__() -> list[str]:
    return ["CheckFailed", *exercises.names()]
