"""Speed, measured as ratios within one process, never as a time against a clock; and how often the
grader is right.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from gnivo_edu import exact
from gnivo_edu.bench.critics import bench_critics
from gnivo_edu.bench.grading import bench_grading
from gnivo_edu.bench.ratio import Progress, race, ratio_row
from gnivo_edu.bench.sample import bench_sample
from gnivo_edu.bench.score import bench_score


def run_benchmark(name: str, progress: Progress = None) -> dict[str, Any]:
    """Run a benchmark and return the record of design section 6.5; `ratio` larger is better for us.

    Raises ValueError on an unknown name.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"there is no benchmark {name!r}; known: {', '.join(BENCHMARKS)}")
    return {
        "benchmark": name,
        "results": BENCHMARKS[name](progress=progress),
        "machine": f"{platform.machine()}, {platform.system()}",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }


def bench_exact(
    vocab_size: int = 10, horizon: int = 7, repeats: int = 7, progress: Progress = None
) -> list[dict[str, Any]]:
    """`exact.solve` against one `numpy.exp` pass over the rewards, and its peak memory against one
    array of them.

    >>> [row["case"] for row in bench_exact(vocab_size=2, horizon=3, repeats=1)]
    ['solve V=2 T=3 / numpy.exp', 'peak memory / one array']
    """
    if progress:
        progress(f"drawing {vocab_size**horizon:,} rewards")
    rewards = np.random.default_rng(0).random(vocab_size**horizon)
    reference = exact.random_reference(vocab_size, horizon, seed=0)
    tree = exact.enumerate_tree_from_rewards(rewards, vocab_size, reference=reference)
    # What a call returns is kept: a number, then, rather than a solution.
    calls = {
        "numpy.exp": lambda repeat: np.exp(rewards).nbytes,
        "solve": lambda repeat: exact.solve(tree, 0.3).log_z,
    }
    runs = race(calls, repeats, progress=progress)
    tracemalloc.start()
    exact.solve(tree, 0.3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return [
        ratio_row(
            f"solve V={vocab_size} T={horizon} / numpy.exp",
            ours=runs["solve"].seconds,
            peer=runs["numpy.exp"].seconds,
            unit="s",
        ),
        ratio_row("peak memory / one array", ours=[peak], peer=[rewards.nbytes], unit="bytes"),
    ]


def bench_import(repeats: int = 7, progress: Progress = None) -> list[dict[str, Any]]:
    """Importing `toy_envs` and `gnivo_edu.exact` against numpy and gymnasium, and `--help` against
    bare Python.
    """
    calls = {
        "bare Python": lambda repeat: _python("-c", "pass"),
        "numpy and gymnasium": lambda repeat: _python("-c", "import numpy, gymnasium"),
        "ours": lambda repeat: _python("-c", "import toy_envs, gnivo_edu.exact"),
        "--help": lambda repeat: _python("-m", "gnivo_edu.cli", "--help"),
    }
    seconds = {name: runs.seconds for name, runs in race(calls, repeats, progress=progress).items()}
    return [
        ratio_row(
            "import / numpy and gymnasium",
            ours=seconds["ours"],
            peer=seconds["numpy and gymnasium"],
            unit="s",
        ),
        ratio_row(
            "--help / bare Python", ours=seconds["--help"], peer=seconds["bare Python"], unit="s"
        ),
    ]


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


BENCHMARKS: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "critics": bench_critics,
    "exact": bench_exact,
    "grading": bench_grading,
    "import": bench_import,
    "sample": bench_sample,
    "score": bench_score,
}
