"""Exercise 1: the log-probability of an answer.

A policy writes an answer y_1 ... y_L token by token, so the answer's log-probability is a sum over
its choices,

    log pi(y | x) = sum_{t=0}^{L-1} log pi(y_{t+1} | x, first t tokens)        (nats)

Write `sequence_logprob(logps, tokens, length) -> float`.

- `logps`, float64 [T, V]: row t is log pi(. | x, first t tokens), so row 0 belongs to the first
  token;
- `tokens`, int [T]: the answer, then padding. The pad id may be any number, also one that looks
  like a token;
- `length`, int: the number L of tokens in the answer. The end token is a choice too: it is one of
  the L.

A token of probability 0 has log-probability -inf, and so has an answer that contains it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import same_number
from gnivo_edu.course.exercises.base import Case, Exercise, number

Logps = NDArray[np.float64]
Tokens = NDArray[np.int64]


def sequence_logprob(logps: Logps, tokens: Tokens, length: int) -> float:
    """log pi(y | x): the sum of the first `length` choices, in nats.

    >>> logps = np.log([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]])
    >>> float(np.exp(sequence_logprob(logps, np.array([0, 1, 99]), length=2)).round(12))
    0.4
    """
    steps = np.arange(length)
    return float(logps[steps, tokens[:length]].sum())


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def drops_eos(logps: Logps, tokens: Tokens, length: int) -> float:
    """the last token is dropped: the end token is a choice of the policy, and `length` counts
    it.
    """
    return sequence_logprob(logps, tokens, length - 1)


def counts_padding(logps: Logps, tokens: Tokens, length: int) -> float:
    """padding is counted: only the first `length` tokens are the answer."""
    return sequence_logprob(logps, tokens, len(tokens))


def masks_by_id(logps: Logps, tokens: Tokens, length: int) -> float:
    """padding is recognised by its id, 0: that may be a token of the answer as well, so go by
    `length`.
    """
    kept = np.flatnonzero(tokens != 0)
    return float(logps[kept, tokens[kept]].sum())


def mean_for_sum(logps: Logps, tokens: Tokens, length: int) -> float:
    """the choices are averaged: probabilities multiply, so log-probabilities add up."""
    return sequence_logprob(logps, tokens, length) / length


def shifted(logps: Logps, tokens: Tokens, length: int) -> float:
    """row t is read at token t+1: row 0 is already the choice of the first token, nothing has to be
    shifted.
    """
    return sequence_logprob(logps[:-1], tokens[1:], length - 1)


def shifted_around(logps: Logps, tokens: Tokens, length: int) -> float:
    """row t-1 is read at token t, so that the first token meets the last row, which is row -1 in
    numpy.
    """
    return sequence_logprob(np.roll(logps, 1, axis=0), tokens, length)


def shifted_ahead(logps: Logps, tokens: Tokens, length: int) -> float:
    """row t+1 is read at token t: row t is the choice made after t tokens, so it belongs to the
    next one.
    """
    return sequence_logprob(logps[1:], tokens, min(length, len(logps) - 1))


def probability_for_log(logps: Logps, tokens: Tokens, length: int) -> float:
    """the probability is returned instead of its logarithm."""
    return math.exp(sequence_logprob(logps, tokens, length))


def log_of_product(logps: Logps, tokens: Tokens, length: int) -> float:
    """probabilities are multiplied first: a long answer's underflows to 0, so stay with
    logarithms.
    """
    return float(np.log(np.prod(np.exp(logps[np.arange(length), tokens[:length]]))))


def one_hot(logps: Logps, tokens: Tokens, length: int) -> float:
    """the row is multiplied by a one-hot vector: 0 * -inf is nan, so pick the entry by its
    index.
    """
    return float((logps[:length] * np.eye(logps.shape[1])[tokens[:length]]).sum())


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """A worked answer, the same with other padding, then random answers, then the limits."""
    worked = np.log(
        [[0.5, 0.3, 0.2], [0.7, 0.1, 0.2], [0.15, 0.6, 0.25], [0.35, 0.25, 0.4], [0.45, 0.05, 0.5]]
    )
    expected = math.log(0.5 * 0.2 * 0.6)
    answer = "choices of probability 0.5, 0.2 and 0.6 (the end token)"
    yield Case(
        f"{answer}; tokens [0 2 1], length 3", (worked[:3], np.array([0, 2, 1]), 3), expected
    )
    for pad, what in (
        (0, "0, which is a token too"),
        (1, "1, which is the end token"),
        (-1, "-1"),
        (9, "9"),
    ):
        tokens = np.array([0, 2, 1, pad, pad])
        yield Case(
            f"{answer}; tokens {tokens}, length 3: the pad id is {what}",
            (worked, tokens, 3),
            expected,
        )
    for trial in range(4):
        vocab_size, horizon = int(rng.integers(2, 7)), int(rng.integers(3, 9))
        length = int(rng.integers(2, horizon + 1))
        logps = np.log(rng.dirichlet(np.ones(vocab_size), size=horizon))
        tokens = rng.integers(vocab_size, size=horizon)
        where = f"random case {trial + 1}: V = {vocab_size}, tokens {tokens}, length {length}"
        yield Case(where, (logps, tokens, length), sequence_logprob(logps, tokens, length))
    yield Case(
        "an answer of the end token alone", (worked, np.array([1, 0, 0, 0, 0]), 1), math.log(0.3)
    )
    long = np.full((3000, 4), math.log(0.25))
    where = "3000 choices among 4 equally likely tokens"
    yield Case(where, (long, np.zeros(3000, dtype=np.int64), 3000), -3000 * math.log(4))
    certain = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    yield Case("a policy with no doubt, its own answer", (certain, np.array([0, 1]), 2), 0.0)
    yield Case("a policy with no doubt, another answer", (certain, np.array([0, 0]), 2), -math.inf)


EXERCISE = Exercise(
    name="sequence_logprob",
    compares="the log-probability of one answer, in nats",
    statement=__doc__,
    reference=sequence_logprob,
    gives="log pi(y | x), in nats.",
    wrong_answers={
        "drops EOS": drops_eos,
        "counts padding": counts_padding,
        "mask from token ids": masks_by_id,
        "mean for sum": mean_for_sum,
        "logits shifted by one": shifted,
        "logits shifted by one, around the end": shifted_around,
        "logits shifted by one, ahead": shifted_ahead,
        "probability for log-probability": probability_for_log,
        "log of a product": log_of_product,
        "one-hot product": one_hot,
    },
    hints=(
        "An answer's probability is a product of choices. What does a logarithm make of a product?",
        "Row t of `logps` is the choice made after t tokens. Which token did that choice pick? "
        "Nothing is shifted.",
        "Stop after `length` tokens: `logps[t, tokens[t]]` for t = 0 ... length - 1. Add them up.",
    ),
    cases=cases,
    parse=number,
    difference=same_number,
    praise="it adds up every choice, the end token included, and no padding",
)
