"""Chunked scoring against the dense computation: memory, time and error, all as ratios within one
run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gnivo_edu.bench.ratio import ratio_row, seconds_of
from gnivo_edu.policies.chunked import chunked_scores, chunked_weighted_sum
from gnivo_edu.policies.dense import FIELDS, dense_scores
from gnivo_edu.policies.heads import Head

Progress = Callable[[str], None] | None
VOCABULARY, HIDDEN = 151_936, 896  # those of Qwen2.5-0.5B
LIMIT = 1e-12  # of the error in float64


def bench_score(
    tokens: int = 4096,
    vocabulary: int = VOCABULARY,
    width: int = HIDDEN,
    repeats: int = 3,
    progress: Progress = None,
) -> list[dict[str, Any]]:
    """Forward and backward of the scores of `tokens` tokens, chunked against dense, float32; and
    the float64 error.

    Two ways: the chunks are made again in backward ("recomputed"), or the coefficients are known,
    as in the second of two passes, and they are made once ("known"). Log-probabilities alone over
    all tokens; with the entropy and the KL to a reference over a quarter of them, where the dense
    computation fits a laptop. Memory is the most that torch had allocated at a time beyond its
    inputs and the head's own gradient.

    >>> rows = bench_score(tokens=16, vocabulary=64, width=4, repeats=1)
    >>> [row["case"] for row in rows[:2]], len(rows)
    (['log-probs, 16 tokens, recomputed: peak memory', 'log-probs, 16 tokens, known: peak memory'], 9)
    """
    rows = _compare(tokens, vocabulary, width, FIELDS[:1], "log-probs", repeats, progress)
    rows += _compare(
        tokens // 4, vocabulary, width, FIELDS, "with entropy and KL", repeats, progress
    )
    if progress:
        progress("the error in float64")
    error = float64_error(min(tokens, 32), vocabulary, width)
    return [
        *rows,
        ratio_row(
            f"largest float64 error / limit of {LIMIT:g}", [max(error, 1e-300)], [LIMIT], "nats"
        ),
    ]


def float64_error(tokens: int, vocabulary: int, width: int) -> float:
    """Largest difference of chunked and dense scores and gradients, in nats (gradients: per unit of
    their largest).
    """
    case = _Case(tokens, vocabulary, width, FIELDS, torch.float64)
    chunk = max(1, tokens // 5)
    case.dense()
    expected = case.taken()
    largest = 0.0
    for call in (lambda: case.recomputed(chunk), lambda: case.known(chunk)):
        call()
        for found, true in zip(case.taken(), expected, strict=True):
            largest = max(
                largest, float((found - true).abs().max() / true.abs().max().clamp(min=1.0))
            )
    with torch.no_grad():
        ours = chunked_scores(case.x, case.head, case.y, FIELDS, case.reference, chunk)
        dense = dense_scores(case.x, case.head, case.y, FIELDS, case.reference)
    return max(largest, *(float((ours[name] - dense[name]).abs().max()) for name in FIELDS))


def peak_bytes(call: Callable[[], object]) -> int:
    """Most bytes that torch had allocated on the CPU at one time during a call, beyond those at its
    start.

    >>> peak_bytes(lambda: torch.zeros(1000).add_(1)) >= 4000
    True
    """
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        call()
    results: Any = profile.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


class _Case:
    """Random hidden states and heads with logits of size about 1.5, and one gradient in three
    ways.
    """

    def __init__(
        self, tokens: int, vocabulary: int, width: int, fields: Sequence[str], dtype: torch.dtype
    ) -> None:
        g = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=dtype)

        self.x = draw(tokens, width).requires_grad_()
        self.head = Head(weight=draw(vocabulary, width).mul_(1.5 * width**-0.5).requires_grad_())
        self.y = torch.randint(vocabulary, (tokens,), generator=g)
        self.coefficients = {name: draw(tokens) for name in fields}
        self.reference = None
        if "policy_kl" in fields:
            self.reference = (
                draw(tokens, width),
                Head(weight=draw(vocabulary, width).mul_(1.5 * width**-0.5)),
            )

    def dense(self) -> None:
        """All logits at once, by autograd."""
        self._backward(
            dense_scores(self.x, self.head, self.y, tuple(self.coefficients), self.reference)
        )

    def recomputed(self, chunk: int | None = None) -> None:
        """Chunks that are made again in backward."""
        self._backward(
            chunked_scores(
                self.x, self.head, self.y, tuple(self.coefficients), self.reference, chunk
            )
        )

    def known(self, chunk: int | None = None) -> None:
        """Chunks that are made once."""
        chunked_weighted_sum(
            self.x, self.head, self.y, self.coefficients, self.reference, chunk
        ).backward()

    def _backward(self, scores: dict[str, Tensor]) -> None:
        torch.stack(
            [(c * scores[name]).sum() for name, c in self.coefficients.items()]
        ).sum().backward()

    def taken(self) -> list[Tensor]:
        """The gradients, which are forgotten."""
        gradients = [x.grad for x in (self.x, self.head.weight) if x.grad is not None]
        self.x.grad = self.head.weight.grad = None
        return gradients


def _compare(
    tokens: int,
    vocabulary: int,
    width: int,
    fields: Sequence[str],
    name: str,
    repeats: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    case = _Case(tokens, vocabulary, width, fields, torch.float32)
    calls: dict[str, Callable[[], None]] = {
        "dense": case.dense,
        "recomputed": case.recomputed,
        "known": case.known,
    }
    own = 4 * case.head.weight.numel()
    seconds: dict[str, list[float]] = {way: [] for way in calls}
    peaks: dict[str, list[float]] = {way: [] for way in calls}
    for repeat in range(repeats):
        for way, call in calls.items():
            if progress:
                progress(f"{name}, {tokens:,} tokens, {way}: run {repeat + 1} of {repeats}")
            # Every run is watched: it costs a few hundred records, in all three ways.
            seconds[way].append(seconds_of(lambda: peaks[way].append(peak_bytes(call) - own)))  # noqa: B023
            case.taken()
    label = f"{name}, {tokens:,} tokens"
    ways = ("recomputed", "known")
    return [
        ratio_row(f"{label}, {way}: peak memory", peaks[way], peaks["dense"], "bytes")
        for way in ways
    ] + [ratio_row(f"{label}, {way}: time", seconds[way], seconds["dense"], "s") for way in ways]
