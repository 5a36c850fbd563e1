"""What an enumeration would cost, in memory; too large a tree is refused before it is built."""

from __future__ import annotations

import math
from dataclasses import dataclass

DEFAULT_MAX_BYTES = 2 * 2**30
MOST_DIGITS = 1000  # of a number of sequences that is still worked out: longer ones take minutes


class TreeTooLargeError(ValueError):
    """The tree would take more memory than allowed; raised before anything is allocated."""


@dataclass(frozen=True)
class TreeSize:
    """What an enumeration would cost."""

    sequences: int
    prefixes: int
    bytes: int

    def __str__(self) -> str:
        return (
            f"{_count(self.sequences)} sequences, {_count(self.prefixes)} prefixes, "
            f"{_mebibytes(self.bytes)} MiB"
        )


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**15 else f"about 1e{len(str(number)) - 1}"


def _mebibytes(number: int) -> str:
    return f"{number / 2**20:,.1f}" if number < 2**60 else _count(number >> 20)


def tree_size(vocab_size: int, horizon: int) -> TreeSize:
    """Size of a full tree: V**T sequences, sum_t V**t prefixes, and the bytes of its arrays.

    Raises TreeTooLargeError at once on numbers of more than a thousand digits, and ValueError on
    V < 1 or T < 0.

    >>> print(tree_size(vocab_size=10, horizon=7))
    10,000,000 sequences, 11,111,111 prefixes, 245.8 MiB
    >>> tree_size(vocab_size=4, horizon=100_000)
    Traceback (most recent call last):
    gnivo_edu.exact.size.TreeTooLargeError: the tree has about 1e60206 sequences: take a smaller
    vocabulary or horizon
    """
    if vocab_size < 1 or horizon < 0:
        raise ValueError(
            f"a tree has V >= 1 tokens and T >= 0 steps, got {vocab_size} and {horizon}"
        )
    digits = horizon * math.log10(vocab_size)
    if digits > MOST_DIGITS:
        raise TreeTooLargeError(
            f"the tree has about 1e{digits:.0f} sequences: take a smaller vocabulary or horizon"
        )
    sequences = vocab_size**horizon
    # The sum of V**t over t = 0..T is a geometric series.
    prefixes = horizon + 1
    if vocab_size > 1:
        prefixes = (vocab_size * sequences - 1) // (vocab_size - 1)
    # float64: the rewards, a conditional log-probability for every prefix but the root, and the
    # log-probability of every prefix.
    return TreeSize(sequences, prefixes, bytes=8 * (sequences + (prefixes - 1) + prefixes))


def check_size(
    vocab_size: int, horizon: int, max_bytes: int | None = None, trees: int = 1
) -> TreeSize:
    """Size of a full tree; TreeTooLargeError if as many `trees` of it are above `max_bytes` (2 GiB
    by default).
    """
    size = tree_size(vocab_size, horizon)
    limit = DEFAULT_MAX_BYTES if max_bytes is None else max_bytes
    if trees * size.bytes > limit:
        what, way_out = f"the tree has {size},", "take a smaller vocabulary or horizon"
        if trees > 1:
            what, way_out = f"{trees} prompts of {size} each are", "enumerate them one by one"
        raise TreeTooLargeError(
            f"{what} above the limit of {limit / 2**20:,.0f} MiB: {way_out}, or raise max_bytes"
        )
    return size
