"""Table 1 of GN-IVO in miniature: every method of the paper and three of its siblings, paired by
seed, beside three placebos.

Each method runs as its published setting says (`objectives.published`), at the learning rate and
batch that `table1/search` chose for it on one grid; all draw the same number of answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from gnivo_edu.figures.forest import forest_plot
from gnivo_edu.studies.arithmetic import TESTED, train_and_test
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Cell, Prediction, Size, Study
from gnivo_edu.studies.table1.search import METHODS, chosen, training
from gnivo_edu.studies.tables import write_table

BASE, RIVAL, OURS = "base", "GRPO", "GN-IVO"
PLACEBOS = ("random", "form", "shuffled")
PLACED = (OURS, RIVAL)  # the methods that are given placebos
HARD = str(max(TESTED))


def placebo(method: str, reward: str) -> str:
    """The row of a method paid by a placebo.

    >>> placebo("GRPO", "form")
    'GRPO, form'
    """
    return f"{method}, {reward}"


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


def gain(results: Results, row: str, measure: str = f"pass@1.{HARD}") -> float:
    """How many points, of 0..1, a row lies above the model that it started from."""
    return results.mean(row, measure).mean - results.mean(BASE, measure).mean


def difference(results: Results, row: str, measure: str = f"pass@1.{HARD}") -> float:
    """Mean paired difference of a row from GRPO."""
    return results.difference(row, RIVAL, measure).mean


def gap(results: Results, row: str) -> float:
    """Pass@3 less Pass@1 on the hard tier."""
    return results.mean(row, f"pass@3.{HARD}").mean - results.mean(row, f"pass@1.{HARD}").mean


def rivals(results: Results) -> list[str]:
    """Rows that are compared with GRPO: the other methods."""
    return [row for row in results.rows if row in METHODS and row != RIVAL]


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
    predictions=(
        Prediction(
            "a tie with GRPO",
            "With one update a draw and the sampler as reference GN-IVO is a policy gradient: of K "
            "answers with m right ones a right one weighs 1/m - 1/K, GRPO's 1/sqrt(p(1 - p)). Both "
            "push the same way in every group, and differ in how they weigh groups: GN-IVO less "
            "GRPO in Pass@1 on tier 4.",
            -0.04,
            0.04,
            command="gnivo-edu claims --only gnivo-letter",
            falsified="a mean difference of more than four points",
            placebo_misses="GN-IVO paid by shuffled rewards lies where the base does",
            number=lambda results: difference(results, OURS),
            placebo=lambda results: difference(results, placebo(OURS, "shuffled")),
        ),
        Prediction(
            "the best gains a lot",
            "At tier 4 the base is right in 0.28 of its answers, mostly for a habit that "
            "demonstrations taught it and that rewards can undo: the largest gain of any method in "
            "Pass@1 there.",
            0.12,
            inf,
            command="gnivo-edu evaluate --model shipped --task arithmetic --set split=test",
            falsified="no method gains twelve points",
            placebo_misses="it gains nothing",
            number=lambda results: max(gain(results, name) for name in METHODS),
            placebo=lambda results: max(
                gain(results, placebo(m, reward)) for m in PLACED for reward in PLACEBOS
            ),
        ),
        Prediction(
            "shuffled credit teaches GRPO nothing",
            "Dealt out anew within each group, rewards are independent of answers given the group: "
            "the expected push is exactly 0, and what is left is noise. Gain of GRPO, shuffled, on "
            "tier 4.",
            -0.06,
            0.06,
            command="gnivo-edu claims --only dr-grpo-gradient",
            falsified="a change of more than six points either way",
            placebo_misses="here the reward itself misses: GRPO gains far more",
            number=lambda results: gain(results, placebo(RIVAL, "shuffled")),
            placebo=lambda results: gain(results, RIVAL),
        ),
        Prediction(
            "form alone teaches nothing",
            "The base writes the right number of totals and an end in nearly every answer: rewards "
            "for form tie, and of a tied group neither method learns. Gain of GN-IVO, form, on "
            "tier 4.",
            -0.04,
            0.04,
            command="gnivo-edu claims --only equal-rewards-grpo",
            falsified="a change of more than four points either way",
            placebo_misses="here the reward itself misses",
            number=lambda results: gain(results, placebo(OURS, "form")),
            placebo=lambda results: gain(results, OURS),
        ),
        Prediction(
            "coins hurt GN-IVO",
            "A fair coin has no push on average, and a random walk of the weights at GN-IVO's "
            "learning rate forgets: gain of GN-IVO, random, on tier 4.",
            -0.28,
            0.03,
            command="gnivo-edu claims --only gnivo-noise",
            falsified="a gain of more than three points",
            placebo_misses="here the reward itself misses",
            number=lambda results: gain(results, placebo(OURS, "random")),
            placebo=lambda results: gain(results, OURS),
        ),
        Prediction(
            "SFT-winning keeps up on easy questions",
            "It imitates one of the best of eight: where half of the answers are right nearly "
            "every group has one, and one round of best-of-8 alone brings 0.55 to 0.998. "
            "SFT-winning less GRPO on tier 2.",
            -0.02,
            0.06,
            command="gnivo-edu claims --only best-of-k-law",
            falsified="more than two points below GRPO",
            placebo_misses="GRPO paid by shuffled rewards stays where it was",
            number=lambda results: difference(results, "SFT-winning", "pass@1.2"),
            placebo=lambda results: difference(results, placebo(RIVAL, "shuffled"), "pass@1.2"),
        ),
        Prediction(
            "DRO is held at its tilt",
            "At alpha = 1 the optimum is pi_ref e^R/Z: a chance of 0.28 becomes 0.28 e/(0.28 e + "
            "0.72) = 0.51, so that no gain of more than 0.24 is to be had, and DRO's data are the "
            "base's own, so that it comes slowly. DRO's gain on tier 4.",
            0.0,
            0.24,
            command="gnivo-edu claims --only dro-optimum",
            falsified="a loss, or more than the tilt allows",
            placebo_misses="GRPO, which pays 0.04 a nat, gains more than the tilt of 1 allows",
            number=lambda results: gain(results, "DRO"),
            placebo=lambda results: gain(results, RIVAL),
        ),
        Prediction(
            "Pass@3 gains less than Pass@1",
            "What is learned is to do more often what the base does sometimes: Pass@3 less Pass@1 "
            "shrinks. GN-IVO's gap on tier 4 over the base's.",
            0.2,
            0.9,
            command="gnivo-edu claims --only best-of-k",
            falsified="a gap as wide as the base's, or none",
            placebo_misses="its gap is the base's",
            number=lambda results: gap(results, OURS) / gap(results, BASE),
            placebo=lambda results: gap(results, placebo(OURS, "form")) / gap(results, BASE),
        ),
        Prediction(
            "the log-ratio methods are no better",
            "GVPO and VIMPO push a group at the start as centred rewards do (claims vimpo-start): "
            "the better of the two less GRPO on tier 4.",
            -0.08,
            0.04,
            command="gnivo-edu claims --only vimpo-start",
            falsified="one of them more than four points above GRPO, or both more than eight below",
            placebo_misses="it lies where the base does",
            number=lambda results: max(difference(results, name) for name in ("GVPO", "VIMPO")),
            placebo=lambda results: difference(results, placebo(RIVAL, "shuffled")),
        ),
    ),
)
