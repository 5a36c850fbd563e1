"""The results of a study, read from its folder: a line of JSON a run, frozen completions, and means
with intervals over seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gnivo_edu.files import named, read_line
from gnivo_edu.statistics import Interval, t_interval

RUNS, COMPLETIONS = "runs.jsonl", "completions"
REPLACED = "replaced.jsonl"  # runs of other settings, which had stood in runs.jsonl
Run = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """The runs of a study: `runs` in the order of its cells, and the `folder` that they lie in."""

    folder: Path
    runs: Sequence[Run]

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Those of a folder; none where there is no such file. A line that was cut off while it was
        written does not count.
        """
        path = folder / RUNS
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        places = (f"line {number} of {named(path)}" for number in range(1, len(lines) + 1))
        return cls(folder, list(map(read_line, lines, places)))

    @cached_property
    def rows(self) -> list[str]:
        """Names of the rows, in order."""
        return list(dict.fromkeys(run["row"] for run in self.runs))

    def of(self, row: str) -> list[Run]:
        """The runs of a row, by seed."""
        return sorted((run for run in self.runs if run["row"] == row), key=lambda run: run["seed"])

    def values(self, row: str, measure: str) -> dict[int, float]:
        """A number of each run of a row by its seed; `measure` names it, "pass@1.4" an entry of a
        group. ValueError where a run has none.
        """
        return {run["seed"]: float(entry(run, measure)) for run in self.of(row)}

    def mean(self, row: str, measure: str, level: float = 0.95) -> Interval:
        """The mean over seeds, and its interval by Student's law; of one seed the point alone."""
        return t_interval(list(self.values(row, measure).values()), level)

    def difference(
        self, row: str, base: str, measure: str, comparisons: int = 1, level: float = 0.95
    ) -> Interval:
        """Mean of row - base over the seeds that both have, paired by seed, and its interval;
        `comparisons`: how many such intervals are to hold together (Bonferroni).
        """
        ours, theirs = self.values(row, measure), self.values(base, measure)
        both = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        return t_interval(both, 1 - (1 - level) / comparisons)

    def completions(self) -> Iterator[dict[str, Any]]:
        """Every frozen completion, with `row` and `seed` of its run. Needs pyarrow (extra llm)."""
        import pyarrow.parquet as pq

        for path in sorted((self.folder / COMPLETIONS).glob("*.parquet")):
            yield from pq.read_table(path).to_pylist()


def entry(run: Run, measure: str) -> Any:
    """A number of a run by its name; `group.name` is one of a group.

    >>> entry({"pass@1": {"4": 0.5}}, "pass@1.4")
    0.5
    """
    value: Any = run
    for name in measure.split("."):
        if not isinstance(value, dict) or name not in value:
            raise ValueError(f"the run {run.get('row')!r} has no {measure!r}")
        value = value[name]
    return value


def write_completions(folder: Path, key: str, rows: Sequence[Run]) -> None:
    """Keep the completions of a run, columns of plain values, in `completions`/KEY.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / COMPLETIONS).mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows))
    pq.write_table(table, folder / COMPLETIONS / f"{key}.parquet", compression="zstd")


def write_runs(folder: Path, runs: Sequence[Run]) -> None:
    """Write all runs anew, in one go."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / (RUNS + ".new")
    fresh.write_text("".join(json.dumps(run) + "\n" for run in runs), encoding="utf-8")
    fresh.replace(folder / RUNS)


def rounded(value: Any, digits: int = 6) -> Any:
    """A value with its floats to six digits: enough for every table, and a third of the size.

    >>> rounded({"a": [1 / 3, 2]})
    {'a': [0.333333, 2]}
    """
    if isinstance(value, dict):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one, digits) for one in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.{digits}g}")
    return value
