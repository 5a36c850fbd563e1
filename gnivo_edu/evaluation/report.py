"""What an evaluation found: numbers with intervals, paired comparison of two of them, and tables of
many.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnivo_edu.evaluation.pass_at_k import check_k, majority_at_k, pass_at_k
from gnivo_edu.exact import Array
from gnivo_edu.statistics import bootstrap_interval, paired_difference, unpaired_difference

# The sets of the paper's Table 1 in its order, and the sixth.
TABLE_1 = ("amc23", "minerva_math", "olympiadbench", "aime24", "aime25", "math500")
# The vote of every solved completion: its answers are equal, however they are written.
RIGHT = ("right",)
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """n completions to each of N problems, graded: rewards [N, n], lengths [N, n] (tokens),
    truncated [N, n].

    `problems` [N] are the numbers of the prompts that count; `skipped` those whose gold answer
    cannot be read, which are in no number here. `votes`: for maj@k, what each completion answers;
    None abstains. A completion is right, and a problem solved, where its reward is at least
    `solved_at`. `texts`: the completions in words. `settings`: task, model, samples, seed,
    temperature and fingerprints. `to_json` gives the numbers; those of a folder are read by
    `load_report`.
    """

    problems: NDArray[np.int64]
    rewards: Array
    lengths: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    votes: Sequence[Sequence[Hashable | None]]
    settings: dict[str, Any]
    ks: tuple[int, ...] = (1, 3)
    solved_at: float = 1.0
    skipped: tuple[int, ...] = ()
    texts: Sequence[Sequence[str]] = ()

    def __post_init__(self) -> None:
        if not self.ks:
            raise ValueError("give at least one k, such as ks=(1, 3)")
        for k in self.ks:
            check_k(k, self.rewards.shape[1])
        if not len(self.problems):
            raise ValueError("no problem counts: no gold answer could be read")

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which completions are right, bool [N, n]."""
        return self.rewards >= self.solved_at

    def pass_at(self, k: int) -> Array:
        """The unbiased estimate of Pass@k for every problem, float64 [N]; ValueError where k is
        above n.
        """
        return pass_at_k(self.right.sum(axis=1), self.rewards.shape[1], k=k)

    def majority_at(self, k: int) -> Array:
        """The unbiased estimate of maj@k for every problem, float64 [N]: wrong answers are told
        apart by their text.
        """
        told = [
            [RIGHT if right else vote for right, vote in zip(*row, strict=True)]
            for row in zip(self.right.tolist(), self.votes, strict=True)
        ]
        return np.array([majority_at_k(votes, RIGHT, k=k) for votes in told])

    def to_json(self) -> dict[str, Any]:
        """Means over problems and their 95% bootstrap intervals; an interval is null where there is
        one problem.

        `truncated` is the share of completions cut off by the length limit; `mean_length` is in
        tokens, the end token included; `reward` is the mean reward, whatever `solved_at`.
        """
        asked = self.settings
        numbers: dict[str, Any] = {
            "task": asked["task"],
            "model": asked["model"],
            "problems": len(self.problems),
            "samples": self.rewards.shape[1],
        }
        measures = {f"@{k}": ("pass", self.pass_at(k)) for k in self.ks}
        measures |= {f"_maj@{k}": ("maj", self.majority_at(k)) for k in self.ks if k > 1}
        measures["_reward"] = ("reward", self.rewards.mean(axis=1))
        for key, (name, values) in measures.items():
            _, at, k = key.partition("@")
            numbers[f"{name}{at}{k}"] = float(values.mean())
            numbers[f"interval{key}"] = _interval(values)
        numbers |= {
            "truncated": float(self.truncated.mean()),
            "mean_length": float(self.lengths.mean()),
            "skipped": len(self.skipped),
            "solved_at": self.solved_at,
        }
        return numbers | {name: asked[name] for name in ("seed", "temperature") if name in asked}


def report_of(
    problems: Sequence[Sequence[Row]],
    settings: dict[str, Any],
    ks: tuple[int, ...],
    solved_at: float,
) -> Report:
    """The report of graded completions, the lines of completions.jsonl, in the order of the
    problems.
    """
    problems = sorted(problems, key=lambda rows: int(rows[0]["problem"]))
    graded = [rows for rows in problems if all(row.get("counts", True) for row in rows)]

    def table(name: str) -> list[list[Any]]:
        return [[row[name] for row in rows] for rows in graded]

    rewards = np.array(table("reward"), dtype=np.float64)
    return Report(
        problems=np.array([rows[0]["problem"] for rows in graded], dtype=np.int64),
        rewards=rewards.reshape(len(graded), settings["samples"]),
        lengths=np.array(table("length"), dtype=np.int64),
        truncated=np.array(table("truncated"), dtype=bool),
        votes=[
            [row["answer"] if "answer" in row else row["text"] for row in rows] for rows in graded
        ],
        settings=settings,
        ks=ks,
        solved_at=solved_at,
        skipped=tuple(rows[0]["problem"] for rows in problems if rows not in graded),
        texts=table("text"),
    )


def compare(first: Report, second: Report, ks: Iterable[int] | None = None) -> dict[str, Any]:
    """Second minus first over the same problems, for each k and for the mean reward, with 95%
    bootstrap intervals.

    Problems are paired: how hard each is drops out. `unpaired_interval@k` is what the same numbers
    would give if the problems were not shared, `better@k` and `worse@k` the numbers of problems on
    which the second is above or below. The numbers of samples may differ: the estimates are
    unbiased for each. Raises ValueError on different tasks or problems, and on a k that one of them
    has too few samples for.
    """
    for name, more in (("task", ""), ("questions", ", with different questions")):
        if first.settings.get(name) != second.settings.get(name):
            raise ValueError(
                "only results on the same questions can be paired: these are "
                f"{first.settings['task']!r} and {second.settings['task']!r}{more}"
            )
    if first.solved_at != second.solved_at:
        raise ValueError(
            f"solved means a reward of {first.solved_at:g} in the one and {second.solved_at:g} in "
            "the other"
        )
    if first.problems.tolist() != second.problems.tolist():
        raise ValueError(
            "the two do not have the same problems: "
            f"{len(first.problems)} and {len(second.problems)} of them"
        )
    comparison: dict[str, Any] = {
        "task": first.settings["task"],
        "first": first.settings["model"],
        "second": second.settings["model"],
        "problems": len(first.problems),
        "samples": [first.rewards.shape[1], second.rewards.shape[1]],
    }
    ks = ks or sorted(set(first.ks) & set(second.ks)) or (1,)
    pairs = {f"@{k}": (first.pass_at(k), second.pass_at(k)) for k in ks}
    pairs["_reward"] = first.rewards.mean(axis=1), second.rewards.mean(axis=1)
    several = len(first.problems) > 1  # of one problem there is no interval
    for key, (x, y) in pairs.items():
        paired = paired_difference(x, y).ends if several else None
        unpaired = unpaired_difference(x, y).ends if several else None
        comparison |= {
            f"difference{key}": float((y - x).mean()),
            f"interval{key}": paired,
            f"unpaired_interval{key}": unpaired,
            f"better{key}": int((y > x).sum()),
            f"worse{key}": int((y < x).sum()),
        }
    return comparison


def benchmark_table(reports: Iterable[Report | dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per model, and per task the columns Pass@1 and Pass@3 (or what was asked for), as
    GN-IVO's Table 1 has.

    The columns stand in the order of that table, AMC 2023, Minerva Math, OlympiadBench, AIME 2024
    and AIME 2025; then MATH-500; then other tasks, as they come. A cell is "mean [low, high]" in
    percent, or "" for a task that a model was not tried on. Given two results of one model on one
    task, ValueError.
    """
    results = [report.to_json() if isinstance(report, Report) else report for report in reports]
    models = dict.fromkeys(result["model"] for result in results)
    results.sort(key=lambda result: _place(result["task"]))
    columns = {
        f"{result['task']} {name}": (result["task"], name, f"interval{name.removeprefix('pass')}")
        for result in results
        for name in result
        if name.startswith("pass@")
    }
    cells = {(result["model"], result["task"]): result for result in results}
    if len(cells) < len(results):
        raise ValueError(
            "a model has two results on one task: leave one out, or give the two different names"
        )
    rows = []
    for model in models:
        row = {"model": model}
        for heading, (task, name, interval) in columns.items():
            result = cells.get((model, task), {})
            row[heading] = percent_with(result[name], result[interval]) if name in result else ""
        rows.append(row)
    return rows


def percent_with(mean: float, ends: Sequence[float] | None) -> str:
    """A share in percent with its interval.

    >>> percent_with(0.5, [0.375, 0.625]), percent_with(1.0, None)
    ('50.0 [37.5, 62.5]', '100.0')
    """
    return f"{100 * mean:.1f}" + (f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if ends else "")


def _place(task: str) -> int:
    """Where a task stands in the table; the number of problems that its name ends with is no part
    of it.
    """
    name = task if task in TABLE_1 else task.rpartition("-")[0]
    return TABLE_1.index(name) if name in TABLE_1 else len(TABLE_1)


def _interval(values: ArrayLike) -> list[float] | None:
    return bootstrap_interval(values).ends if np.size(values) > 1 else None
