"""Exercise 32: what a transformer says about an answer.

A causal language model reads a row of tokens, a prompt of P tokens and then an answer, and returns
logits at *every* position. Those at a position speak about the token that comes next: the logits at
the last token of the prompt are about the first token of the answer. With z the logits there, over
the V actions only,

    log pi(a | s) = z_a - log sum over the actions b < V of e^{z_b}

Write `answer_logps(logits, tokens, lengths, prompt_width, num_actions) -> float64 [K, T]`: the
log-probability of each token of each answer, in nats, and 0 in the padding.

- `logits`, float64 [K, P + T, V + 2]: of K rows, the P = `prompt_width` tokens of the prompt and
  the T of the answer;
- `tokens`, int [K, T]: the answers, padded with the id V + 1;
- `lengths`, int [K]: how many of the T entries belong to each answer, its end token included;
- `num_actions`, V: ids V and V + 1 are BOS and PAD. A policy never writes them, so they take no
  probability.

Logits can be as large as 1000.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.course.exercises.arrays import Array, array, by_entry
from gnivo_edu.course.exercises.base import Case, Exercise

Ints = NDArray[np.int64]


def answer_logps(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """Log-probability of each token of each answer [K, T], nats; 0 in the padding.

    >>> logits = np.log([[[1, 3, 9, 9], [1, 1, 9, 9], [9, 9, 9, 9]]])
    >>> np.exp(answer_logps(logits, np.array([[1, 0]]), np.array([2]), 1, 2))
    array([[0.75, 0.5 ]])
    """
    width = tokens.shape[1]
    z = logits[:, prompt_width - 1 : prompt_width - 1 + width, :num_actions]
    logps = z - np.logaddexp.reduce(z, axis=-1, keepdims=True)
    written = np.arange(width) < lengths[:, None]
    chosen = np.take_along_axis(logps, np.where(written, tokens, 0)[..., None], axis=-1)[..., 0]
    return np.where(written, chosen, 0.0)


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def not_shifted(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """a token is scored by the logits at its own place: those speak about the token after it, so go
    one back.
    """
    return answer_logps(logits, tokens, lengths, prompt_width + 1, num_actions)


def forgets_prompt(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """the logits are taken from the start of the row: the answer begins after `prompt_width`
    tokens.
    """
    return answer_logps(logits, tokens, lengths, 1, num_actions)


def all_ids(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """BOS and PAD get a share of the probability: normalise over the first `num_actions` ids
    only.
    """
    return answer_logps(logits, tokens, lengths, prompt_width, logits.shape[-1])


def unnormalised(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """the logits themselves are returned: subtract the logarithm of the sum of their
    exponentials.
    """
    z = logits[:, prompt_width - 1 : prompt_width - 1 + tokens.shape[1]]
    written = np.arange(tokens.shape[1]) < lengths[:, None]
    return np.where(written, np.take_along_axis(z, tokens[..., None], axis=-1)[..., 0], 0.0)


def likeliest(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """the likeliest token is scored: score the one that was written."""
    z = logits[:, prompt_width - 1 : prompt_width - 1 + tokens.shape[1], :num_actions]
    return answer_logps(logits, z.argmax(axis=-1), lengths, prompt_width, num_actions)


def padding_counted(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """padding is scored like a token: what comes after `lengths` tokens is 0."""
    whole = np.full_like(lengths, tokens.shape[1])
    return answer_logps(
        logits, np.where(tokens < num_actions, tokens, 0), whole, prompt_width, num_actions
    )


def drops_eos(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """the last token of each answer is dropped: the end token is a choice too, and `lengths` counts
    it.
    """
    return answer_logps(logits, tokens, lengths - 1, prompt_width, num_actions)


def probabilities(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """probabilities are returned: the answer is their logarithm."""
    written = np.arange(tokens.shape[1]) < lengths[:, None]
    return np.where(
        written, np.exp(answer_logps(logits, tokens, lengths, prompt_width, num_actions)), 0.0
    )


def over_positions(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """the softmax runs over the positions (axis 1): the choices lie along the last axis."""
    z = logits[:, prompt_width - 1 : prompt_width - 1 + tokens.shape[1], :num_actions]
    logps = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    written = np.arange(tokens.shape[1]) < lengths[:, None]
    chosen = np.take_along_axis(logps, np.where(written, tokens, 0)[..., None], axis=-1)[..., 0]
    return np.where(written, chosen, 0.0)


def overflows(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """e^1000 overflows: np.logaddexp.reduce takes the logarithm of a sum of exponentials without
    it.
    """
    z = logits[:, prompt_width - 1 : prompt_width - 1 + tokens.shape[1], :num_actions]
    logps = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    written = np.arange(tokens.shape[1]) < lengths[:, None]
    chosen = np.take_along_axis(logps, np.where(written, tokens, 0)[..., None], axis=-1)[..., 0]
    return np.where(written, chosen, 0.0)


def running_sum(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """the log-probabilities are added up along the answer: each token has its own."""
    written = np.arange(tokens.shape[1]) < lengths[:, None]
    found = answer_logps(logits, tokens, lengths, prompt_width, num_actions)
    return np.where(written, np.cumsum(found, axis=1), 0.0)


# --- the check ------------------------------------------------------------------------------------


def by_loop(
    logits: Array, tokens: Ints, lengths: Ints, prompt_width: int, num_actions: int
) -> Array:
    """The same, entry by entry."""
    found = np.zeros(tokens.shape)
    for i, length in enumerate(lengths):
        for t in range(length):
            z = logits[i, prompt_width - 1 + t, :num_actions]
            found[i, t] = z[tokens[i, t]] - z.max() - np.log(np.exp(z - z.max()).sum())
    return found


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """One answer by hand after a longer prompt, random rows with and without padding, then large
    logits.
    """
    odds = [[2, 2, 2, 4, 6], [1, 2, 5, 3, 1], [6, 3, 1, 7, 2], [2, 1, 1, 5, 3], [4, 4, 8, 2, 9]]
    worked = np.log([[2 / 8, 6 / 10, 1 / 4]])
    where = "one answer of 3 tokens after a prompt of 2; V = 3"
    yield Case(where, (np.log([odds]), np.array([[1, 0, 2]]), np.array([3]), 2, 3), worked)
    for trial, (rows, prompt, width, V) in enumerate(
        [(3, 1, 4, 2), (4, 3, 3, 4), (5, 5, 6, 3)], start=1
    ):
        logits = 2 * rng.standard_normal((rows, prompt + width, V + 2))
        lengths = rng.integers(1, width, size=rows)
        lengths[0] = width
        inside = np.arange(width) < lengths[:, None]
        tokens = np.where(inside, rng.integers(V, size=(rows, width)), V + 1)
        asked = logits, tokens, lengths, prompt, V
        text = f"random rows {trial}: prompt of {prompt}, answers of {lengths} tokens, V = {V}"
        yield Case(text, asked, by_loop(*asked))
    yield Case("the same, all logits 1000 higher", (logits + 1000, *asked[1:]), by_loop(*asked))


EXERCISE = Exercise(
    name="answer_logps",
    compares="the log-probability of each token of each answer, in nats",
    statement=__doc__,
    reference=answer_logps,
    gives="Log-probability of each token of each answer [K, T], nats; 0 in the padding.",
    wrong_answers={
        "not shifted": not_shifted,
        "forgets the prompt": forgets_prompt,
        "BOS and PAD normalised": all_ids,
        "unnormalised": unnormalised,
        "likeliest token": likeliest,
        "counts padding": padding_counted,
        "drops EOS": drops_eos,
        "no logarithm": probabilities,
        "softmax over positions": over_positions,
        "overflow": overflows,
        "running sum": running_sum,
    },
    hints=(
        "Which position has read the whole prompt, and nothing of the answer? Its logits are "
        "about the first token.",
        "Take the T positions from prompt_width - 1 on and the first num_actions ids, and subtract "
        "np.logaddexp.reduce(..., axis=-1, keepdims=True).",
        "np.take_along_axis(logps, tokens[..., None], axis=-1)[..., 0] picks the tokens that were "
        "written. Padding is "
        "no action: put any action there first, and 0 into the result.",
    ),
    cases=cases,
    parse=array,
    difference=by_entry(("answer", 0), ("token", 1), tolerance=1e-9),
    praise="it looks one place back, and spends all probability on actions",
)
