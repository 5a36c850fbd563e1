"""Exercise 36: how many rows fit?

A language model gives one number, a logit, for every token of its vocabulary at every token of an
answer. That array is made more than once: the logits themselves, their softmax, the gradient of
both. Memory comes in GiB, and one GiB is 2**30 bytes.

Write `rows_that_fit(gib, tokens, vocabulary, itemsize, copies) -> int`: how many answers can be
scored at once.

- `gib`, float: the memory that is free, GiB;
- `tokens`, int: the tokens of each answer;
- `vocabulary`, int: the logits at each of them;
- `itemsize`, int: bytes of one number, 8 in float64, 4 in float32, 2 in bf16;
- `copies`, int: how many arrays of this size there are at the same time.

A part of an answer cannot be scored, and 0 is an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import same_number
from gnivo_edu.course.exercises.base import Case, Exercise, number


def rows_that_fit(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> int:
    """Whole answers whose logits, in all their copies, fit into `gib` GiB.

    >>> rows_that_fit(1, tokens=512, vocabulary=1024, itemsize=4, copies=3)
    170
    """
    one_answer = tokens * vocabulary * itemsize * copies
    return int(gib * 2**30 // one_answer)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def share(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> float:
    """How many fit, as a fraction: what the mistakes round wrongly."""
    return gib * 2**30 / (tokens * vocabulary * itemsize * copies)


def billion(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> int:
    """a GiB is taken for 10**9 bytes, which is a GB: it is 2**30."""
    return int(gib * 10**9 // (tokens * vocabulary * itemsize * copies))


def rounded_up(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> int:
    """the number is rounded up: the last answer does not fit."""
    return math.ceil(share(gib, tokens, vocabulary, itemsize, copies))


def nearest(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> int:
    """the number is rounded to the nearest whole one: where that is up, the last answer does not
    fit.
    """
    return round(share(gib, tokens, vocabulary, itemsize, copies))


def fraction(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> float:
    """the number is not made whole: a part of an answer cannot be scored."""
    return share(gib, tokens, vocabulary, itemsize, copies)


def at_least_one(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> int:
    """1 is returned where not even one answer fits: then the logits must be made in pieces, or not
    at all.
    """
    return max(1, rows_that_fit(gib, tokens, vocabulary, itemsize, copies))


def one_copy(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> int:
    """the copies are left out: the softmax and the gradient are as large as the logits."""
    return rows_that_fit(gib, tokens, vocabulary, itemsize, 1)


def one_token(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> int:
    """the logits of one token are counted: that is enough to draw the next token, not to score an
    answer.
    """
    return rows_that_fit(gib, 1, vocabulary, itemsize, copies)


def always_float32(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> int:
    """every number is given four bytes: `itemsize` says how many it has."""
    return rows_that_fit(gib, tokens, vocabulary, 4, copies)


def count_numbers(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> int:
    """numbers are counted and not bytes: each takes `itemsize` of them."""
    return rows_that_fit(gib, tokens, vocabulary, 1, copies)


def bits(gib: float, tokens: int, vocabulary: int, itemsize: int, copies: int) -> int:
    """bits are counted: `itemsize` is in bytes, as the memory is."""
    return rows_that_fit(gib, tokens, vocabulary, 8 * itemsize, copies)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Powers of two by hand, then what is left over, then real sizes, then too little memory."""
    yield Case(
        "1 GiB, 512 tokens of 1024 logits, 4 bytes, one copy: 2 MiB an answer",
        (1, 512, 1024, 4, 1),
        512,
    )
    yield Case("the same in bf16, 2 bytes", (1, 512, 1024, 2, 1), 1024)
    yield Case("the same in float32, 4 copies", (1, 512, 1024, 4, 4), 128)
    yield Case(
        "half the tokens, 3 copies: a third of an answer is left over", (1, 256, 1024, 4, 3), 341
    )
    yield Case(
        "all the tokens, 3 copies: two thirds of an answer are left over", (1, 512, 1024, 4, 3), 170
    )
    for trial in range(3):
        tokens, size = int(rng.integers(100, 900)), int(rng.choice([2, 4]))
        vocabulary, gib = int(rng.integers(30_000, 160_000)), float(rng.integers(20, 80))
        # Counted up, one answer after the other.
        free, fit = gib * 2**30, 0
        while (fit + 1) * tokens * vocabulary * size * 3 <= free:
            fit += 1
        where = (
            f"random sizes {trial + 1}: {gib:g} GiB, {tokens} tokens of {vocabulary} logits, "
            f"{size} bytes, 3 copies"
        )
        yield Case(where, (gib, tokens, vocabulary, size, 3), fit)
    yield Case("half a GiB, and one answer takes 0.6: nothing fits", (0.5, 4096, 13_107, 4, 3), 0)


EXERCISE = Exercise(
    name="rows_that_fit",
    compares="the number of answers that can be scored at once",
    statement=__doc__,
    reference=rows_that_fit,
    gives="Whole answers whose logits, in all their copies, fit into `gib` GiB.",
    wrong_answers={
        "GB for GiB": billion,
        "rounded up": rounded_up,
        "rounded to the nearest": nearest,
        "a fraction": fraction,
        "at least one": at_least_one,
        "copies left out": one_copy,
        "one token": one_token,
        "always four bytes": always_float32,
        "numbers for bytes": count_numbers,
        "bits for bytes": bits,
    },
    hints=(
        "How many numbers does one answer take, and how many bytes is that, in all copies?",
        "One answer: tokens * vocabulary * itemsize * copies bytes. The memory: gib * 2**30 bytes.",
        "Divide, and throw away what is left over: `//` does, and `int` makes a whole number of "
        "it.",
    ),
    cases=cases,
    parse=number,
    difference=same_number,
    praise="bytes and not numbers, GiB and not GB, and nothing that does not fit as a whole",
)
