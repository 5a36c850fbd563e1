"""What is said where a run goes wrong, or badly: the answer that broke the gradient, a gradient far
above its clip, threads that wait for each other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gnivo_edu.training.rollout import Drawn

FAR_ABOVE = 100.0  # times `max_grad_norm`
WATCHED = 2.0  # seconds of steps, after the first one
WAITING = 0.3  # of the time that threads could run
THREADS = Path("/proc/self/task")  # Linux alone says how long a thread has waited


def answer_in_words(drawn: Drawn, task: Any, place: Sequence[int]) -> str:
    """Which answer of a step's groups stands at [n, k]: its prompt, its number, how it begins."""
    n, k = place[:2]
    tokens = drawn["tokens"][n, k, : int(drawn["lengths"][n, k])].tolist()
    text = " ".join(task.decode(tokens).split())
    beginning = text if len(text) <= 60 else text[:60] + "..."
    return f"answer {k} to prompt {int(drawn['prompt_index'][n])}, {beginning!r}"


def clip_gradient(parameters: Sequence[nn.Parameter], limit: float) -> float:
    """Scale the gradient down to a norm of at most `limit`; its norm before.

    Numbers of 1e20 have squares that float32 does not hold: where the norm is not finite and all
    numbers are, they are scaled first.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if bool(norm.isfinite()) or not all(bool(g.isfinite().all()) for g in gradients):
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return float(norm)
    largest = max(float(g.abs().max()) for g in gradients)
    scaled = [g / largest for g in gradients]
    share = float(nn.utils.get_total_norm(scaled))
    for g, small in zip(gradients, scaled, strict=True):
        g.copy_(small * min(limit / share, largest))
    return largest * share


class Watch:
    """Says once what a run does badly, through `progress`."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self.progress = progress
        self.told = False
        self.start: tuple[float, float, float] | None = None
        self.watching = THREADS.exists()

    def norm(self, norm: float, limit: float) -> None:
        """Look at the norm of a gradient, before it is clipped to `limit`."""
        if not self.told and norm > FAR_ABOVE * limit:
            self.told = True
            self.progress(
                f"the gradient has norm {norm:.3g} and is clipped to max_grad_norm={limit:g}: "
                "its direction alone is learned from; a larger alpha or, for raw weights, a "
                "reward_max may make it smaller"
            )

    def step(self) -> None:
        """A step is done: after the first ones, see whether threads have waited for cores."""
        if not self.watching:
            return
        ran, waited = thread_seconds()
        now = time.perf_counter()
        if self.start is None:  # the first step also loads and compiles
            self.start = now, ran, waited
        elif now - self.start[0] > WATCHED:
            self.watching = False
            ran, waited = ran - self.start[1], waited - self.start[2]
            if waited > WAITING * (ran + waited):
                self.progress(contention(waited / (ran + waited)))


def contention(share: float) -> str:
    """What to do about threads that spend this share of their time waiting for a core."""
    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    fewer = max(1, min(threads, cores) // 2)
    return (
        f"threads wait for a core {share:.0%} of their time: torch has {threads} threads, on "
        f"{cores} cores that others use too; OMP_NUM_THREADS={fewer}, or "
        f"torch.set_num_threads({fewer}), may be faster"
    )


def thread_seconds() -> tuple[float, float]:
    """Seconds that the threads of this process have run, and have waited for a core to run on."""
    ran, waited = 0, 0
    for path in THREADS.glob("*/schedstat"):
        try:
            numbers = path.read_text().split()
        except OSError:  # the thread has ended
            continue
        ran, waited = ran + int(numbers[0]), waited + int(numbers[1])
    return ran / 1e9, waited / 1e9


def finite(parameters: Sequence[nn.Parameter]) -> bool:
    """Whether all of a gradient is."""
    return all(p.grad is None or bool(p.grad.isfinite().all()) for p in parameters)


def first_broken(
    rows: Tensor, push: Callable[[Tensor], object], parameters: Sequence[nn.Parameter]
) -> int:
    """The first row whose own gradient, that `push(row)` adds to `.grad`, is not finite; -1 if each
    is. What `.grad` held is lost.
    """
    for row in rows:
        for p in parameters:
            p.grad = None
        push(row[None])
        if not finite(parameters):
            return int(row)
    return -1
