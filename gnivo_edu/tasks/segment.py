r"""Steps of an answer, from its tokens: which step each token belongs to, without encoding any text
again.

Encoding the text of a step would give other tokens than the model wrote. Here the tokens are
decoded one after the other; a step ends where the text so far ends a line, a sentence, or a
delimiter, and the next step starts with the first token that starts after that. A token that holds
both an end and the next beginning (".\n\nThe") belongs to the step in which it starts; so do the
tokens that only begin a character. White space alone, or the end-of-sequence token, never makes a
step of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnivo_edu.names import nearest
from toy_envs.core import check_answers

Segmenter = Callable[[Sequence[str]], NDArray[np.int64]]

_LINE = re.compile(r"\n+")
# Not after the number of a list ("1. ") and not after a title; a decimal point has no space behind
# it.
_SENTENCE = re.compile(
    r"\n+|(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bMrs)(?<!^\d)(?<!^\d\d)[.!?…]+[\"'”’)\]]*\s+",
    re.MULTILINE,
)
# A character is at most four bytes: more tokens than that without a whole one are no beginning of a
# character.
_LONGEST_CHARACTER = 4


def token_pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text that each token adds, together the decoded text; special tokens add none.

    A character that several tokens make up belongs to the last of them; bytes that make up none
    show as U+FFFD. Works for any tokenizer with `decode`: each step decodes the tokens since the
    last whole character, with those before it as context, since a token may decode otherwise where
    it comes first.
    """

    def decode(start: int, stop: int) -> str:
        tokens = [token for token in ids[start:stop] if token not in special]
        return str(
            tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    special = set(tokenizer.all_special_ids)
    pieces = [""] * len(ids)
    context = done = 0  # the tokens context..done are decoded again, as context
    for stop in range(1, len(ids) + 1):
        after = decode(context, stop)
        if after.endswith("\ufffd") and stop - done < _LONGEST_CHARACTER and stop < len(ids):
            continue
        pieces[stop - 1] = after[len(decode(context, done)) :]
        if pieces[stop - 1]:
            context, done = done, stop
    return pieces


def tokens_as_steps(pieces: Sequence[str]) -> NDArray[np.int64]:
    """Each token is a step: int64 [L].

    >>> tokens_as_steps(["a", "b", "c"])
    array([0, 1, 2])
    """
    return np.arange(len(pieces), dtype=np.int64)


def steps_after(pattern: str | re.Pattern[str]) -> Segmenter:
    r"""A segmenter whose steps end where `pattern` matches: from the texts of L tokens to int64
    [L].

    >>> steps_after(r";")(["6", "4", ";", "6", "9", ";", "7", "1", "."])
    array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    >>> steps_after(r"\n+")(["One.", "\n", "\n", "Two", ".\nThree", " steps", ""])
    array([0, 0, 0, 1, 1, 2, 2])
    """
    compiled = re.compile(pattern)

    def steps(pieces: Sequence[str]) -> NDArray[np.int64]:
        text = "".join(pieces)
        ends = [match.end() for match in compiled.finditer(text) if match[0]]
        # White space alone makes no step: something must stand before an end, and after it.
        ends = [end for end in ends if text[:end].strip() and text[end:].strip()]
        starts = [0, *accumulate(len(piece) for piece in pieces)][:-1]
        ends_before = np.searchsorted(ends, starts, side="right")  # at or before a token's start
        # A token that follows one or more ends begins one new step.
        return np.cumsum(np.diff(ends_before, prepend=0) > 0, dtype=np.int64)

    return steps


SEGMENTERS: dict[str, Segmenter] = {
    "token": tokens_as_steps,
    "line": steps_after(_LINE),
    "sentence": steps_after(_SENTENCE),
}


def get_segmenter(name: str | Segmenter) -> Segmenter:
    """A segmenter by name ("token", "line", "sentence"), or by the text that ends a step, after
    "after:".

    >>> get_segmenter("after:;")(["1", ";", "2"])
    array([0, 0, 1])
    >>> get_segmenter("lines")
    Traceback (most recent call last):
    ValueError: there is no segmenter 'lines'; did you mean 'line'? A delimiter of your own: ...
    """
    if not isinstance(name, str):
        return name
    if name.startswith("after:") and name != "after:":
        return steps_after(re.escape(name.removeprefix("after:")))
    if name in SEGMENTERS:
        return SEGMENTERS[name]
    hint = nearest(name, SEGMENTERS, otherwise=f"known: {', '.join(SEGMENTERS)}.")
    raise ValueError(
        f"there is no segmenter {name!r}; {hint} A delimiter of your own: 'after:' and its text"
    )


def step_ids_of(
    pieces: Sequence[Sequence[str]], segmenter: Segmenter, width: int
) -> NDArray[np.int64]:
    """Step of each token of B answers, int64 [B, width]: 0, 1, 2, ...; the last step goes on over
    the padding.
    """
    ids = np.zeros((len(pieces), width), dtype=np.int64)
    for row, texts in zip(ids, pieces, strict=True):
        if len(texts):
            steps = segmenter(texts)
            row[: len(texts)] = steps
            row[len(texts) :] = steps[-1]
    return ids


def check_rows(tokens: ArrayLike, lengths: ArrayLike) -> list[list[int]]:
    """The tokens of each answer as a list, without padding; ValueError where shapes do not fit."""
    tokens, lengths = check_answers(tokens, lengths)
    return [row[:length].tolist() for row, length in zip(tokens, lengths.tolist(), strict=True)]
