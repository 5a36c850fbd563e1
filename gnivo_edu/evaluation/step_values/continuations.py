"""Fresh continuations of every beginning: some of each, then more where intervals are widest, as
long as seconds are left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gnivo_edu.evaluation.step_values.asked import Asked, Row
from gnivo_edu.evaluation.step_values.estimate import estimate_value
from gnivo_edu.evaluation.step_values.record import step_boundaries


@dataclass(kw_only=True)
class Budget:
    """How long continuations may be drawn: `seconds` from when the budget was made, None for those
    of every beginning alone. Intervals are those of `alpha` and `level`; `say` shows progress.
    """

    alpha: float
    level: float
    seconds: float | None = None
    say: Callable[[str], None] = lambda line: None
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since the budget was made."""
        return self.clock() - self.began


class Continuations:
    """Whole answers of the reference that start with each beginning of some answers, and their
    rewards; a beginning ends a step, and one that answers share is continued once.
    """

    def __init__(
        self,
        asked: Asked,
        reference: nn.Module,
        answers: Sequence[Row],
        steps: Sequence[NDArray[np.int64]],
    ) -> None:
        self.asked, self.reference = asked, reference
        beginnings = {
            row[:t]
            for row, ids in zip(answers, steps, strict=True)
            for t in step_boundaries(ids)[:-1].tolist()
        }
        self.rows: dict[Row, list[Row]] = {prefix: [] for prefix in sorted(beginnings)}
        self.rewards: dict[Row, list[float]] = {prefix: [] for prefix in self.rows}
        self.binary = True  # whether every reward so far is 0 or 1

    @property
    def drawn(self) -> int:
        """Continuations so far."""
        return sum(map(len, self.rows.values()))

    def draw_evenly(self, count: int, budget: Budget) -> None:
        """`count` continuations of every beginning."""
        for t in sorted({len(prefix) for prefix in self.rows}):
            # Step 0 drew the group; each length has a stream of its own.
            of_length = [prefix for prefix in self.rows if len(prefix) == t]
            self._draw(of_length, count, step=1 + t)
            budget.say(f"{self.drawn:,} continuations of {len(self.rows)} beginnings")

    def draw_widest(self, budget: Budget) -> None:
        """More continuations of the beginning whose interval is widest, a batch at a time, until
        another batch would take longer than what is left.
        """
        if budget.seconds is None:
            return
        longest, extra = 0.0, 0
        widths = {prefix: self._width(prefix, budget) for prefix in self.rows}
        while budget.spent + longest < budget.seconds:
            # Of equally wide ones the one with the fewest continuations.
            widest = max(widths, key=lambda prefix: (widths[prefix], -len(self.rows[prefix])))
            before, extra = budget.spent, extra + 1
            # Streams that neither the group nor the even draws read.
            step = 1 + len(widest) + extra * (self.asked.task.horizon + 1)
            self._draw([widest], self.asked.max_rows, step=step)
            widths[widest] = self._width(widest, budget)
            longest = max(longest, budget.spent - before)
            budget.say(
                f"{self.drawn:,} continuations, the widest interval {max(widths.values()):.2f} "
                f"nats, {budget.spent:.0f} of {budget.seconds:.0f} s"
            )

    def _draw(self, prefixes: Sequence[Row], count: int, step: int) -> None:
        """More continuations of some beginnings of one length."""
        drawn = self.asked.after(self.reference, prefixes, count=count, step=step)
        for prefix, rows in drawn.items():
            self.rows[prefix] += rows
            rewards = self.asked.rewards(rows)
            self.rewards[prefix] += rewards.tolist()
            self.binary &= bool(np.isin(rewards, (0.0, 1.0)).all())

    def _width(self, prefix: Row, budget: Budget) -> float:
        """Width of the interval of a beginning's value, nats; 0 where graded rewards all agree."""
        rewards = self.rewards[prefix]
        value = estimate_value(rewards, budget.alpha, level=budget.level, binary=self.binary)
        return value.high - value.low
