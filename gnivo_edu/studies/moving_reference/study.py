"""A reference that moves: the three questions of notebooks/moving_reference.md, trained.

On the tree of that page every end is known (`tree`); the arithmetic transformer says what a
reference that stays, that moves every 30, 10 or 1 updates, or that is the sampler does to a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gnivo_edu.population.moving.tables import ALPHA
from gnivo_edu.studies.arithmetic import train_and_test
from gnivo_edu.studies.moving_reference import report, tree
from gnivo_edu.studies.moving_reference.predictions import PREDICTIONS
from gnivo_edu.studies.study import Cell, Size, Study

TIMES = 6  # refreshes of the tree
STEPS, GROUPS, K = 200, 64, 8  # updates of a refresh, groups of an update, answers of a group
DRAWS = 8_000  # groups that jumps are measured on
# The rate that the search of Table 1 chose for two of the three, and its smaller batch, so that
# 3,840 answers make 60 updates.
RATE, PROMPTS, UPDATES = 3e-4, 8, 60
REFERENCES: dict[str, dict[str, Any]] = {
    "initial": {"reference": "initial"},
    "every 30": {"reference": "refreshed", "refresh_every": 30},
    "every 10": {"reference": "refreshed", "refresh_every": 10},
    "every 1": {"reference": "refreshed", "refresh_every": 1},
    "sampler": {"reference": "sampler"},
}
# GN-IVO's alpha for VIMPO's value loss: at the published one, 0.0005, no log-ratio could say R.
VALUE_LOSS = {"alpha": 0.2, "actor": 0.0, "baseline": "leave_one_out"}
# GVPO's updates on one draw are one, as for the others.
MODELS: dict[str, dict[str, Any]] = {
    "GN-IVO": {"setting": "gnivo"},
    "GVPO": {"setting": "gvpo", "inner_steps": 1},
    "VIMPO": {"setting": "vimpo/short"},
    "VIMPO at 0.2": {"setting": "vimpo/short", "objective_options": VALUE_LOSS},
}
MOVED = {
    "GN-IVO": tuple(REFERENCES),
    "GVPO": ("initial", "every 10", "every 1"),
    "VIMPO": ("initial", "every 10"),
    "VIMPO at 0.2": ("initial", "every 10", "every 1"),
}
PLACED = ("GN-IVO",)  # shuffled, with a reference that moves every 10 updates


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """The tree's runs and the transformer's, seed by seed; the transformer's start once."""
    trees = [cell for seed in seeds for cell in _trees(size, seed)]
    models = [cell for seed in seeds for cell in _models(size, seed)]
    start = Cell("start", seeds[0], {"train": None, **_test(size, frozen=False)})
    return [*trees, start, *models]


def _trees(size: Size, seed: int) -> list[Cell]:
    full = size == "full"
    steps = {"full": STEPS, "quick": STEPS, "smoke": 40}[size]
    draws, groups = (DRAWS, GROUPS) if full else (500, 16)
    small = {"draws": draws, "groups": groups}

    def tree(row: str, method: str, times: int, **given: Any) -> Cell:
        settings = {"alpha": ALPHA, "steps": steps, "K": K, "shuffled": False, **small}
        return Cell(f"tree: {row}", seed, {"method": method, "times": times, **settings, **given})

    if not full:
        return [tree(name, name, times=2) for name in ("GVPO", "VIMPO")]
    return [
        tree("GVPO", "GVPO", TIMES),
        tree("GN-IVO, raw", "GN-IVO", TIMES),
        # Pairs, whose rest can be searched; as many answers as the others.
        tree("GN-IVO, softmax", "GN-IVO, softmax", TIMES, K=2, groups=4 * GROUPS),
        tree("VIMPO", "VIMPO", TIMES),
        tree("VIMPO, shuffled", "VIMPO", times=3, shuffled=True),
        tree("VIMPO, 4 at 4 alpha", "VIMPO", times=4, alpha=4 * ALPHA, draws=0),
        tree("VIMPO, K = 2", "VIMPO", times=1, K=2, groups=4 * GROUPS),
        tree("VIMPO, K = 4", "VIMPO", times=3, K=4, groups=2 * GROUPS),
        tree("VIMPO, K = 8, 10 updates", "VIMPO", times=1, steps=10),
        tree("VIMPO, K = 8, 25 updates", "VIMPO", times=1, steps=25),
    ]


def _models(size: Size, seed: int) -> list[Cell]:
    full = size == "full"
    frozen = full and seed == 0
    if full:
        rows = [(name, reference) for name, ways in MOVED.items() for reference in ways]
        return [
            *(_model(size, seed, name, reference, frozen) for name, reference in rows),
            *(_model(size, seed, name, "every 10", frozen, reward="shuffled") for name in PLACED),
        ]
    ways = ("initial", "every 10") if size == "quick" else ("every 10",)
    return [_model(size, seed, "GN-IVO", reference, frozen) for reference in ways]


def _model(
    size: Size, seed: int, name: str, reference: str, frozen: bool, reward: str = "task"
) -> Cell:
    train = {
        "inner_steps": 1,
        **MODELS[name],
        **REFERENCES[reference],
        "learning_rate": RATE,
        "prompts_per_step": PROMPTS,
        "group_size": K,
        "steps": {"full": UPDATES, "quick": 30, "smoke": 6}[size],
    }
    row = f"{name}, {reference}" + ", shuffled" * (reward == "shuffled")
    return Cell(row, seed, {"train": train, "reward": reward, **_test(size, frozen)})


def _test(size: Size, frozen: bool) -> dict[str, Any]:
    questions = {"full": 60, "quick": 30, "smoke": 5}[size]
    return {"frozen": frozen, "questions": questions, "samples": 4}


def run(cell: Cell, folder: Path) -> dict[str, Any]:
    """One run, on the tree or of the transformer."""
    on_tree = "method" in cell.settings
    return (tree.refresh_and_measure if on_tree else train_and_test)(cell, folder)


STUDY = Study(
    name="moving-reference",
    about="A reference that moves: swaps, refreshes and jumps, trained beside their theorems.",
    cells=cells,
    run=run,
    report=report.report,
    predictions=PREDICTIONS,
)
