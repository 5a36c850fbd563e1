"""Table 1 of GN-IVO in miniature: every method of the paper and three of its siblings, paired by
seed, beside three placebos.

Each method runs as its published setting says (`objectives.published`), at the learning rate and
batch that `table1/search` chose for it on one grid; all draw the same number of answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gnivo_edu.figures.forest import forest_plot
from gnivo_edu.studies.arithmetic import TESTED, train_and_test
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Cell, Size, Study
from gnivo_edu.studies.table1.predictions import PREDICTIONS
from gnivo_edu.studies.table1.rows import BASE, HARD, OURS, PLACEBOS, PLACED, RIVAL, placebo, rivals
from gnivo_edu.studies.table1.search import METHODS, chosen, training
from gnivo_edu.studies.tables import write_table


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """The base, once a seed; every method and every placebo at every seed."""
    full = size == "full"
    test = {"frozen": full, "questions": {"full": 200, "quick": 50, "smoke": 5}[size]}
    methods = METHODS if full else {name: METHODS[name] for name in ("SFT-winning", RIVAL, OURS)}
    rewards = PLACEBOS if full else PLACEBOS[-1:]

    def run(row: str, method: str, seed: int, **more: Any) -> Cell:
        rate, prompts = chosen(method)
        train = training(METHODS[method], rate, prompts, size=size)
        return Cell(row, seed, {"train": train, **test, **more})

    listed = [Cell(BASE, seeds[0], {"train": None, **test})]
    listed += [run(method, method, seed) for method in methods for seed in seeds]
    listed += [
        run(placebo(method, reward), method, seed, reward=reward)
        for method in PLACED
        for reward in rewards
        for seed in seeds
    ]
    return listed


def report(results: Results) -> None:
    """The table, and the forest plot of the paired differences from GRPO."""
    comparisons = len(rivals(results)) * len(TESTED)
    rows = [_row(results, row, comparisons) for row in results.rows]
    seeds = len(results.of(RIVAL))
    text = (
        "# Table 1 in miniature\n\n"
        f"Means over {seeds} seeds with 95% intervals (Student). Tiers are numbers of operations; "
        f"trained on tiers 2 and 3, tier {HARD} is the hard benchmark. `against GRPO`: paired by "
        f"seed, intervals corrected for {comparisons} comparisons (Bonferroni). Intervals carry "
        "the choice of seed, not that of questions, which are the same for all. KL to the start, "
        "nats an answer; entropy, nats a token; length, tokens; seconds of training on one "
        "thread, with other work on the machine; MiB of the process at its largest. Rows with a "
        "comma are placebos: paid by a coin, for form alone, or by rewards shuffled in each group."
    )
    write_table(results.folder, rows, text)
    figure = forest(results)
    if figure is not None:
        (results.folder / "forest.png").write_bytes(figure.png())


def forest(results: Results) -> Any:
    """Paired differences from GRPO in Pass@1, a panel a tier; None where seeds are too few."""
    names = rivals(results)
    if len(results.of(RIVAL)) < 2:
        return None
    comparisons = len(names) * len(TESTED)
    panels = {
        f"tier {tier}" + ", not trained on" * (str(tier) == HARD): {
            name: results.difference(name, RIVAL, f"pass@1.{tier}", comparisons=comparisons)
            for name in names
        }
        for tier in TESTED
    }
    seeds = len(results.of(RIVAL))
    return forest_plot(
        panels,
        "Pass@1 less that of GRPO",
        f"mean over {seeds} seeds, paired; 95% intervals, corrected for {comparisons} comparisons; "
        "grey: holds 0; arrows: farther off",
        limits=(-0.32, 0.16),
    )


def _row(results: Results, row: str, comparisons: int) -> dict[str, Any]:
    cells: dict[str, Any] = {"method": row}
    for tier in map(str, TESTED):
        for k in (1, 3):
            cells[f"tier {tier} Pass@{k}"] = results.mean(row, f"pass@{k}.{tier}")
    compared = row in rivals(results)
    cells[f"against GRPO, tier {HARD}"] = (
        results.difference(row, RIVAL, f"pass@1.{HARD}", comparisons=comparisons)
        if compared
        else ""
    )
    trained = row != BASE
    for name, measure in (
        ("responses", "responses"),
        ("KL", "kl_to_initial"),
        ("entropy", "entropy"),
        ("length", "length"),
        ("seconds", "training_seconds"),
        ("MiB", "memory_mib"),
    ):
        known = trained or measure in ("responses", "kl_to_initial", "length")
        cells[name] = results.mean(row, measure).mean if known else ""
    return cells


STUDY = Study(
    name="table1",
    about="Every method of GN-IVO's Table 1 and three siblings on arithmetic, with placebos.",
    cells=cells,
    run=train_and_test,
    report=report,
    predictions=PREDICTIONS,
)
