"""Exercise 24: Pass@k from n samples.

Somebody draws k answers of a model to a problem and is happy if one of them is right. If a single
answer is right with chance p, that happens with chance 1 - (1 - p)^k. We have n answers and do not
know p. But every k of the n are k honest draws: take the share of all these sets of k, drawn
without putting back, that hold a right answer. Its average is 1 - (1 - p)^k exactly, for every p.

Write `pass_at_k(right, k) -> float64 [N]`.

- `right`, int64 [N, n]: row i has a 1 for each right answer to problem i and a 0 for each wrong
  one, in the order in which they were drawn.
- `k`, int >= 1. From fewer than k answers nothing honest can be said: if k > n, return nan for
every problem, or raise ValueError."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise

Grades = NDArray[np.int64]


def pass_at_k(right: Grades, k: int) -> Array:
    """The share of sets of k answers that hold a right one, for every problem [N].

    >>> pass_at_k(np.array([[1, 0, 0, 0], [0, 0, 1, 1]]), k=2).round(4)
    array([0.5   , 0.8333])
    """
    n = right.shape[1]
    if k > n:
        return np.full(len(right), np.nan)
    i = np.arange(k)  # answers that the set holds already, all of them wrong
    wrong_left = np.maximum(n - right.sum(axis=1, keepdims=True) - i, 0)
    return 1 - np.prod(wrong_left / (n - i), axis=1)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def plug_in(right: Grades, k: int) -> Array:
    """c/n is put in the place of p, 1 - (1 - c/n)^k: it is too low on average, since it may draw an
    answer twice.
    """
    return _guarded(right, k, 1 - (1 - right.mean(axis=1)) ** k)


def first_k(right: Grades, k: int) -> Array:
    """only the first k answers are looked at: right on average, but the others were drawn for
    nothing.
    """
    return _guarded(right, k, right[:, :k].max(axis=1).astype(np.float64))


def blocks(right: Grades, k: int) -> Array:
    """the answers are cut into blocks of k: right on average, but there are many more sets of k
    than blocks.
    """
    count = right.shape[1] // k
    if not count:
        return np.full(len(right), np.nan)
    return np.asarray(right[:, : count * k].reshape(len(right), count, k).max(axis=2).mean(axis=1))


def share(right: Grades, k: int) -> Array:
    """c/n is returned: that is Pass@1."""
    return _guarded(right, k, right.mean(axis=1))


def any_of_n(right: Grades, k: int) -> Array:
    """a right one is looked for among all n answers: that is Pass@n."""
    return _guarded(right, k, right.max(axis=1).astype(np.float64))


def accepts_too_few(right: Grades, k: int) -> Array:
    """k > n is accepted: fewer wrong answers than k do not make a right one. Return nan there."""
    n = right.shape[1]
    return np.ones(len(right)) if k > n else pass_at_k(right, k)


def all_right(right: Grades, k: int) -> Array:
    """C(c, k)/C(n, k) is returned, the share of sets in which all k are right: one of them is
    enough.
    """
    return _guarded(right, k, 1 - pass_at_k(1 - right, k))


def complement(right: Grades, k: int) -> Array:
    """C(n - c, k)/C(n, k) is returned, the share of sets without a right answer: subtract it from
    1.
    """
    return 1 - pass_at_k(right, k)


def times_k(right: Grades, k: int) -> Array:
    """k c/n is returned, how many right answers a set holds on average."""
    return _guarded(right, k, k * right.mean(axis=1))


def pooled(right: Grades, k: int) -> Array:
    """the answers to all problems are thrown together: a right answer to one problem solves no
    other.
    """
    n = right.shape[1]
    return (
        np.full(len(right), np.nan)
        if k > n
        else np.repeat(pass_at_k(right.reshape(1, -1), k), len(right))
    )


def over_problems(right: Grades, k: int) -> Array:
    """the mean over problems is returned: the check asks for each of them."""
    return np.asarray(pass_at_k(right, k).mean())


def _guarded(right: Grades, k: int, values: Array) -> Array:
    return (
        np.full(len(right), np.nan) if k > right.shape[1] else np.asarray(values, dtype=np.float64)
    )


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Two problems by hand, what orders do to them, random problems set by set, then the limits."""
    right = np.array([[1, 0, 0, 0], [0, 0, 1, 1]])
    worked = np.array([1 / 2, 5 / 6])
    yield Case("two problems, answers right as in 1000 and 0011, k = 2", (right, 2), worked)
    yield Case(
        "the same, answers in reverse: the order does not matter", (right[:, ::-1], 2), worked
    )
    yield Case("the same, problems in reverse", (right[::-1], 2), worked[::-1])
    yield Case("the same, k = 1: the share of right answers", (right, 1), np.array([0.25, 0.5]))
    yield Case(
        "the same, k = 3: every three hold one of the two", (right, 3), np.array([0.75, 1.0])
    )
    for trial in range(3):
        n = int(rng.integers(5, 9))
        k = int(rng.integers(2, n))
        drawn = rng.integers(2, size=(int(rng.integers(2, 5)), n))
        sets = list(itertools.combinations(range(n), k))
        expected = np.mean([drawn[:, list(chosen)].max(axis=1) for chosen in sets], axis=0)
        yield Case(
            f"random problems {trial + 1}: n = {n}, k = {k}; all {len(sets)} sets",
            (drawn, k),
            expected,
        )
    many = np.zeros((1, 2000), dtype=np.int64)
    many[0, 0] = 1
    yield Case("one right answer of 2000, k = 500", (many, 500), np.array([0.25]))
    none = np.zeros((2, 3), dtype=np.int64)
    yield Case("no right answer, k = n = 3", (none, 3), np.zeros(2))
    for what, grades, k in (
        ("no right answer, k = 4 but n = 3: nothing can be said", none, 4),
        ("k = 5 but n = 4: nothing can be said, right answers or not", right, 5),
    ):
        yield Case(what, (grades, k), np.full(2, np.nan), refusal=ValueError)


EXERCISE = Exercise(
    name="pass_at_k",
    compares="the unbiased estimate of Pass@k for every problem",
    statement=__doc__,
    reference=pass_at_k,
    gives="The share of sets of k answers that hold a right one, for every problem [N].",
    wrong_answers={
        "1-(1-c/n)^k": plug_in,
        "best of first k": first_k,
        "blocks of k": blocks,
        "c/n": share,
        "any of n": any_of_n,
        "accepts k > n": accepts_too_few,
        "all k right": all_right,
        "complement": complement,
        "k c/n": times_k,
        "problems thrown together": pooled,
        "mean over problems": over_problems,
    },
    hints=(
        "When does a set of k hold no right answer? How many such sets are there, and how many "
        "sets in all?",
        "Of n answers n - c are wrong: C(n - c, k) of the C(n, k) sets are all wrong. Mind k > n.",
        "Draw one by one: with i wrong ones gone, the next is wrong in (n - c - i)/(n - i); "
        "multiply, subtract from 1.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("problem", 0)),
    praise="every set of k counts once, the order does not matter, and k > n is refused",
)
