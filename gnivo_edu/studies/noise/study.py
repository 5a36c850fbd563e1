"""VIMPO's noisy rewards: what flips of answers and of whole groups cost each method, and where each
method ends under them, by counting and by training a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gnivo_edu.studies.arithmetic import train_and_test
from gnivo_edu.studies.noise.lab import TABLES, exact_end, train_table
from gnivo_edu.studies.noise.predictions import PREDICTIONS
from gnivo_edu.studies.noise.report import (
    ALONE,
    BASE,
    CLEAN,
    COINS,
    FEW,
    FURTHER,
    LEVELS,
    OURS,
    RIVAL,
    VIMPOS,
    Noise,
    named,
    report,
)
from gnivo_edu.studies.study import Cell, Size, Study
from gnivo_edu.studies.table1.search import METHODS, K, chosen, training

RESPONSES = {"full": 5_120, "quick": 1_280, "smoke": 512}
STEPS = {"full": 150, "quick": 40, "smoke": 5}  # of a table
SLOW = "PPO"  # its runs come last


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """Exact ends, then blocks of trained tables and of runs on arithmetic: what is compared first
    runs first, seed by seed.
    """
    full = size == "full"
    blocks = _blocks() if full else _small_blocks()

    def arithmetic(pair: Pair, seed: int) -> Cell:
        method, noise = pair
        rate, prompts = chosen(method)
        train = training(METHODS[method], rate, prompts)
        train["steps"] = RESPONSES[size] // (prompts * K)
        train |= {"reward_noise": noise[1], "reward_noise_of": noise[0]}
        frozen = full and seed == seeds[0] and method in (OURS, RIVAL) and noise in (CLEAN, VIMPOS)
        return Cell(named(method, noise), seed, {"train": train, "frozen": frozen, **tested})

    def table(pair: Pair, seed: int, prefix: str = "table: ") -> Cell:
        method, noise = pair
        settings = {"table": method, "of": noise[0], "chance": noise[1], "steps": STEPS[size]}
        return Cell(named(method, noise, prefix), seed, settings)

    tested = {"questions": 100 if full else 5}
    tabled = [pair for in_tables, pairs in blocks for pair in pairs if in_tables]
    listed = [Cell(BASE, seeds[0], {"train": None, **tested})]
    listed += [table(pair, seeds[0], prefix="exact: ") for pair in tabled]
    for in_tables, pairs in blocks:
        make = table if in_tables else arithmetic
        listed += [make(pair, seed) for seed in seeds for pair in pairs]
    return listed


Pair = tuple[str, Noise]
Block = tuple[bool, list[Pair]]  # whether in tables, and methods with noises


def _blocks() -> list[Block]:
    first = (OURS, RIVAL, "VIMPO")
    anchored = [method for method in TABLES if method.endswith("anchored")]
    rest = [method for method in METHODS if method not in (*FEW, SLOW)]
    levels = [noise for noise in FURTHER if noise != ALONE]
    return [
        # Of the other tables theory says the same end for both kinds of coins.
        (True, [(method, VIMPOS) for method in (OURS, RIVAL, *anchored[:2])] + [(OURS, ALONE)]),
        (False, [(method, noise) for method in first for noise in (CLEAN, VIMPOS)]),
        (False, [(OURS, ALONE), (RIVAL, ALONE), (RIVAL, COINS)]),
        (False, [("GVPO", CLEAN), ("GVPO", VIMPOS)]),
        (True, [("SFT-winning", VIMPOS), (anchored[2], VIMPOS)]),
        (True, [(method, LEVELS[-1]) for method in TABLES]),
        (False, [(method, noise) for method in rest for noise in (CLEAN, VIMPOS)]),
        (False, [("GVPO", ALONE), ("VIMPO", ALONE)]),
        (False, [(method, noise) for noise in levels for method in FEW] + [(OURS, COINS)]),
        (True, [(method, CLEAN) for method in TABLES]),
        (False, [(SLOW, CLEAN), (SLOW, VIMPOS)]),
    ]


def _small_blocks() -> list[Block]:
    return [
        (True, [(OURS, CLEAN), (OURS, VIMPOS), ("GVPO, anchored", VIMPOS)]),
        (False, [(method, noise) for method in (OURS, RIVAL) for noise in (CLEAN, VIMPOS)]),
    ]


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
