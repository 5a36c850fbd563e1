"""The search before Table 1: learning rate and batch of every method, on the same grid, chosen by
questions that no run is trained or tested on.

`results/table1/search/chosen.json` keeps what was chosen, `runs.jsonl` the whole search. All runs
draw equally many answers: a batch of twice the questions makes half as many steps.

Two points of the grid tie for most methods, and all other studies hang on the choice. The first
seed made it; two more were run afterwards, as one seed is a gamble: then a method's point was
changed where another one's mean leads it by more than `MARGIN`, and Table 1 run again there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from gnivo_edu.course.layout import course_root
from gnivo_edu.files import read_object
from gnivo_edu.studies.arithmetic import train_and_test
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Cell, Size, Study
from gnivo_edu.studies.tables import write_table

# The rows of the paper's Table 1 in its order, and three of its siblings; by published setting.
METHODS = {
    "SFT-winning": "sft_winning",
    "Online DPO": "online_dpo",
    "PPO": "ppo",
    "DRO": "dro",
    "OREO": "oreo",
    "RLOO": "rloo",
    "GRPO": "grpo",
    "GN-IVO": "gnivo",
    "Dr. GRPO": "dr_grpo",
    "GVPO": "gvpo",
    "VIMPO": "vimpo/short",
}
RATES, PROMPTS, K = (1e-4, 3e-4, 1e-3), (8, 32), 8
RESPONSES = {"full": 12_800, "quick": 2_560, "smoke": 512}
SEARCH_SEED = 1000  # the first of the search: no study has runs of these seeds
CHOSEN, MEASURE = "chosen.json", "pass@1.mean"
MARGIN = 0.02  # about twice the error of a mean over three seeds; set when these had been read


def training(setting: str, rate: float, prompts: int, size: Size = "full") -> dict[str, Any]:
    """Settings of a run that draws as many answers as every other one of its size."""
    return {
        "setting": setting,
        "learning_rate": rate,
        "prompts_per_step": prompts,
        "group_size": K,
        "steps": RESPONSES[size] // (prompts * K),
    }


@cache
def chosen(method: str) -> tuple[float, int]:
    """Learning rate and questions a step that the committed search chose for a method; the middle
    of the grid where there is none.
    """
    path = course_root() / "results" / "table1" / "search" / CHOSEN
    if not path.exists():
        return 3e-4, 32
    best = read_object(path)[method]
    return best["learning_rate"], best["prompts_per_step"]


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """Every method at every point of the grid, on seeds of the search's own."""
    methods = METHODS if size == "full" else {name: METHODS[name] for name in ("GRPO", "GN-IVO")}
    rates = RATES if size == "full" else RATES[1:2]
    tested = {"test": "validation", "questions": 100 if size == "full" else 10, "samples": 4}
    return [
        Cell(
            f"{method}, {rate:g}, {prompts}",
            SEARCH_SEED + seed,
            {"train": training(setting, rate, prompts, size=size), "method": method, **tested},
        )
        for method, setting in methods.items()
        for rate in rates
        for prompts in PROMPTS
        for seed in seeds
    ]


def report(results: Results) -> None:
    """The grid of every method as a table of means over seeds, and the point chosen for each."""
    table: list[dict[str, Any]] = []
    choice: dict[str, Any] = {}
    grids: dict[str, list[str]] = {}
    for name in results.rows:
        grids.setdefault(_method(name), []).append(name)
    for method, names in grids.items():
        means = {name: round(results.mean(name, MEASURE).mean, 6) for name in names}
        best = best_point(results, names)
        train = results.of(best)[0]["settings"]["train"]
        choice[method] = {
            "learning_rate": train["learning_rate"],
            "prompts_per_step": train["prompts_per_step"],
            "pass@1": means[best],
        }
        columns = {_point(name): mean for name, mean in means.items()}
        table.append({"method": method, **columns, "chosen": _point(best)})
    seeds = len(results.of(results.rows[0]))
    text = (
        "# Learning rate and batch, the same grid for every method\n\n"
        f"Mean Pass@1 over tiers 2, 3 and 4, and over {seeds} seeds of their own, on questions "
        "that no run is trained or tested on; columns: learning rate, questions a step, eight "
        "answers to each. All runs draw the same number of answers. Chosen: the best of the first "
        f"seed, unless the mean of another point leads its by more than {MARGIN:g}."
    )
    write_table(results.folder, table, text)
    (results.folder / CHOSEN).write_text(json.dumps(choice, indent=1) + "\n", encoding="utf-8")


def best_point(results: Results, names: Sequence[str]) -> str:
    """Of the rows of one method, the one chosen.

    >>> from pathlib import Path
    >>> scores = {"a": (0.9, 0.1, 0.2), "b": (0.8, 0.8, 0.9), "c": (0.7, 0.7, 0.7)}
    >>> runs = [
    ...     {"row": row, "seed": seed, "pass@1": {"mean": score}}
    ...     for row, of_seeds in scores.items()
    ...     for seed, score in enumerate(of_seeds)
    ... ]
    >>> best_point(Results(Path(), runs), ["a", "b", "c"])
    'b'
    """
    mean = {name: results.mean(name, MEASURE).mean for name in names}
    first = max(names, key=lambda name: results.of(name)[0]["pass@1"]["mean"])
    best = max(names, key=lambda name: mean[name])
    return best if mean[best] > mean[first] + MARGIN else first


def _method(name: str) -> str:
    return name.split(", ")[0]


def _point(name: str) -> str:
    return name.partition(", ")[2]


STUDY = Study(
    name="table1/search",
    about="Learning rate and batch of every method, on the same grid.",
    cells=cells,
    run=train_and_test,
    report=report,
    seeds=3,
)
