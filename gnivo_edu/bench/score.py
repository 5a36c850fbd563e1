"""Chunked scoring against the dense computation: memory, time and error, all as ratios within one
run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gnivo_edu.bench.ratio import Progress, Row, missing_row, race, ratio_row
from gnivo_edu.policies.chunked import chunked_scores, chunked_weighted_sum
from gnivo_edu.policies.dense import FIELDS, dense_scores
from gnivo_edu.policies.heads import Head

# Memory is watched at the vocabulary and width of Qwen2.5-0.5B, time at smaller ones.
MEMORY_SIZES, TIME_SIZES = (151_936, 896), (32_768, 512)
# What known coefficients are held to: an eighth of the memory, and no more time.
MEMORY, TIME = 8.0, 1.0
LIMIT = 1e-12  # of the error in float64


def bench_score(
    tokens: int = 2048,
    timed: int = 1024,
    sizes: tuple[tuple[int, int], tuple[int, int]] = (MEMORY_SIZES, TIME_SIZES),
    repeats: int = 9,
    progress: Progress = None,
) -> list[Row]:
    """Forward and backward of the scores of `tokens` tokens, chunked against dense, float32; and
    the float64 error.

    Two ways: the chunks are made again in backward ("recomputed"), or the coefficients are known,
    as in the second of two passes, and they are made once ("known"). Log-probabilities alone over
    all tokens, also against the fused head of TRL (extra `trl`) where that is installed; with the
    entropy and the KL to a reference over half of them. Times are of `timed` tokens. `sizes`:
    vocabulary and width where memory is watched, and where time is taken. Memory is the most that
    torch had allocated at a time beyond its inputs and the head's own gradient, the same each time:
    of one run.

    >>> rows = bench_score(tokens=16, sizes=((64, 4), (64, 4)), repeats=1)
    >>> len(rows), rows[0]["case"]
    (11, 'log-probs, 16 tokens, recomputed: peak memory')
    """
    rows = []
    for name, fields, count in (
        ("log-probs", FIELDS[:1], tokens),
        ("with entropy and KL", FIELDS, tokens // 2),
    ):
        timed_count = min(timed, tokens) // (tokens // count)
        for case_of, watched, size in ((count, True, sizes[0]), (timed_count, False, sizes[1])):
            case = _Case(case_of, size[0], width=size[1], fields=fields)
            label = f"{name}, {case_of:,} tokens"
            rows += _compare(case, label, watched=watched, repeats=repeats, progress=progress)
    if progress:
        progress("the error in float64")
    error = float64_error(min(tokens, 32), sizes[1][0], width=sizes[1][1])
    # An error of nothing would be a ratio of infinity.
    measured = [max(error, 1e-300)]
    name = f"largest float64 error / limit of {LIMIT:g}"
    return [*rows, ratio_row(name, ours=measured, peer=[LIMIT], unit="nats")]


def float64_error(tokens: int, vocabulary: int, width: int) -> float:
    """Largest difference of chunked and dense scores and gradients, in nats (gradients: per unit of
    their largest).
    """
    case = _Case(tokens, vocabulary, width=width, fields=FIELDS, dtype=torch.float64)
    chunk = max(1, tokens // 5)
    case.dense()
    expected = case.take_gradients()
    errors = []
    for call in (case.recomputed, case.known):
        call(chunk)
        for gradient, true in zip(case.take_gradients(), expected, strict=True):
            errors.append((gradient - true).abs().max() / true.abs().max().clamp(min=1.0))
    with torch.no_grad():
        chunked = case.scores(chunked_scores, chunk=chunk)
        dense = case.scores(dense_scores)
    errors += [(chunked[name] - dense[name]).abs().max() for name in FIELDS]
    return float(max(errors))


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
        self,
        tokens: int,
        vocabulary: int,
        width: int,
        fields: Sequence[str],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=dtype)

        def draw_weight() -> Tensor:
            return draw(vocabulary, width).mul_(1.5 * width**-0.5)

        self.x = draw(tokens, width).requires_grad_()
        self.head = Head(weight=draw_weight().requires_grad_())
        self.y = torch.randint(vocabulary, (tokens,), generator=generator)
        self.coefficients = {name: draw(tokens) for name in fields}
        self.reference = None
        if "policy_kl" in fields:
            self.reference = (draw(tokens, width), Head(weight=draw_weight()))

    def dense(self) -> None:
        """All logits at once, by autograd."""
        self._backward(self.scores(dense_scores))

    def recomputed(self, chunk: int | None = None) -> None:
        """Chunks that are made again in backward."""
        self._backward(self.scores(chunked_scores, chunk=chunk))

    def known(self, chunk: int | None = None) -> None:
        """Chunks that are made once."""
        loss = chunked_weighted_sum(
            self.x,
            self.head,
            targets=self.y,
            coefficients=self.coefficients,
            reference=self.reference,
            chunk=chunk,
        )
        loss.backward()

    def fused_by_trl(self, chunk: int | None = None) -> None:
        """TRL's head, which makes log-probabilities alone. Raises ImportError where it is not."""
        from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE, _ChunkedLogProbFunction

        scores = _ChunkedLogProbFunction.apply(
            self.x,
            self.head.weight,
            None,
            self.y,
            1.0,
            chunk or _CHUNKED_LOGPROB_CHUNK_SIZE,
            None,
            1.0,
            ("log_probs",),
        )
        self._backward({"policy_logps": scores[0]})

    def scores(self, of: Callable[..., dict[str, Tensor]], **options: Any) -> dict[str, Tensor]:
        """All fields, as `dense_scores` or `chunked_scores` computes them."""
        fields = tuple(self.coefficients)
        inputs = {"targets": self.y, "fields": fields, "reference": self.reference}
        return of(self.x, self.head, **inputs, **options)

    def _backward(self, scores: dict[str, Tensor]) -> None:
        weighted = [(c * scores[name]).sum() for name, c in self.coefficients.items()]
        torch.stack(weighted).sum().backward()

    def take_gradients(self) -> list[Tensor]:
        """The gradients, which the case then forgets."""
        gradients = [x.grad for x in (self.x, self.head.weight) if x.grad is not None]
        self.x.grad = self.head.weight.grad = None
        return gradients


def _compare(case: _Case, label: str, watched: bool, repeats: int, progress: Progress) -> list[Row]:
    """The ways against the dense one: their memory where they are `watched`, else their time."""
    # A gradient of the head is as large as the head, in all ways: it is left out.
    bytes_of_gradient = case.head.weight.numel() * case.head.weight.element_size()

    ways: dict[str, Callable[[], None]] = {
        "dense": case.dense,
        "recomputed": case.recomputed,
        "known": case.known,
    }
    alone = tuple(case.coefficients) == FIELDS[:1]
    missing = ""
    if alone:
        try:
            case.fused_by_trl()
            case.take_gradients()
            ways["TRL"] = case.fused_by_trl
        except ImportError as error:
            missing = f'not run: TRL is not there ({error}); for it: pip install "gnivo-edu[trl]"'

    def peak(way: Callable[[], None]) -> int:
        held = peak_bytes(way)
        case.take_gradients()
        return held - bytes_of_gradient

    def timed(way: Callable[[], None], repeat: int) -> None:
        way()
        case.take_gradients()

    rows = []
    if watched:
        what, unit, bound = "peak memory", "bytes", MEMORY
        values = {name: [float(peak(way))] for name, way in ways.items()}
    else:
        what, unit, bound = "time", "s", TIME
        calls = {name: partial(timed, way) for name, way in ways.items()}
        runs = race(calls, repeats, progress=progress, label=f"{label}, ")
        values = {name: run.seconds for name, run in runs.items()}
    dense = values["dense"]
    rows += [
        ratio_row(f"{label}, recomputed: {what}", values["recomputed"], peer=dense, unit=unit),
        ratio_row(f"{label}, known: {what}", values["known"], peer=dense, unit=unit, bound=bound),
    ]
    against = f"{label}, known / TRL's fused head: {what}"
    if "TRL" in values:
        rows.append(ratio_row(against, values["known"], peer=values["TRL"], unit=unit))
    elif alone:
        rows.append(missing_row(against, missing))
    return rows
