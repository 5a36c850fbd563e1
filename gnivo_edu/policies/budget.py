"""What a run will take, stated before it: memory by parts and phases, and a rough time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gnivo_edu.machine import memory_bytes
from gnivo_edu.policies.chunked import CHUNK_BYTES
from gnivo_edu.policies.footprint import Work

MIB = 2**20
# Measured on a CPU with glibc, beyond what is counted: code and tables of libraries that are read
# when they are first called, and freed blocks that stay; more with the kernels of bfloat16; and of
# a tokenizer, for each of its tokens.
RUNTIME, RUNTIME_BF16 = 70 * MIB, 20 * MIB
WORD_BYTES = 1024
# Holes that small arrays leave between activations, as a share of these: adapters and casts to
# bfloat16 make many of them. Measured too.
HOLES_ADAPTERS, HOLES_BF16 = 0.6, 0.5
# Of one logit while a token is drawn: itself, its log-probability and exponential, the sum in
# float64.
DRAWN_BYTES = 4 + 4 + 4 + 8


@dataclass(frozen=True)
class Phase:
    """A part of a run: bytes that are alive in it, by what they are for, and its work."""

    name: str
    parts: dict[str, int]
    works: tuple[Work, ...] = ()

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Speed:
    """What this machine does in a second: operations of products, bytes moved, calls."""

    flops: float
    moved: float
    calls: float

    def seconds(self, works: Sequence[Work]) -> float:
        """About how long it takes to do all of that."""
        return sum(
            work.flops / self.flops + work.moved / self.moved + work.calls / self.calls
            for work in works
        )


@dataclass(frozen=True)
class Budget:
    """Phases of a run, one of which takes the most memory; `steps` of them all. `about`: what was
    counted, in a few words.
    """

    about: str
    phases: tuple[Phase, ...]
    speed: Speed
    steps: int = 1

    @property
    def largest(self) -> Phase:
        """The phase that takes the most memory."""
        return max(self.phases, key=lambda phase: phase.total)

    @property
    def seconds(self) -> float:
        """Of one step, roughly."""
        return sum(self.speed.seconds(phase.works) for phase in self.phases)

    @property
    def warning(self) -> str:
        """One line where the machine has less memory than that, else ""."""
        memory = memory_bytes()
        if memory is None or self.largest.total <= memory:
            return ""
        return (
            f"this machine has {memory / MIB:,.0f} MiB of memory, and the run needs about "
            f"{self.largest.total / MIB:,.0f} MiB while {self.largest.name}: take a smaller "
            "model, adapters, or fewer answers at a time"
        )

    def rows(self) -> list[dict[str, Any]]:
        """A table: a row for each part, MiB in each phase; the total; and seconds."""
        names = dict.fromkeys(name for phase in self.phases for name in phase.parts)
        rows: list[dict[str, Any]] = [
            {"MiB": name, **{x.name: _mib(x.parts.get(name, 0)) for x in self.phases}}
            for name in names
        ]
        rows.append({"MiB": "total", **{x.name: _mib(x.total) for x in self.phases}})
        times = {x.name: round(self.speed.seconds(x.works), 2) for x in self.phases}
        return [*rows, {"MiB": "seconds, roughly", **times}]

    def to_json(self) -> dict[str, Any]:
        """Plain values; sizes in MiB, times in seconds."""
        memory = memory_bytes()
        return {
            "about": self.about,
            "mib": _mib(self.largest.total),
            "phase": self.largest.name,
            "phases": {
                x.name: {"mib": _mib(x.total), "parts": {k: _mib(v) for k, v in x.parts.items()}}
                for x in self.phases
            },
            "machine_mib": None if memory is None else _mib(memory),
            "warning": self.warning,
            "seconds_per_step": self.seconds,
            "seconds": self.seconds * self.steps,
        }

    def text(self) -> str:
        """The sentence below the table."""
        total = self.seconds * self.steps
        lasts = f"{self.seconds:.2g} s"
        if self.steps > 1:
            lasts += f" a step, {total / 60:,.1f} minutes in all"
        size = f"{self.largest.total / MIB:,.0f} MiB, while {self.largest.name}"
        return f"{self.about}: at most about {size}; roughly {lasts}"


def _mib(size: int) -> int:
    return round(size / MIB)


def chunk_bytes(tokens: int, actions: int, arrays: int, itemsize: int) -> int:
    """Of the largest chunk of logits, of which so many arrays are alive (`ChunkLaw`).

    >>> chunk_bytes(tokens=10, actions=100, arrays=2, itemsize=4)
    8000
    """
    of_token = actions * arrays * itemsize
    return min(tokens * of_token, max(CHUNK_BYTES, of_token))


def head_work(tokens: int, actions: int, width: int, products: int) -> Work:
    """Products of hidden states, the head and gradients of logits: one to score, two more for the
    gradients of both.
    """
    return Work(flops=2 * products * tokens * actions * width, moved=24 * tokens * actions)


def drawing_work(rows: int, actions: int, width: int) -> Work:
    """Logits of one token to each row, and a draw from them."""
    return head_work(rows, actions, width=width, products=1)


def measured_speed(width: int, rows: int, bf16: bool = False) -> Speed:
    """From a fraction of a second's products of [rows, width] arrays, sums and small calls."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    x, w = torch.ones(rows, width, dtype=dtype), torch.ones(width, width, dtype=dtype)
    wide, small = torch.ones(2**21), torch.ones(8)
    return Speed(
        flops=2 * rows * width**2 / _seconds(lambda: x @ w),
        moved=2 * wide.nbytes / _seconds(lambda: wide + 1),
        calls=1 / (OF_A_CALL * _seconds(lambda: small + 1)),
    )


# A call inside a model costs the Python of its modules as well: about so many times a bare one.
OF_A_CALL = 3


def _seconds(call: Callable[[], object], least: float = 0.03) -> float:
    """The fastest of a few calls."""
    call()
    times: list[float] = []
    while sum(times) < least or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
