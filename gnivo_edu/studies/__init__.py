"""The experiments of the papers, in miniature: their runs, their tables and what was predicted.

`gnivo-edu study NAME` writes `results/NAME`: runs.jsonl, a line a run; table.md and table.csv;
figures; completions/, frozen answers in parquet, by which a grade can be recomputed without a
model; and predictions.md, which was there before the runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gnivo_edu.course.layout import course_root
from gnivo_edu.studies.predictions import outcomes, write_predictions
from gnivo_edu.studies.registry import NAMES, study_of
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Cell, Prediction, Size, Study


@dataclass(frozen=True)
class Done:
    """What `run` leaves: where, the table as Markdown, and which predictions came true."""

    folder: Path
    runs: int
    table: str
    outcomes: dict[str, bool]

    def to_json(self) -> dict[str, Any]:
        """Plain values; a prediction that misses is a result, and no failure."""
        return {
            "folder": str(self.folder),
            "runs": self.runs,
            "predictions": self.outcomes,
        }


def read(name: str) -> Results:
    """The results of a study that lie in the course's `results`."""
    study_of(name)
    return Results.read(course_root() / "results" / name)


def folder_of(name: str, size: Size) -> Path:
    """Where a study writes unless it is told: results/NAME of the current folder; a smaller form
    writes below runs/, where nothing is committed.
    """
    return Path("results") / name if size == "full" else scratch_of(name, size) / "results"


def scratch_of(name: str, size: Size) -> Path:
    """Where its runs leave models and the like."""
    return Path("runs") / "studies" / f"{name.replace('/', '-')}-{size}"


def run(
    name: str,
    size: Size = "full",
    seeds: int | None = None,
    jobs: int = 2,
    out: Path | None = None,
    only: Literal["predictions", "report"] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Done:
    """Make the runs of a study that its folder does not hold yet, then its tables, figures and
    predictions; `only` one of these from what is there.

    The folder: `out`, else results/NAME of the current folder, or runs/studies/NAME-SIZE for a
    smaller form. Models and the like stay in runs/studies, or in `out`/runs. Raises ValueError, in
    one line, on unknown names and where a run fails.
    """
    study = study_of(name)
    folder = out or folder_of(name, size)
    source = study_of(study.runs_of or name)
    runs = out or folder_of(source.name, size)
    if only == "predictions":
        there = Results.read(runs)
        # What came out of earlier ones stays beside them.
        write_predictions(study, folder, there if there.runs else None)
        return Done(folder, 0, "", {})
    if only == "report":
        results = Results.read(runs)
    else:
        # Here, as it brings torch: results are read without it.
        from gnivo_edu.studies.runner import run_study

        scratch = out / "runs" if out else scratch_of(name, size)
        count = seeds or (source.seeds if size == "full" else 2)
        cells = source.cells(size, range(count))
        results = run_study(source, cells, runs, scratch, jobs, progress)
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(folder, results.runs)
    if not results.runs:
        raise ValueError(f"{folder} holds no runs: leave out --report to make them")
    study.report(results)
    hits: dict[str, bool] = {}
    if size == "full":  # a small form is too small for them
        write_predictions(study, folder, results)
        hits = outcomes(study, results)
    table = folder / "table.md"
    shown = table.read_text(encoding="utf-8") if table.exists() else ""
    return Done(folder, len(results.runs), shown, hits)


__all__ = ["NAMES", "Cell", "Done", "Prediction", "Results", "Study", "read", "run", "study_of"]
