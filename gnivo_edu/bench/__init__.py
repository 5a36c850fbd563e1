"""Speed and memory, measured as ratios within one process, never as a time against a clock; and how
often the grader is right.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from gnivo_edu.bench.atlas import bench_atlas
from gnivo_edu.bench.critics import bench_critics
from gnivo_edu.bench.exact import bench_exact
from gnivo_edu.bench.grading import bench_grading
from gnivo_edu.bench.imports import bench_import
from gnivo_edu.bench.memory import bench_memory
from gnivo_edu.bench.phases import bench_phases
from gnivo_edu.bench.population import bench_population
from gnivo_edu.bench.processes import bench_processes
from gnivo_edu.bench.ratio import Progress
from gnivo_edu.bench.sample import bench_sample
from gnivo_edu.bench.score import bench_score
from gnivo_edu.bench.surroundings import machine, versions
from gnivo_edu.bench.train_step import bench_train_step
from gnivo_edu.names import nearest


def run_benchmark(name: str, progress: Progress = None, **options: Any) -> dict[str, Any]:
    """Run a benchmark and return the record of design section 6.5; `ratio` larger is better for us.
    `options` go to the benchmark.

    Raises ValueError, in one line, on an unknown name, and on an option that it does not take.
    """
    if name not in BENCHMARKS:
        hint = nearest(name, BENCHMARKS, otherwise=f"known: {', '.join(BENCHMARKS)}")
        raise ValueError(f"there is no benchmark {name!r}; {hint}")
    # The training step on a device that is named is another benchmark: its phases.
    phases = name == "train-step" and bool(options)
    benchmark = bench_phases if phases else BENCHMARKS[name]
    if beyond := set(options) - set(inspect.signature(benchmark).parameters):
        raise ValueError(f"the benchmark {name!r} takes no --{min(beyond)}: leave it out")
    begun = time.perf_counter()
    results = benchmark(progress=progress, **options)
    record: dict[str, Any] = {"benchmark": name, "results": results, "machine": machine()}
    said = " ".join(f"--{option} {value}" for option, value in options.items())
    about = inspect.getdoc(benchmark) or ""
    return record | {
        "versions": versions(),
        "seconds": time.perf_counter() - begun,
        "date": date.today().isoformat(),
        "command": f"gnivo-edu bench {name} {said}".strip(),
        "about": about.partition("\n>>>")[0].strip(),
        **({"device": options.get("device", "cuda")} if phases else {}),
    }


BENCHMARKS: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "atlas": bench_atlas,
    "critics": bench_critics,
    "exact": bench_exact,
    "grading": bench_grading,
    "import": bench_import,
    "memory": bench_memory,
    "population": bench_population,
    "processes": bench_processes,
    "sample": bench_sample,
    "score": bench_score,
    "train-step": bench_train_step,
}


def runs_of(
    names: Sequence[str], options: dict[str, Any] | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """The benchmarks of some names, each with the options; "all": every one as it is, and the
    training step on a GPU.
    """
    if "all" in names:
        return [*((name, {}) for name in BENCHMARKS), ("train-step", {"device": "cuda"})]
    return [(name, options or {}) for name in names]
