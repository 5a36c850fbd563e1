"""Tables and figures of the study `noise`: what is lost by flips, against what GRPO loses, and how
far trained tables are from exact ends.
"""

from __future__ import annotations

from typing import Any

from gnivo_edu.figures.distance import DistanceCurves
from gnivo_edu.figures.forest import forest_plot
from gnivo_edu.statistics import Interval, t_interval
from gnivo_edu.studies.noise.lab import TABLES, apart
from gnivo_edu.studies.results import Results, entry
from gnivo_edu.studies.table1.search import METHODS
from gnivo_edu.studies.tables import write_table

BASE, RIVAL, OURS = "base", "GRPO", "GN-IVO"
MEASURE = "pass@1.mean"  # over tiers 2, 3 and 4
Noise = tuple[str, float]  # what one coin decides upon, and the chance of a flip
CLEAN, VIMPOS = ("group", 0.0), ("group", 0.25)
# Every method without noise and under VIMPO's; these four at further levels and answer by answer.
FEW = (OURS, RIVAL, "GVPO", "VIMPO")
ALONE = ("answer", 0.25)
FURTHER = (ALONE, ("group", 0.1), ("group", 0.4))
COINS = ("group", 0.5)  # the placebo: a reward that says nothing
LEVELS = (CLEAN, ("group", 0.1), VIMPOS, ("group", 0.4))


def named(method: str, noise: Noise, prefix: str = "") -> str:
    """The row of a method under some noise.

    >>> named("GRPO", ("group", 0.25)), named("GRPO", CLEAN, "table: ")
    ('GRPO, group 25%', 'table: GRPO')
    """
    of, chance = noise
    return prefix + method + (f", {of} {chance:.0%}" if chance else "")


def losses(results: Results, method: str, noise: Noise) -> dict[int, float]:
    """By how much Pass@1 is lower with the noise than without, by seed."""
    clean, noisy = (results.values(named(method, one), MEASURE) for one in (CLEAN, noise))
    return {seed: clean[seed] - noisy[seed] for seed in clean if seed in noisy}


def against(results: Results, method: str, noise: Noise, comparisons: int = 1) -> Interval:
    """How much more a method loses by noise than GRPO does, paired by seed."""
    ours, theirs = (losses(results, one, noise) for one in (method, RIVAL))
    both = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    return t_interval(both, 1 - 0.05 / comparisons)


def far(results: Results, method: str, noise: Noise, goal: Noise) -> Interval:
    """Total variation of trained tables, under `noise`, from the exact end under `goal`."""
    law = entry(results.of(named(method, goal, "exact: "))[0], "law")
    runs = results.of(named(method, noise, "table: "))
    return t_interval([apart(entry(one, "law"), law) for one in runs])


def compared(results: Results) -> list[tuple[str, Noise]]:
    """Methods and noises that are compared with GRPO."""
    pairs = [(method, VIMPOS) for method in METHODS] + [
        (method, noise) for noise in FURTHER for method in FEW
    ]
    return [(m, n) for m, n in pairs if m != RIVAL and named(m, n) in results.rows]


def report(results: Results) -> None:
    """Two tables, of losses and of ends, and two figures."""
    pairs = compared(results)
    comparisons = len(pairs)
    rows = []
    for method in METHODS:
        for noise in (CLEAN, VIMPOS, *FURTHER, COINS):
            if named(method, noise) in results.rows:
                rows.append(_row(results, method, noise, comparisons))
    seeds = len(results.of(RIVAL))
    text = (
        "# Noisy rewards\n\n"
        f"Means over {seeds} seeds with 95% intervals (Student). Pass@1 is the mean over tiers "
        "2, 3 and 4; `loss`: Pass@1 without noise less Pass@1 with it, paired by seed. `against "
        "GRPO`: how much more is lost than by GRPO, intervals corrected for "
        f"{comparisons} comparisons (Bonferroni). Noise: the chance that a reward R becomes 1 - R "
        "in training, one coin for a whole group, as in VIMPO's recipe, or one for each answer; "
        "50% of groups is the placebo. Further levels, and answers, for "
        f"{', '.join(FEW)} only. The model at its start has Pass@1 "
        f"{results.mean(BASE, MEASURE).mean:.3f}."
    )
    write_table(results.folder, rows, text)
    write_table(results.folder, _ends(results), ENDS, name="ends")
    figures = {"pass_at_1": curves(results), "forest": forest(results)}
    for name, figure in figures.items():
        if figure is not None:
            (results.folder / f"{name}.png").write_bytes(figure.png())


ENDS = (
    "# Where a table ends under noise\n\n"
    "Four answers of two tokens, one of them right, groups of eight. `exact`: the chance of a "
    "right answer where the expected push over all groups and all coins comes to rest; "
    "`trained`: of tables trained on samples, mean over seeds with 95% interval; `from the exact "
    "end` and `from the end without noise`: total variation of the trained law from these two. "
    "Published GN-IVO and SFT-winning leave it open how mass is divided among wrong answers: of "
    "them the first distance counts less than the chance of a right answer."
)


def _row(results: Results, method: str, noise: Noise, comparisons: int) -> dict[str, Any]:
    row = named(method, noise)
    noisy = noise != CLEAN
    loss = t_interval(list(losses(results, method, noise).values())) if noisy else ""
    close = noisy and noise != COINS and method != RIVAL
    compared = against(results, method, noise, comparisons) if close else ""
    return {
        "method": method,
        "coins for": noise[0] if noisy else "none",
        "flips": f"{noise[1]:.0%}",
        "Pass@1": results.mean(row, MEASURE),
        "loss": loss,
        "against GRPO": compared,
        "KL": results.mean(row, "kl_to_initial").mean,
        "seconds": results.mean(row, "seconds").mean,
    }


def _ends(results: Results) -> list[dict[str, Any]]:
    rows = []
    for method in TABLES:
        for noise in (*LEVELS, ALONE):
            if named(method, noise, "table: ") not in results.rows:
                continue
            rows.append(
                {
                    "method": method,
                    "coins for": noise[0] if noise != CLEAN else "none",
                    "flips": f"{noise[1]:.0%}",
                    "exact": results.mean(named(method, noise, "exact: "), "right").mean,
                    "trained": results.mean(named(method, noise, "table: "), "right"),
                    "from the exact end": far(results, method, noise, goal=noise),
                    "from the end without noise": _from_clean(results, method, noise),
                }
            )
    return rows


def _from_clean(results: Results, method: str, noise: Noise) -> Interval | str:
    known = named(method, CLEAN, "exact: ") in results.rows
    return far(results, method, noise, goal=CLEAN) if known else ""


def curves(results: Results) -> DistanceCurves | None:
    """Pass@1 of the four against the share of groups that are flipped; None where a level is
    missing.
    """
    levels = {method: [named(method, noise) for noise in LEVELS] for method in FEW}
    if not {row for rows in levels.values() for row in rows} <= set(results.rows):
        return None
    return DistanceCurves(
        [chance for _, chance in LEVELS],
        {m: [results.mean(row, MEASURE).mean for row in rows] for m, rows in levels.items()},
        caption=f"means over {len(results.of(RIVAL))} seeds, "
        f"{results.of(RIVAL)[0]['responses']:,} answers a run; the model at its start: "
        f"{results.mean(BASE, MEASURE).mean:.3f}; intervals in table.md",
        x_label="share of groups whose rewards are turned round in training",
        y_label="Pass@1, mean of tiers 2, 3 and 4",
    )


def forest(results: Results) -> Any:
    """How much more each method loses than GRPO by VIMPO's noise; None where seeds are too few."""
    if len(results.of(named(RIVAL, VIMPOS))) < 2:
        return None
    comparisons = len(compared(results))
    names = [m for m, noise in compared(results) if noise == VIMPOS]
    values = {m: against(results, m, VIMPOS, comparisons) for m in names}
    return forest_plot(
        {"25% of groups turned round": values},
        "loss of Pass@1, less that of GRPO",
        f"mean over {len(results.of(RIVAL))} seeds, paired; 95% intervals, corrected for "
        f"{comparisons} comparisons; grey: holds 0",
    )
