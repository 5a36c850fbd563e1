"""Exercise 34: prune a row.

After a prefix a language model has a logit for every token of its vocabulary. To list what it may
write, keep its k likeliest tokens and forget the others: the kept ones are renormalised, so that
their probabilities sum to 1 again. Special tokens (the end of a text, padding and the like) are not
text and are never kept.

Write `prune_row(logits, special, k) -> (tokens, logps, mass)`.

- `logits`, float64 [V]: one row of the model; its own probabilities are their softmax over all V
  tokens.
- `special`, a tuple of ids: tokens that must not be kept.
- `k`, int >= 1: how many tokens are kept; so many are left.

Return the kept ids, the likeliest first, int [k]; the logarithms of their renormalised
probabilities, float64 [k]; and the mass, a float: the probability that the model itself gives to
the kept tokens. A logit may be as large as 1000."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import (
    Array,
    array,
    by_entry,
    by_part,
    same_number,
    tuple_of,
    whole_numbers,
)
from gnivo_edu.course.exercises.base import Case, Exercise, number

Ids = NDArray[np.int64]
Special = tuple[int, ...]
Row = tuple[Ids, Array, float]


def prune_row(logits: Array, special: Special, k: int) -> Row:
    """Ids and log-probabilities of the k likeliest tokens that are not special, and their mass.

    >>> tokens, logps, mass = prune_row(np.log([0.5, 0.125, 0.25, 0.125]), special=(0,), k=2)
    >>> tokens[:1], np.exp(logps[:1]).round(4), mass
    (array([2]), array([0.6667]), 0.375)
    """
    allowed = logits.copy()
    allowed[list(special)] = -np.inf
    tokens = np.argsort(-allowed, kind="stable")[:k]
    own = logits[tokens] - np.logaddexp.reduce(logits)
    log_mass = np.logaddexp.reduce(own)
    return tokens, own - log_mass, float(np.exp(log_mass))


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def not_renormalised(logits: Array, special: Special, k: int) -> Row:
    """the kept tokens keep the model's own probabilities: these sum to the mass, divide by it."""
    tokens, logps, mass = prune_row(logits, special, k)
    return tokens, logps + math.log(mass), mass


def only_special_removed(logits: Array, special: Special, k: int) -> Row:
    """the probabilities are renormalised over all tokens but the special ones: the sum runs over
    the kept tokens.
    """
    tokens, _, mass = prune_row(logits, special, k)
    left = np.delete(logits, list(special))
    return tokens, logits[tokens] - np.logaddexp.reduce(left), mass


def by_position(logits: Array, special: Special, k: int) -> Row:
    """the first k tokens of the vocabulary are kept: ids are names, sort by the logits."""
    tokens = np.array([i for i in range(len(logits)) if i not in special][:k])
    return _of(logits, tokens)


def keeps_special(logits: Array, special: Special, k: int) -> Row:
    """special tokens are kept as well: take them out before you choose."""
    return prune_row(logits, (), k)


def least_likely(logits: Array, special: Special, k: int) -> Row:
    """the k least likely tokens are kept: argsort puts the smallest first."""
    order = [i for i in np.argsort(logits, kind="stable").tolist() if i not in special]
    return _of(logits, np.array(order[:k]))


def in_order_of_ids(logits: Array, special: Special, k: int) -> Row:
    """the kept tokens stand in the order of their ids: the likeliest comes first."""
    return _of(logits, np.sort(prune_row(logits, special, k)[0]))


def shifted_ids(logits: Array, special: Special, k: int) -> Row:
    """special tokens are cut out of the row before it is sorted: then all later tokens get the
    number of another.
    """
    tokens, logps, mass = prune_row(logits, special, k)
    return tokens - np.array([sum(i < token for i in special) for token in tokens]), logps, mass


def zeros(logits: Array, special: Special, k: int) -> Row:
    """what is left out gets logit 0: e^0 is 1, so that it still takes part in the sum. Use -inf, or
    leave it out.
    """
    tokens, _, mass = prune_row(logits, special, k)
    masked = np.zeros_like(logits)
    masked[tokens] = logits[tokens]
    return tokens, logits[tokens] - np.logaddexp.reduce(masked), mass


def mass_without_special(logits: Array, special: Special, k: int) -> Row:
    """the mass is a share of the tokens that are not special: the model itself gives probability to
    those, too.
    """
    tokens, logps, _ = prune_row(logits, special, k)
    left = np.delete(logits, list(special))
    return (
        tokens,
        logps,
        float(np.exp(np.logaddexp.reduce(logits[tokens]) - np.logaddexp.reduce(left))),
    )


def mass_afterwards(logits: Array, special: Special, k: int) -> Row:
    """the mass is taken after renormalising, when it is always 1."""
    tokens, logps, _ = prune_row(logits, special, k)
    return tokens, logps, 1.0


def lost_mass(logits: Array, special: Special, k: int) -> Row:
    """the mass that was lost is returned: asked for is what was kept."""
    tokens, logps, mass = prune_row(logits, special, k)
    return tokens, logps, 1 - mass


def found_by_value(logits: Array, special: Special, k: int) -> Row:
    """a token is looked up by its logit: two may have the same one, and then the first is kept
    twice. Sort the ids (argsort).
    """
    tokens = prune_row(logits, special, k)[0]
    first = [int(np.flatnonzero(logits == logits[token])[0]) for token in tokens]
    return _of(logits, np.array(first))


def in_no_order(logits: Array, special: Special, k: int) -> Row:
    """np.argpartition finds the k likeliest tokens, but promises no order: sort them."""
    tokens = prune_row(logits, special, k)[0]
    if k < 8:
        return _of(logits, tokens)
    return _of(logits, np.roll(tokens, 1))


def log_mass(logits: Array, special: Special, k: int) -> Row:
    """the logarithm of the mass is returned: the mass is a probability."""
    tokens, logps, mass = prune_row(logits, special, k)
    return tokens, logps, math.log(mass)


def probabilities(logits: Array, special: Special, k: int) -> Row:
    """probabilities are returned in the place of their logarithms."""
    tokens, logps, mass = prune_row(logits, special, k)
    return tokens, np.exp(logps), mass


def overflows(logits: Array, special: Special, k: int) -> Row:
    """e^logit overflows: subtract the largest logit first, or use np.logaddexp.reduce."""
    tokens, _, _ = prune_row(logits, special, k)
    all_of_them = np.exp(logits)
    kept = all_of_them[tokens]
    return tokens, np.log(kept / kept.sum()), float(kept.sum() / all_of_them.sum())


def _of(logits: Array, tokens: Ids) -> Row:
    """Log-probabilities and mass of given tokens."""
    total = np.logaddexp.reduce(logits[tokens])
    return tokens, logits[tokens] - total, float(np.exp(total - np.logaddexp.reduce(logits)))


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Five tokens by hand, what constants and sizes do to them, random rows, then the limits."""
    p = np.array([0.4, 0.1, 0.2, 0.05, 0.25])
    kept = np.log([0.25 / 0.45, 0.2 / 0.45])
    where = "probabilities 0.4, 0.1, 0.2, 0.05, 0.25; token 0 is special; k = 2"
    yield Case(where, (np.log(p), (0,), 2), (np.array([4, 2]), kept, 0.45))
    yield Case(
        "the same, every logit raised by 3",
        (np.log(p) + 3, (0,), 2),
        (np.array([4, 2]), kept, 0.45),
    )
    yield Case("the same, k = 1", (np.log(p), (0,), 1), (np.array([4]), np.zeros(1), 0.25))
    every = np.log([0.4, 0.25, 0.2, 0.1, 0.05])
    yield Case(
        "the same, nothing special, k = 5: all of it",
        (np.log(p), (), 5),
        (np.array([0, 4, 2, 1, 3]), every, 1),
    )
    for trial in range(3):
        size, k = int(rng.integers(20, 60)), int(rng.integers(2, 6))
        logits = 2 * rng.standard_normal(size)
        special = tuple(sorted(rng.choice(size, 3, replace=False).tolist()))
        order = sorted((i for i in range(size) if i not in special), key=lambda i: -logits[i])[:k]
        weights = [math.exp(logits[i]) for i in order]
        own = np.array([math.log(w / math.fsum(weights)) for w in weights])
        mass = math.fsum(weights) / math.fsum(math.exp(x) for x in logits)
        where = f"random row {trial + 1}: {size} tokens, special {special}, k = {k}"
        yield Case(where, (logits, special, k), (np.array(order), own, mass))
    size, k = 500, 30
    many = rng.permutation(size) / 50
    best = np.argsort(-many)[:k]
    own = many[best] - np.logaddexp.reduce(many[best])
    mass = math.fsum(np.exp(many[best])) / math.fsum(np.exp(many))
    yield Case(f"{size} tokens, k = {k}", (many, (), k), (best, own, mass))
    tied = np.log([0.1, 0.3, 0.2, 0.3, 0.1])
    where = "probabilities 0.1, 0.3, 0.2, 0.3, 0.1, k = 3: two tokens have the same, keep both"
    kept = np.log([0.375, 0.375, 0.25])
    yield Case(where, (tied, (), 3), (np.array([1, 3, 2]), kept, 0.8))
    steep = np.array([1000.0, 999.0, -1000.0, 1000.0 - math.log(2)])
    third = np.log([2 / 3, 1 / 3])
    expected = (np.array([0, 3]), third, 1.5 / (1.5 + math.exp(-1)))
    yield Case("logits 1000, 999, -1000 and 1000 - log 2, k = 2", (steep, (), 2), expected)


compare = by_part(tokens=by_entry(("rank", 0)), logps=by_entry(("rank", 0)), mass=same_number)


def difference(got: Row, expected: Row) -> str | None:
    """How two pruned rows differ, or None; tokens of the same probability may stand in any
    order.
    """
    tokens = got[0]
    if tokens.shape == np.shape(expected[0]):
        rank = np.cumsum(np.diff(expected[1], prepend=expected[1][0]) < -1e-9)
        ordered = [np.array(ids)[np.lexsort((ids, rank))] for ids in (tokens, expected[0])]
        got, expected = (ordered[0], *got[1:]), (ordered[1], *expected[1:])
    return compare(got, expected)


EXERCISE = Exercise(
    name="prune_row",
    compares="the kept tokens, their log-probabilities in nats, and the mass that they had",
    statement=__doc__,
    reference=prune_row,
    gives="The kept ids [k], their renormalised log-probabilities [k], and the mass that they had.",
    wrong_answers={
        "keeps the model's probabilities": not_renormalised,
        "renormalises over the vocabulary": only_special_removed,
        "top k by position": by_position,
        "forgets special tokens": keeps_special,
        "least likely": least_likely,
        "in the order of ids": in_order_of_ids,
        "ids of a shortened row": shifted_ids,
        "masks with 0": zeros,
        "mass without special tokens": mass_without_special,
        "mass after renormalising": mass_afterwards,
        "lost mass": lost_mass,
        "found by value": found_by_value,
        "in no order": in_no_order,
        "log of the mass": log_mass,
        "probabilities": probabilities,
        "overflow": overflows,
    },
    hints=(
        "Give special tokens a logit of -inf in a copy of the row, and sort that copy.",
        "The model's own log-probabilities are logits - np.logaddexp.reduce(logits), over all "
        "tokens.",
        "The kept ones sum to the mass: subtract the logarithm of the mass from each.",
    ),
    cases=cases,
    parse=tuple_of("three things, (tokens, logps, mass)", whole_numbers, array, number),
    difference=difference,
    praise="the kept tokens sum to 1 again, and you know what they were worth before",
)
