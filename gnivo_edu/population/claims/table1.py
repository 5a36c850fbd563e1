"""Table 1 of GN-IVO's poster: its numbers, what can be counted in them, and the claims on it.

No model is run here: the scores are the poster's.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import NamedTuple

from gnivo_edu.population.claims.claim import fails, holds

# As the poster prints it: per cent, Pass@1 and Pass@3 of each benchmark in turn. Its caption says
# that Pass@3 is "calculated over three trials per query", and nothing of Pass@1.
BENCHMARKS = ("AMC2023", "Minerva Math", "Olympiad-Bench", "AIME2024", "AIME2025")
BASE, OURS = "base", "Ours"
AIME_PROBLEMS = 30
TABLE = {
    "Llama-3.1-8B-Instruct": """
        base         27.5 37.5  25.7 32.7  15.6 24.2   3.3 10.0   0.0  0.0
        SFT-winning  27.5 35.0  24.2 35.6  16.0 27.1   6.6  6.6   0.0  0.0
        Online-DPO   22.5 33.1  25.3 30.5  15.1 26.2   3.3 13.3   0.0  0.0
        PPO          25.0 35.0  21.7 34.9  15.7 26.2   3.3 16.6   3.3  0.0
        DRO          22.5 35.0  23.1 33.8  15.5 25.6   3.3  0.0   0.0  6.6
        OREO         27.5 32.5  25.7 35.3  15.7 26.8   3.3  6.6   0.0  6.6
        RLOO         35.0 40.0  26.1 34.1  17.9 26.1   6.6 16.6   0.0  0.0
        GRPO         35.0 37.5  25.3 35.3  18.8 25.3   6.6 16.6   3.3  0.0
        Ours         42.5 45.0  26.1 36.0  17.3 27.8  10.0 16.6   3.3  3.3
    """,
    "Qwen2.5-Math-7B": """
        base         52.5 70.0  27.0 36.0  37.7 46.2  23.0 26.6   6.6 13.3
        SFT-winning  57.5 62.5  30.5 36.0  38.8 49.0  23.3 26.6  13.3 13.3
        Online-DPO   57.5 70.0  27.2 37.1  36.2 49.2  23.3 30.0  10.0 13.3
        PPO          47.5 67.5  28.3 37.8  38.6 49.0  23.3 30.0  10.0 13.3
        DRO          55.0 67.5  31.2 37.1  37.7 48.7  23.3 33.3  10.0 13.3
        OREO         55.0 70.0  31.6 38.6  38.5 49.1  16.6 30.0  10.0 13.3
        RLOO         57.5 72.5  30.1 40.4  38.8 48.8  23.3 36.6  13.3 16.6
        GRPO         60.0 70.0  29.7 37.8  39.2 49.4  26.6 33.3   6.6 13.3
        Ours         62.5 75.0  31.6 41.9  39.8 49.0  30.0 40.0  13.3 23.3
    """,
}


class Cell(NamedTuple):
    """A column of the table, for one of its two models; `k` of Pass@k."""

    model: str
    benchmark: str
    k: int


@cache
def scores() -> dict[str, dict[Cell, float]]:
    """Per cent, by method and cell; `base` is the model that each method started from.

    >>> len(scores()), scores()["GRPO"]["Qwen2.5-Math-7B", "AIME2024", 3]
    (9, 33.3)
    """
    table: dict[str, dict[Cell, float]] = {}
    for model, text in TABLE.items():
        cells = [Cell(model, benchmark, k) for benchmark in BENCHMARKS for k in (1, 3)]
        for line in text.split("\n"):
            name, *numbers = line.split() or [""]
            if name:
                row = zip(cells, map(float, numbers), strict=True)
                table.setdefault(name, {}).update(row)
    return table


def leads(over: str | None = None) -> dict[Cell, float]:
    """GN-IVO's score less that of the best baseline, or of one row of the table, points."""
    rivals = [over] if over else [name for name in scores() if name not in (BASE, OURS)]
    return {
        cell: round(ours - max(scores()[name][cell] for name in rivals), 1)
        for cell, ours in scores()[OURS].items()
    }


def standings(over: str | None = None) -> dict[str, int]:
    """In how many of the 20 cells GN-IVO is alone at the top, shares it, is beaten.

    >>> standings()
    {'best': 12, 'tied': 5, 'beaten': 3}
    """
    points = leads(over).values()
    return {
        "best": sum(lead > 0 for lead in points),
        "tied": sum(lead == 0 for lead in points),
        "beaten": sum(lead < 0 for lead in points),
    }


def falls() -> list[tuple[str, Cell]]:
    """Method and cell of each Pass@1 that is above the Pass@3 beside it.

    On the same three trials that cannot be: the share of right ones is at most whether one is.

    >>> [(method, cell.model[:5], cell.benchmark) for method, cell in falls()]
    [('PPO', 'Llama', 'AIME2025'), ('DRO', 'Llama', 'AIME2024'), ('GRPO', 'Llama', 'AIME2025')]
    """
    return [
        (method, cell)
        for method, row in scores().items()
        for cell, score in row.items()
        if cell.k == 1 and score > row[cell._replace(k=3)]
    ]


def aime_problems(points: float) -> int:
    """A difference on AIME in problems: one of 30 is worth 3.33 points, printed as 3.3 or 3.4."""
    return round(points * AIME_PROBLEMS / 100)


def _share_not_best(over: str | None = None) -> float:
    return 1 - standings(over)["best"] / len(leads())


def _share_of_falls() -> float:
    return len(falls()) / sum(cell.k == 1 for row in scores().values() for cell in row)


def _share_of_falls_by_listing() -> float:
    """Over all outcomes of three trials to each of two problems."""
    outcomes = list(product(product((0, 1), repeat=3), repeat=2))
    pass_1 = [sum(map(sum, exam)) / 6 for exam in outcomes]
    pass_3 = [sum(map(max, exam)) / 2 for exam in outcomes]
    return sum(a > b for a, b in zip(pass_1, pass_3, strict=True)) / len(outcomes)


def _largest_aime_lead(over: str | None = None) -> int:
    aime = (lead for cell, lead in leads(over).items() if cell.benchmark.startswith("AIME"))
    return max(map(aime_problems, aime))


SOURCE, WHERE = "GN-IVO, ICLR 2026", "the poster's Table 1 as printed, 2 models, 10 columns each"
CLAIMS = [
    fails(
        "consistently-better",
        "GN-IVO consistently outperforms strong RL baselines (read as: it is alone at the top in "
        "every cell of its table).",
        source=f"{SOURCE}, abstract; alone at the top in 12 cells, tied in 5, beaten in 3; no "
        "baseline is alone in more than 2. What lasts over seeds: results/table1",
        read="poster",
        kind="measurement",
        where=f"{WHERE}, against the best of 7 baselines",
        unit="share of the 20 cells in which it is not alone at the top",
        number=_share_not_best,
        unless="it is set beside the model that training started from",
        counterfactual=lambda: _share_not_best(over=BASE),
    ),
    fails(
        "table-1-trials",
        "Pass@1 of Table 1 is measured on the same three trials as its Pass@3.",
        source=f"a reading of {SOURCE}, Table 1, whose caption does not say",
        read="poster",
        kind="measurement",
        where=f"{WHERE}, 9 rows",
        unit="share of pairs in which Pass@1 is above Pass@3",
        number=_share_of_falls,
        unless="both do come from the same three trials: all outcomes on two problems are listed",
        counterfactual=_share_of_falls_by_listing,
    ),
    holds(
        "aime-leads",
        "On AIME the largest lead of GN-IVO over the best baseline is two problems of 30.",
        source=f"counted in {SOURCE}, Table 1",
        read="poster",
        kind="measurement",
        where=f"{WHERE}, AIME2024 and AIME2025",
        unit="problems off two",
        number=lambda: abs(_largest_aime_lead() - 2),
        unless="the lead is over the model that training started from",
        counterfactual=lambda: abs(_largest_aime_lead(over=BASE) - 2),
    ),
]
