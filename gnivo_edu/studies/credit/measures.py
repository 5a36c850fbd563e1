"""What a number for each step says of where an answer went wrong: plain numpy on the rows of
`answers.described`, so that every measure can be taken again without a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnivo_edu.exact import value_of_chance
from gnivo_edu.statistics import Array, Interval

ALPHA = 0.2  # of values in nats: GN-IVO's
DRAWS = 2000  # resamplings of the answers
# A number for each step of each answer; the lower, the likelier it is the wrong one.
Scores = Sequence[Sequence[float] | Array]
Bools = NDArray[np.bool_]
# Which steps the first wrong one is held against, all in wrong answers.
AGAINST = {
    "all": "every other step",
    "alike": "other steps that carry or borrow",
    "done right": "steps that carry or borrow and are done right",
    "wrong again": "later steps that are wrong by themselves too",
}


def auc(wrong: ArrayLike, others: ArrayLike) -> float:
    """Chance that a wrong step has a lower number than another one, ties counting half; nan where
    one of the two lists is empty.

    >>> auc([-2.0, 0.0], [0.0, 1.0]), auc([1.0], [1.0])
    (0.875, 0.5)
    """
    a, b = np.asarray(wrong, dtype=np.float64), np.sort(np.asarray(others, dtype=np.float64))
    if not len(a) or not len(b):
        return float("nan")
    above = len(b) - np.searchsorted(b, a, side="right")
    ties = np.searchsorted(b, a, side="right") - np.searchsorted(b, a, side="left")
    return float((above + ties / 2).mean() / len(b))


def roc(wrong: ArrayLike, others: ArrayLike) -> tuple[Array, Array]:
    """Shares of the other steps and of the wrong ones at or below each threshold, from 0 to 1.

    >>> false, true = roc([-2.0, 0.0], [0.0, 1.0])
    >>> false.tolist(), true.tolist()
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    a, b = (np.sort(np.asarray(x, dtype=np.float64)) for x in (wrong, others))
    levels = np.unique(np.concatenate([a, b]))
    shares = [np.searchsorted(x, levels, side="right") / len(x) for x in (b, a)]
    return np.insert(shares[0], 0, 0.0), np.insert(shares[1], 0, 0.0)


def hit(scores: ArrayLike, first: int) -> float:
    """1 where the lowest number is that of the first wrong step; where several share it, the chance
    of a draw among them.

    >>> hit([0.0, -2.0, 1.0], 1), hit([-1.0, -1.0, 0.0], 0)
    (1.0, 0.5)
    """
    values = np.asarray(scores, dtype=np.float64)
    lowest = np.flatnonzero(np.isclose(values, values.min(), rtol=0, atol=1e-9))
    return float(first in lowest) / len(lowest)


@dataclass(frozen=True)
class Frozen:
    """The frozen answers, `rows`, and the steps that a guess is held to."""

    rows: Sequence[Mapping[str, Any]]

    @cached_property
    def judged(self) -> list[int]:
        """Numbers of the wrong answers whose first wrong step is one of their steps."""
        return [
            i
            for i, row in enumerate(self.rows)
            if not row["right"] and 0 <= row["first_wrong"] < len(row["wrong"])
        ]

    @cached_property
    def answer(self) -> NDArray[np.int64]:
        """Of each step of the judged answers, one after the other, the number of its answer."""
        return np.concatenate([[i] * len(self.rows[i]["wrong"]) for i in self.judged])

    @cached_property
    def first(self) -> Bools:
        """Of each such step, whether it is the first wrong one."""
        return np.concatenate(
            [
                np.arange(len(self.rows[i]["wrong"])) == self.rows[i]["first_wrong"]
                for i in self.judged
            ]
        )

    def flat(self, scores: Scores) -> Array:
        """Numbers of those steps, one after the other."""
        return np.concatenate([np.asarray(scores[i], dtype=np.float64) for i in self.judged])

    @cached_property
    def alike(self) -> Bools:
        """Whether a step carries or borrows from the total written before it."""
        return self.flat([row["alike"] for row in self.rows]) > 0

    @cached_property
    def wrong(self) -> Bools:
        """Whether a step is wrong taken by itself."""
        return self.flat([row["wrong"] for row in self.rows]) > 0

    def compared(self, against: str) -> tuple[Bools, Bools]:
        """Which steps are the wrong ones, and which they are held against: a name of `AGAINST`.
        Beside look-alikes a first wrong step counts if it is one of them itself.
        """
        others = {
            "all": ~self.first,
            "alike": ~self.first & self.alike,
            "done right": ~self.first & self.alike & ~self.wrong,
            "wrong again": ~self.first & self.alike & self.wrong,
        }[against]
        return self.first & (self.alike | (against == "all")), others

    def auc(self, scores: Scores, against: str) -> float:
        """Of the first wrong steps against others, all answers thrown together."""
        values = self.flat(scores)
        positive, negative = self.compared(against)
        return auc(values[positive], values[negative])

    def hits(self, scores: Scores, alike: bool = False) -> Array:
        """Of each judged answer, whether its lowest number is that of its first wrong step; among
        steps that look `alike` nan where it has not two of them, or not the first wrong one.
        """
        values = []
        for i in self.judged:
            row, first = self.rows[i], self.rows[i]["first_wrong"]
            kept = np.flatnonzero(row["alike"]) if alike else np.arange(len(row["wrong"]))
            decides = first in kept and (len(kept) > 1 or not alike)
            place = int(np.searchsorted(kept, first))
            some = np.asarray(scores[i], dtype=np.float64)[kept]
            values.append(hit(some, place) if decides else np.nan)
        return np.array(values)

    def auc_interval(self, scores: Scores, against: str) -> Interval:
        """The same with its 95% bootstrap interval over answers, each to a question of its own."""
        values = self.flat(scores)
        positive, negative = self.compared(against)
        a, b = values[positive][:, None], values[negative][None, :]
        better = (a < b) + (a == b) / 2
        rng, drawn = np.random.default_rng(0), []
        for _ in range(DRAWS):
            # How often each answer is drawn weighs its steps.
            times = np.bincount(rng.choice(self.judged, len(self.judged)), minlength=len(self.rows))
            weights = times[self.answer].astype(np.float64)
            w, v = weights[positive], weights[negative]
            if w.any() and v.any():
                drawn.append(w @ better @ v / (w.sum() * v.sum()))
        low, high = np.quantile(drawn or [np.nan], [0.025, 0.975])
        return Interval(float(better.mean()), float(low), float(high))

    # --- what needs no training -------------------------------------------------------------------

    def chances(self, count: int, key: str = "right_after") -> list[Array]:
        """Monte-Carlo chances of ending right before each step and after the last, of `count`
        continuations of the base.
        """
        return [np.array([*(n / count for n in row[key]), row["right"]]) for row in self.rows]

    def monte_carlo(self, count: int, nats: bool = False, half: int = 0) -> list[Array]:
        """Monte-Carlo credit of each step: the change of the chance, or of the soft value at
        `ALPHA`. `half` 1 or 2: of the first or the second half of the continuations alone.
        """
        chances = self.chances(count)
        if half:
            first = self.chances(count // 2, "right_after_half")
            # Both halves have the same end, which is known.
            chances = (
                first if half == 1 else [2 * a - b for a, b in zip(chances, first, strict=True)]
            )
        if nats:
            chances = [np.array([value_of_chance(p, ALPHA) for p in row]) for row in chances]
        return [np.diff(row) for row in chances]

    def controls(self, count: int) -> dict[str, list[Array]]:
        """Numbers that no training has part in, by name. Position is the best constant guess: how
        often answers of the tier go wrong first at this step, told from these very answers.
        """
        often: dict[tuple[int, int], int] = {}
        for i in self.judged:
            place = self.rows[i]["tier"], self.rows[i]["first_wrong"]
            often[place] = often.get(place, 0) + 1
        position = [
            -np.array([often.get((row["tier"], t), 0) for t in range(len(row["wrong"]))], float)
            for row in self.rows
        ]
        return {
            "most surprising token": [np.array(row["least_log_p"]) for row in self.rows],
            "position": position,
            "length": [-np.array(row["tokens"], dtype=np.float64) for row in self.rows],
            f"{count} rollouts, chances": self.monte_carlo(count),
            f"{count} rollouts, nats": self.monte_carlo(count, nats=True),
        }
