"""Exercise 29: which tokens belong to the answer.

Many tokenizers have no padding token of their own, so the end token pads as well, and an answer
comes back as

    ( ) .  .  .

where the first full stop is a choice of the policy, and the others are nothing. Ending is an
action: it has a probability, it is scored, and it earns credit. An answer that was cut off has no
end token, and all of it is answer.

Write `answer_mask(tokens, eos) -> bool [B, T]`, True where a token belongs to the answer.

- `tokens`, int [B, T]: the generated tokens, one answer in each row; what stands after the first
  end token of a row is padding, and may be anything, the end token included;
- `eos`, int: the end token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise, describe

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def answer_mask(tokens: Ints, eos: int) -> Bools:
    """True up to and including the first end token of each row, and everywhere in a row without
    one.

    >>> answer_mask(np.array([[0, 1, 2, 2], [0, 0, 0, 1]]), eos=2)
    array([[ True,  True,  True, False],
           [ True,  True,  True,  True]])
    """
    is_end = tokens == eos
    ends_before = np.cumsum(is_end, axis=1) - is_end
    return np.asarray(ends_before == 0)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def by_value(tokens: Ints, eos: int) -> Bools:
    """the mask is read off token values, `tokens != eos`: that masks the end token itself, which is
    an action.
    """
    return np.asarray(tokens != eos)


def drops_end(tokens: Ints, eos: int) -> Bools:
    """the mask stops before the end token: ending is an action, and its probability is part of the
    answer's.
    """
    return np.asarray(np.cumsum(tokens == eos, axis=1) == 0)


def everything(tokens: Ints, eos: int) -> Bools:
    """all tokens count: what stands after the first end token is padding."""
    return np.ones(tokens.shape, dtype=bool)


def first_place(tokens: Ints, eos: int) -> Bools:
    """an answer without end token keeps its first token only, since argmax of nothing is 0: keep
    all of it.
    """
    last = (tokens == eos).argmax(axis=1)
    return np.asarray(np.arange(tokens.shape[1]) <= last[:, None])


def one_too_many(tokens: Ints, eos: int) -> Bools:
    """the mask goes on one token past the end token."""
    before = np.cumsum(tokens == eos, axis=1) - (tokens == eos)
    shifted = np.concatenate([np.zeros((len(tokens), 1), dtype=int), before[:, :-1]], axis=1)
    return np.asarray(shifted == 0)


def to_last_end(tokens: Ints, eos: int) -> Bools:
    """the mask goes on to the last end token of the row: the answer ends with the first."""
    is_end = tokens == eos
    after = np.cumsum(is_end[:, ::-1], axis=1)[:, ::-1]
    return np.asarray((after > 0) | ~is_end.any(axis=1, keepdims=True))


def drops_cut_off(tokens: Ints, eos: int) -> Bools:
    """an answer without end token is masked out as a whole: it was cut off, and its tokens are all
    actions.
    """
    return np.asarray(answer_mask(tokens, eos) & (tokens == eos).any(axis=1, keepdims=True))


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Rows by hand, with three kinds of padding, then random lengths."""
    T, F = True, False
    junk = np.array([[5, 0, 3, 5, 3, 5]])
    where = "the end token is 3; after the first one stand others, which are padding"
    yield Case(where, (junk, 3), np.array([[T, T, T, F, F, F]]))
    rows = np.array([[0, 1, 2, 2, 2, 2], [0, 0, 1, 1, 2, 2], [2, 2, 2, 2, 2, 2]])
    kept = np.array([[T, T, T, F, F, F], [T, T, T, T, T, F], [T, F, F, F, F, F]])
    yield Case("answers of 3, 5 and 1 tokens, padded with the end token, 2", (rows, 2), kept)
    cut = np.array([[0, 1, 0, 1], [0, 2, 2, 2]])
    yield Case(
        "an answer that was cut off, and one of 2 tokens",
        (cut, 2),
        np.array([[T, T, T, T], [T, T, F, F]]),
    )
    for trial in range(2):
        B, width, eos = int(rng.integers(3, 6)), int(rng.integers(5, 9)), int(rng.integers(0, 4))
        lengths = np.append(rng.integers(1, width, size=B - 1), width)
        inside = np.arange(width) < lengths[:, None]
        tokens = np.where(inside, (eos + rng.integers(1, 4, size=inside.shape)) % 4, eos)
        tokens[np.arange(B - 1), lengths[:-1] - 1] = eos
        yield Case(
            f"random batch {trial + 1}: lengths {lengths}, the last cut off, eos {eos}",
            (tokens, eos),
            inside,
        )


def mask_of(value: Any) -> Array:
    """A returned mask, bool or integers 0 and 1, as numbers; ValueError, in words, if it is
    anything else.
    """
    try:
        mask = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        mask = np.empty(0)
    if mask.ndim != 2 or mask.dtype.kind not in "bifu" or not np.isin(mask, (0, 1)).all():
        raise ValueError(f"expected a mask [B, T] of True and False, got {describe(value)}")
    if mask.dtype.kind == "f":
        raise ValueError(
            f"expected a mask of True and False, got {mask.dtype}: `~mask` fails on it"
        )
    return mask.astype(np.float64)


EXERCISE = Exercise(
    name="answer_mask",
    compares="1 where a token belongs to the answer, else 0",
    statement=__doc__,
    reference=answer_mask,
    gives=(
        "True up to and including the first end token of each row, and everywhere in a row without "
        "one."
    ),
    wrong_answers={
        "tokens != eos": by_value,
        "drops EOS": drops_end,
        "counts padding": everything,
        "argmax without an end": first_place,
        "one token too many": one_too_many,
        "up to the last EOS": to_last_end,
        "drops answers that were cut off": drops_cut_off,
    },
    hints=(
        "A token belongs to the answer if no end token stands *before* it.",
        "`np.cumsum(tokens == eos, axis=1)` counts the end tokens up to and including each place.",
        "Subtract `tokens == eos` from that count, and it is the number before. Where is it 0?",
    ),
    cases=cases,
    parse=mask_of,
    difference=by_entry(("answer", 0), ("token", 0)),
    praise="the end token is in, the padding is out, and a cut-off answer is whole",
)
