"""The search before Table 1: learning rate and batch of every method, on the same grid, chosen by
questions that no run is trained or tested on.

`results/table1/search/chosen.json` keeps what was chosen, `runs.jsonl` the whole search. All runs
draw equally many answers: a batch of twice the questions makes half as many steps.
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
SEARCH_SEED = 1000  # no study has a run of this seed
CHOSEN = "chosen.json"


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
    """Every method at every point of the grid, one seed."""
    methods = METHODS if size == "full" else {name: METHODS[name] for name in ("GRPO", "GN-IVO")}
    rates = RATES if size == "full" else RATES[1:2]
    tested = {"test": "validation", "questions": 100 if size == "full" else 10, "samples": 4}
    return [
        Cell(
            f"{method}, {rate:g}, {prompts}",
            SEARCH_SEED,
            {"train": training(setting, rate, prompts, size=size), "method": method, **tested},
        )
        for method, setting in methods.items()
        for rate in rates
        for prompts in PROMPTS
    ]


def report(results: Results) -> None:
    """The grid of every method as a table, and the best point of each."""
    best: dict[str, Any] = {}
    rows: dict[str, Any] = {}
    for run in results.runs:
        method, train = run["settings"]["method"], run["settings"]["train"]
        rate, prompts, score = (
            train["learning_rate"],
            train["prompts_per_step"],
            run["pass@1"]["mean"],
        )
        rows.setdefault(method, {"method": method})[f"{rate:g}, {prompts}"] = score
        if method not in best or score > best[method]["pass@1"]:
            best[method] = {"learning_rate": rate, "prompts_per_step": prompts, "pass@1": score}
    table = [row | {"chosen": _point(best[row["method"]])} for row in rows.values()]
    text = (
        "# Learning rate and batch, the same grid for every method\n\n"
        "Mean Pass@1 over tiers 2, 3 and 4 on questions that no run is trained or tested on, one "
        "seed; columns: learning rate, questions a step, eight answers to each. All runs draw the "
        "same number of answers."
    )
    write_table(results.folder, table, text)
    (results.folder / CHOSEN).write_text(json.dumps(best, indent=1) + "\n", encoding="utf-8")


def _point(best: dict[str, Any]) -> str:
    return f"{best['learning_rate']:g}, {best['prompts_per_step']}"


STUDY = Study(
    name="table1/search",
    about="Learning rate and batch of every method, on the same grid.",
    cells=cells,
    run=train_and_test,
    report=report,
    seeds=1,
)
