"""Exercise 2: every answer, once, with its probability.

Answers are the leaves of a tree. A node is a prefix; a branch appends one token; an answer is
complete when its last token is the end token or when it has `horizon` tokens. Its probability is
the product of its choices,

    pi(y) = prod_{t=0}^{L-1} pi(y_{t+1} | first t tokens),        sum over all complete answers = 1

Write `enumerate_leaves(next_logps, vocab_size, horizon, eos_token_id) -> list of (tokens,
probability)`.

- `next_logps(prefix)`: the log-probabilities of the next token, float64 [V], for a tuple of tokens;
  () is the root;
- `vocab_size`, `horizon`: V and T; the tokens are 0 ... V-1;
- `eos_token_id`: the end token, or None where answers end only at the horizon;
- every complete answer appears exactly once, as a tuple of its tokens (the end token included) with
  its probability. Their order does not matter.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.base import Case, Exercise, close, describe, number

Prefix = tuple[int, ...]
Leaves = list[tuple[Prefix, float]]
NextLogps = Callable[[Prefix], NDArray[np.float64]]


def enumerate_leaves(
    next_logps: NextLogps, vocab_size: int, horizon: int, eos_token_id: int | None
) -> Leaves:
    """Every complete answer with its probability: walk the tree, stop at the end token or at the
    horizon.

    >>> coin = lambda prefix: np.log([0.5, 0.5])
    >>> leaves = enumerate_leaves(coin, 2, horizon=2, eos_token_id=1)
    >>> [(tokens, round(p, 12)) for tokens, p in leaves]
    [((0, 0), 0.25), ((0, 1), 0.25), ((1,), 0.5)]
    """
    leaves: Leaves = []

    def walk(prefix: Prefix, logprob: float) -> None:
        if len(prefix) == horizon or prefix[-1:] == (eos_token_id,):
            leaves.append((prefix, math.exp(logprob)))
            return
        row = next_logps(prefix)
        for token in range(vocab_size):
            walk((*prefix, token), logprob + float(row[token]))

    walk((), 0.0)
    return leaves


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def continues_past_eos(
    next_logps: NextLogps, vocab_size: int, horizon: int, eos: int | None
) -> Leaves:
    """the walk goes on after the end token: an answer is over as soon as it is chosen."""
    return enumerate_leaves(next_logps, vocab_size, horizon, None)


def fixed_length(next_logps: NextLogps, vocab_size: int, horizon: int, eos: int | None) -> Leaves:
    """only answers of exactly `horizon` tokens are kept: the shorter ones, which chose the end
    token, count too.
    """
    return [
        leaf
        for leaf in enumerate_leaves(next_logps, vocab_size, horizon, eos)
        if len(leaf[0]) == horizon
    ]


def uniform_answers(
    next_logps: NextLogps, vocab_size: int, horizon: int, eos: int | None
) -> Leaves:
    """every answer is given the same probability: use the policy's, choice by choice."""
    leaves = enumerate_leaves(next_logps, vocab_size, horizon, eos)
    return [(tokens, 1 / len(leaves)) for tokens, _ in leaves]


def uniform_choices(
    next_logps: NextLogps, vocab_size: int, horizon: int, eos: int | None
) -> Leaves:
    """every choice is given probability 1/V: ask `next_logps` at each prefix."""
    leaves = enumerate_leaves(next_logps, vocab_size, horizon, eos)
    return [(tokens, float(vocab_size) ** -len(tokens)) for tokens, _ in leaves]


def duplicates(next_logps: NextLogps, vocab_size: int, horizon: int, eos: int | None) -> Leaves:
    """all strings of `horizon` tokens are listed and cut at the end token: a short answer then
    comes several times.
    """
    probability = dict(enumerate_leaves(next_logps, vocab_size, horizon, eos))
    cuts = (
        y[: y.index(eos) + 1] if eos in y else y
        for y in itertools.product(range(vocab_size), repeat=horizon)
    )
    return [(cut, probability[cut]) for cut in cuts]


def forgets_cut_off(
    next_logps: NextLogps, vocab_size: int, horizon: int, eos: int | None
) -> Leaves:
    """answers that reach the horizon without the end token are left out: they are complete as
    well.
    """
    return [
        leaf
        for leaf in enumerate_leaves(next_logps, vocab_size, horizon, eos)
        if leaf[0][-1] == eos
    ]


def log_for_probability(
    next_logps: NextLogps, vocab_size: int, horizon: int, eos: int | None
) -> Leaves:
    """log-probabilities are returned: take exp at the end."""
    leaves = enumerate_leaves(next_logps, vocab_size, horizon, eos)
    return [(tokens, math.log(probability)) for tokens, probability in leaves]


def one_row_for_all(
    next_logps: NextLogps, vocab_size: int, horizon: int, eos: int | None
) -> Leaves:
    """the first choice's probabilities are used at every prefix: ask `next_logps` again after each
    token.
    """
    root = next_logps(())
    return enumerate_leaves(lambda prefix: root, vocab_size, horizon, eos)


# --- the check ------------------------------------------------------------------------------------


def policy(seed: int, vocab_size: int) -> NextLogps:
    """A random policy whose row depends on the whole prefix and on nothing else."""

    def next_logps(prefix: Prefix) -> NDArray[np.float64]:
        rng = np.random.default_rng([seed, len(prefix), *(int(token) for token in prefix)])
        return np.log(rng.dirichlet(np.full(vocab_size, 2.0)))

    return next_logps


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """A tree small enough to write down, random trees, then the limits."""
    rows = {(): [0.2, 0.5, 0.3], (0,): [0.6, 0.3, 0.1], (1,): [0.1, 0.1, 0.8]}

    def worked(prefix: Prefix) -> NDArray[np.float64]:
        return np.log(rows.get(tuple(prefix), [0.25, 0.25, 0.5]))

    expected = [((2,), 0.3), ((0, 0), 0.12), ((0, 1), 0.06), ((0, 2), 0.02)]
    expected += [((1, 0), 0.05), ((1, 1), 0.05), ((1, 2), 0.4)]
    yield Case("V = 3, horizon 2, end token 2: seven answers", (worked, 3, 2, 2), expected)
    for vocab_size, horizon in ((2, 3), (3, 4), (4, 3)):
        eos, seed = int(rng.integers(vocab_size)), int(rng.integers(2**31))
        arguments = (policy(seed, vocab_size), vocab_size, horizon, eos)
        where = f"a random policy, V = {vocab_size}, horizon {horizon}, end token {eos}"
        yield Case(where, arguments, enumerate_leaves(*arguments))
    yield Case(
        "horizon 1: one choice, then it is over",
        (worked, 3, 1, 2),
        [((0,), 0.2), ((1,), 0.5), ((2,), 0.3)],
    )
    yield Case("one token only, and it is the end token", (policy(0, 1), 1, 3, 0), [((0,), 1.0)])
    full = (policy(int(rng.integers(2**31)), 2), 2, 3, None)
    yield Case("no end token (None): all 8 strings of 3 tokens", full, enumerate_leaves(*full))


def parse(value: Any) -> Leaves:
    """A list of (tuple of tokens, probability); ValueError, in words, if it is anything else."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list of (tokens, probability) pairs, got {describe(value)}")
    leaves: Leaves = []
    for item in value:
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise ValueError(
                f"each entry must be a pair (tokens, probability), got {describe(item)}"
            )
        try:
            tokens = tuple(operator.index(token) for token in item[0])
        except TypeError:
            raise ValueError(
                f"tokens must be a tuple of integers, got {describe(item[0])}"
            ) from None
        leaves.append((tokens, number(item[1])))
    return leaves


def difference(got: Leaves, expected: Leaves) -> str | None:
    """The first way in which two lists of answers differ, or None; their order does not matter."""
    times, wanted = Counter(tokens for tokens, _ in got), Counter(tokens for tokens, _ in expected)
    probabilities = dict(got)
    total = f"; your {len(got)} answers have total probability {sum(p for _, p in got):.6g}"
    for tokens in times:
        if tokens not in wanted:
            several = f"{len(expected)} answers and {tokens} is none of them"
            what = several if len(expected) != 1 else f"1 answer, {expected[0][0]}, not {tokens}"
            return f"expected {what}; got it all the same{total}"
        if times[tokens] > wanted[tokens]:
            return f"expected the answer {tokens} once, got it {times[tokens]} times{total}"
    for tokens, probability in expected:
        if times[tokens] < wanted[tokens]:
            return (
                f"expected the answer {tokens} with probability {probability:.6g}, got no such "
                f"answer{total}"
            )
        if not close(probabilities[tokens], probability):
            return (
                f"expected the answer {tokens} with probability {probability:.6g}, "
                f"got {probabilities[tokens]:.6g}{total}"
            )
    return None


EXERCISE = Exercise(
    name="enumerate_leaves",
    compares="all complete answers with their probabilities",
    statement=__doc__,
    reference=enumerate_leaves,
    gives="Every complete answer, once, with its probability.",
    wrong_answers={
        "continues past EOS": continues_past_eos,
        "fixed length only": fixed_length,
        "uniform probabilities": uniform_answers,
        "uniform choices": uniform_choices,
        "duplicates": duplicates,
        "forgets answers cut off at the horizon": forgets_cut_off,
        "log-probability for probability": log_for_probability,
        "one row for all prefixes": one_row_for_all,
    },
    hints=(
        "Walk the tree from the root (). Which two things can end an answer?",
        "Write a function that takes a prefix and its log-probability. If the prefix is complete, "
        "it records it; "
        "otherwise it calls itself once for every token.",
        "Carry the log-probability along, adding `next_logps(prefix)[token]` at each branch, and "
        "take exp at the "
        "leaf. If the probabilities sum to 1, no answer is missing and none comes twice.",
    ),
    cases=cases,
    parse=parse,
    difference=difference,
    praise="each answer comes once, it ends where it should, and the probabilities sum to 1",
)
