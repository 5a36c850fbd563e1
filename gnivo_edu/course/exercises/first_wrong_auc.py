"""Exercise 25: is the first wrong step found?

An answer writes a total at every step, and we know the right ones: its first wrong step is the
first t at which the two differ. A later step may be wrong as well, since it goes on from a wrong
total, and is no *first* one.

Does a low credit find it? Take the first wrong step of one answer and another step of any answer,
both at random. The AUC is the chance that the first wrong step has the lower credit; a tie counts
one half. A coin has 0.5.

And the control: some steps are easy, and nobody would suspect them. Both steps are to look alike,
so that only what was written can tell them apart. So the other step is one that is marked `alike`
too, and is not the first wrong one of its answer; a first wrong step that is not marked is left
out.

Write `first_wrong_auc(written, right, credits, alike) -> float`.

- `written`, `right`, int64 [N, T]: totals that answer i writes after its T steps, and the right
  ones. Every answer has a wrong step.
- `credits`, float64 [N, T]: the credit of every step, nats.
- `alike`, bool [N, T]: the steps that look alike (here: those that carry or borrow).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, same_number
from gnivo_edu.course.exercises.base import Case, Exercise, number

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def first_wrong_auc(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """Chance that a first wrong step has a lower credit than another one that looks alike.

    >>> written, right = np.array([[5, 8], [6, 7]]), np.array([[5, 9], [4, 5]])
    >>> credits, alike = np.array([[0.5, -1.0], [-0.5, -1.0]]), np.array([[True, True]] * 2)
    >>> first_wrong_auc(written, right, credits, alike)
    0.625
    """
    first = np.zeros(written.shape, dtype=bool)
    first[np.arange(len(written)), (written != right).argmax(axis=1)] = True
    a = credits[first & alike][:, None]
    b = credits[~first & alike][None, :]
    return float(((a < b) + (a == b) / 2).mean())


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def chosen(steps: Ints, shape: tuple[int, ...]) -> Bools:
    """One step of each answer."""
    first = np.zeros(shape, dtype=bool)
    first[np.arange(len(steps)), steps] = True
    return first


def area(first: Bools, others: Bools, credits: Array, tie: float = 0.5) -> float:
    """Chance that one of some steps has a lower credit than one of others."""
    a, b = credits[first][:, None], credits[others][None, :]
    return float(((a < b) + tie * (a == b)).mean())


def true_first(written: Ints, right: Ints) -> Bools:
    """The first wrong step of every answer."""
    return chosen((written != right).argmax(axis=1), written.shape)


def biggest_drop(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """the step with the lowest credit is taken for the wrong one: that is the guess, and the totals
    are the truth.
    """
    first = chosen(credits.argmin(axis=1), written.shape)
    return area(first & alike, ~first & alike, credits)


def first_negative(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """the first step with a credit below 0 is taken for the wrong one: that is a guess, and the
    totals are the truth.
    """
    first = chosen((credits < 0).argmax(axis=1), written.shape)
    return area(first & alike, ~first & alike, credits)


def ties_count_0(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """ties count 0: a guess that gives all steps one number would then be worse than a coin."""
    first = true_first(written, right)
    return area(first & alike, ~first & alike, credits, tie=0.0)


def ties_count_1(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """ties count 1: a guess that gives all steps one number would then be perfect."""
    first = true_first(written, right)
    return area(first & alike, ~first & alike, credits, tie=1.0)


def no_control(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """the first wrong steps are held against all other steps: the easy ones, which nobody would
    suspect, make every guess look good.
    """
    first = true_first(written, right)
    return area(first & alike, ~first, credits)


def half_a_control(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """a first wrong step that is not marked alike is counted too: leave it out."""
    first = true_first(written, right)
    return area(first, ~first & alike, credits)


def every_wrong_step(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """every wrong step counts as a first one: those that go on from a wrong total come later."""
    wrong = written != right
    return area(wrong & alike, ~wrong & alike, credits)


def later_left_out(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """later wrong steps are left out: they are other steps, and the credit is to tell the first one
    from them too.
    """
    return area(true_first(written, right) & alike, (written == right) & alike, credits)


def itself(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """the first wrong steps are among the other steps as well: each ties with itself."""
    return area(true_first(written, right) & alike, alike, credits)


def sign(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """a high credit is taken as a sign of a mistake: a mistake loses value, so its credit is
    low.
    """
    return first_wrong_auc(written, right, -credits, alike=alike)


# --- the check ------------------------------------------------------------------------------------


def by_pairs(written: Ints, right: Ints, credits: Array, alike: Bools) -> float:
    """The same, pair by pair."""
    wins, pairs = 0.0, 0
    places = [
        (i, int((w != r).argmax())) for i, (w, r) in enumerate(zip(written, right, strict=True))
    ]
    for place in places:
        for other in np.ndindex(*written.shape):
            if alike[place] and alike[other] and other not in places:
                pairs += 1
                difference = credits[other] - credits[place]
                wins += 0.5 * (1 + np.sign(difference))
    return wins / pairs


def drawn(rng: np.random.Generator) -> tuple[Ints, Ints, Array, Bools]:
    """Six answers of five steps: totals, some wrong; credits on a grid, so that some tie."""
    shape = 6, 5
    right = rng.integers(10, 90, size=shape)
    wrong = rng.random(shape) < 0.35
    wrong[np.arange(6), rng.integers(5, size=6)] = True
    written = right + 10 * wrong
    credits = rng.integers(-3, 3, size=shape) / 2 + 0.25 - 0.5 * wrong
    alike = rng.random(shape) < 0.6
    alike[:3] |= wrong[:3]
    alike[0, :2] = True
    return written, right, credits, alike


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Three answers by hand, what scale and order do to them, random answers pair by pair, then
    the limits.
    """
    right = np.array([[64, 56, 55, 61], [41, 48, 50, 43], [32, 25, 31, 33]])
    written = np.array([[64, 46, 45, 51], [31, 38, 50, 43], [32, 25, 21, 13]])
    credits = np.array([[0.0, -1.0, 0.0, -1.5], [1.0, -0.5, 1.0, 0.5], [0.0, -1.5, 0.5, -2.0]])
    alike = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)
    hand, worked = (written, right, credits, alike), 11 / 28
    yield Case("three answers by hand, wrong first at steps 2, 1 and 3", hand, worked)
    yield Case("the same, every credit doubled", (written, right, 2 * credits, alike), worked)
    yield Case("the same, answers in reverse", tuple(x[::-1] for x in hand), worked)
    for trial in range(4):
        some = drawn(rng)
        yield Case(f"random answers {trial + 1}: six, of five steps", some, by_pairs(*some))
    nothing = written, right, np.zeros((3, 4)), alike
    yield Case("all credits are 0: no better than a coin", nothing, 0.5)


EXERCISE = Exercise(
    name="first_wrong_auc",
    compares="the AUC of the first wrong steps among steps that look alike",
    statement=__doc__,
    reference=first_wrong_auc,
    gives="Chance that a first wrong step has a lower credit than another one that looks alike.",
    wrong_answers={
        "biggest drop": biggest_drop,
        "first negative": first_negative,
        "ties count 0": ties_count_0,
        "ties count 1": ties_count_1,
        "no control": no_control,
        "control of one side only": half_a_control,
        "every wrong step": every_wrong_step,
        "later ones left out": later_left_out,
        "itself among the others": itself,
        "sign": sign,
    },
    hints=(
        "`(written != right).argmax(axis=1)` is the first wrong step of every answer. Make a mask "
        "[N, T] of it.",
        "The credits of the first wrong steps that are marked, as a column, and those of the other "
        "marked steps, as a row: `a[:, None] < b[None, :]` compares all pairs.",
        "The mean of `(a < b) + (a == b) / 2` over all pairs.",
    ),
    cases=cases,
    parse=number,
    difference=same_number,
    praise="the truth is in the totals, ties are coins, and only look-alikes are compared",
)
