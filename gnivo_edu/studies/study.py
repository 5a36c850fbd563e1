"""What a study is: its runs, what one of them does, what is made of all of them, and what was
predicted before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gnivo_edu.studies.results import Results

# full: what is committed; quick: minutes; smoke: seconds, to see that it runs.
Size = Literal["full", "quick", "smoke"]


@dataclass(frozen=True)
class Cell:
    """One run: `row` is its name in the tables, `seed` pairs it with the runs of other rows, and
    `settings`, plain values, say all the rest.
    """

    row: str
    seed: int
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Its name as that of a file.

        >>> Cell("gvpo/initial, K = 4", 0, {}).key
        'gvpo-initial-K-4-0'
        """
        words = "".join(c if c.isalnum() or c in "._" else " " for c in self.row).split()
        return "-".join([*words, str(self.seed)])


@dataclass(frozen=True)
class Prediction:
    """What is said before the runs of a number that they will give: that it lies in [low, high].

    `number` reads it from the results; `placebo` reads the same number of a placebo, which is to
    lie outside. `command` recomputes the theory that it rests on.
    """

    name: str
    says: str
    low: float
    high: float
    command: str
    falsified: str
    placebo_misses: str
    number: Callable[[Results], float]
    placebo: Callable[[Results], float] | None = None


@dataclass(frozen=True)
class Study:
    """A study. `cells` lists its runs, of a size and some seeds; `run` makes one of them in a
    folder of its own, and is a function of a module, as another process calls it; `report` writes
    tables and figures into the folder of the results.

    `runs_of`: another study, whose runs are read where there are none of its own.
    What `run` returns is kept as one line of JSON; `completions`, rows of plain values, go to
    parquet.
    """

    name: str
    about: str
    cells: Callable[[Size, Sequence[int]], list[Cell]]
    run: Callable[[Cell, Path], dict[str, Any]]
    report: Callable[[Results], None]
    predictions: tuple[Prediction, ...] = ()
    seeds: int = 5
    runs_of: str = ""
