"""VIMPO's noisy rewards: what flips of answers and of whole groups cost each method, and where each
method ends under them, by counting and by training a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gnivo_edu.studies.arithmetic import train_and_test
from gnivo_edu.studies.noise_lab import TABLES, exact_end, train_table
from gnivo_edu.studies.noise_predictions import PREDICTIONS
from gnivo_edu.studies.noise_report import (
    ALONE,
    BASE,
    CLEAN,
    COINS,
    FEW,
    FURTHER,
    OURS,
    RIVAL,
    TABLED,
    VIMPOS,
    Noise,
    named,
    report,
)
from gnivo_edu.studies.study import Cell, Size, Study
from gnivo_edu.studies.table1_search import METHODS, K, chosen, training

RESPONSES = {"full": 5_120, "quick": 1_280, "smoke": 512}
STEPS = {"full": 150, "quick": 40, "smoke": 5}  # of a table
SLOW = "PPO"  # its runs come last


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """Exact ends; tables, and four methods under both kinds of noise; these four at
    further levels; the other methods; PPO. Seed by seed, so that rows can be compared as early as possible.
    """
    full = size == "full"
    tabled, *blocks = _pairs() if full else _small_pairs()

    def arithmetic(pair: Pair, seed: int) -> Cell:
        method, noise = pair
        rate, prompts = chosen(method)
        train = training(METHODS[method], rate, prompts)
        train["steps"] = RESPONSES[size] // (prompts * K)
        train |= {"reward_noise": noise[1], "reward_noise_of": noise[0]}
        frozen = full and seed == seeds[0] and method in (OURS, RIVAL) and noise in (CLEAN, VIMPOS)
        return Cell(named(method, noise), seed, {"train": train, "frozen": frozen, **tested})

    def table(pair: Pair, seed: int, prefix: str) -> Cell:
        method, noise = pair
        settings = {"table": method, "of": noise[0], "chance": noise[1], "steps": STEPS[size]}
        return Cell(named(method, noise, prefix), seed, settings)

    tested = {"questions": 100 if full else 5}
    listed = [Cell(BASE, seeds[0], {"train": None, **tested})]
    listed += [table(pair, seeds[0], "exact: ") for pair in tabled]
    listed += [table(pair, seed, "table: ") for seed in seeds for pair in tabled]
    for block in blocks:
        listed += [arithmetic(pair, seed) for seed in seeds for pair in block]
    return listed


Pair = tuple[str, Noise]


def _pairs() -> list[list[Pair]]:
    """Methods with noises: of the tables; then of arithmetic, what is wanted first."""
    tabled = [(method, noise) for method in TABLES for noise in TABLED]
    # Of the other tables theory says the same end as where groups are turned round.
    tabled += [(method, ALONE) for method in (OURS, RIVAL)]
    few = [(method, noise) for method in FEW for noise in (CLEAN, VIMPOS, ALONE)]
    rest = [method for method in METHODS if method not in (*FEW, SLOW)]
    others = [(method, noise) for method in rest for noise in (CLEAN, VIMPOS)]
    levels = [(method, noise) for noise in FURTHER for method in FEW if noise != ALONE]
    levels += [(method, COINS) for method in (OURS, RIVAL)]
    return [tabled, few, levels, others, [(SLOW, CLEAN), (SLOW, VIMPOS)]]


def _small_pairs() -> list[list[Pair]]:
    tabled = [(OURS, CLEAN), (OURS, VIMPOS), ("GVPO, anchored", VIMPOS)]
    return [tabled, [(m, noise) for m in (OURS, RIVAL) for noise in (CLEAN, VIMPOS)]]


def run(cell: Cell, folder: Path) -> dict[str, Any]:
    """A run on arithmetic, a table trained on samples, or its exact end."""
    if cell.row.startswith("exact: "):
        return exact_end(cell)
    if cell.row.startswith("table: "):
        return train_table(cell, folder)
    return train_and_test(cell, folder)


STUDY = Study(
    name="noise",
    about="Rewards turned round, of answers and of whole groups: losses, and exact ends.",
    cells=cells,
    run=run,
    report=report,
    predictions=PREDICTIONS,
)
