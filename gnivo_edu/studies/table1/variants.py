"""GN-IVO, one factor at a time from the setting of Table 1: its weights, depths, steps, reference
and updates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gnivo_edu.batch import GroupBatch, group_log_softmax
from gnivo_edu.figures.forest import forest_plot
from gnivo_edu.objectives import LossOutput
from gnivo_edu.objectives.groups import prefix_coefficients, reward_weights
from gnivo_edu.studies.arithmetic import TESTED, train_and_test
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Cell, Size, Study
from gnivo_edu.studies.table1.search import METHODS, chosen, training
from gnivo_edu.studies.tables import write_table

OURS = "GN-IVO"


def second_order(batch: GroupBatch, alpha: float = 0.2) -> LossOutput:
    """GN-IVO with weights p (1 + p - q), normalised in the group: p = softmax(R/alpha), q that of
    the log prefix ratios, a constant here. Their bias falls as 1/K^2, where that of p falls as 1/K
    (theorem 5 of notebooks/theorems.md).
    """
    p = reward_weights(batch, alpha, weights="softmax")
    log_q = group_log_softmax(batch.prefix_logratio)
    w = p * (1 + p - log_q.exp().detach())
    w = w / w.sum(1, keepdim=True)
    c = prefix_coefficients(batch, "all")
    return LossOutput(batch.group_mean(-(c * w * log_q).sum((1, 2))))


# What each variant changes of the run of Table 1.
VARIANTS: dict[str, dict[str, Any]] = {
    OURS: {},
    "raw weights": {"objective_options": {"weights": "raw", "reward_max": 1.0}},
    "second-order weights": {"objective": f"{__name__}:second_order"},
    "last depth": {"objective_options": {"prefixes": "last"}},
    "one depth, t ~ U (to the letter)": {"setting": "gnivo/letter"},
    "by step": {"level": "step"},
    "reference fixed": {"reference": "initial"},
    "reference refreshed": {"reference": "refreshed", "refresh_every": 10},
    "refreshed, completion weights": {
        "reference": "refreshed",
        "refresh_every": 10,
        "objective_options": {"weights": "completion_softmax"},
    },
    "four updates a draw": {"inner_steps": 4},
}


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """Every variant at every seed, at GN-IVO's learning rate and batch."""
    rate, prompts = chosen(OURS)
    names = list(VARIANTS) if size == "full" else [OURS, "second-order weights", "last depth"]
    test = {"questions": {"full": 200, "quick": 50, "smoke": 5}[size]}
    listed = []
    for name in names:
        train = training(METHODS[OURS], rate, prompts, size=size) | VARIANTS[name]
        if "objective" in train:
            del train["setting"]  # the published one of another objective
        listed += [Cell(name, seed, {"train": train, **test}) for seed in seeds]
    return listed


def report(results: Results) -> None:
    """Pass@1 of every variant, its paired difference from GN-IVO as in Table 1, and its KL."""
    names = [row for row in results.rows if row != OURS]
    comparisons = len(names)

    def less(row: str, tier: str) -> Any:
        return results.difference(row, OURS, f"pass@1.{tier}", comparisons=comparisons)

    rows = [
        {
            "variant": row,
            **{f"tier {tier} Pass@1": results.mean(row, f"pass@1.{tier}") for tier in TESTED},
            "gain on GN-IVO, mean of tiers": "" if row == OURS else less(row, "mean"),
            "KL": results.mean(row, "kl_to_initial").mean,
            "seconds": results.mean(row, "training_seconds").mean,
        }
        for row in results.rows
    ]
    seeds = len(results.of(OURS))
    text = (
        "# GN-IVO, one factor at a time\n\n"
        f"From the run of Table 1 (softmax weights, all depths, tokens, the sampler as reference); "
        f"means over {seeds} seeds with 95% intervals; differences are paired by seed, their "
        f"intervals corrected for {comparisons} comparisons."
    )
    write_table(results.folder, rows, text)
    if seeds > 1:
        panels = {"mean of tiers 2, 3, 4": {row: less(row, "mean") for row in names}}
        note = f"{seeds} seeds, paired; 95% intervals, corrected for {comparisons} comparisons"
        plot = forest_plot(panels, "Pass@1 less that of GN-IVO", note)
        (results.folder / "forest.png").write_bytes(plot.png())


STUDY = Study(
    name="table1/variants",
    about="GN-IVO of Table 1, one factor at a time.",
    cells=cells,
    run=train_and_test,
    report=report,
)
