"""The rows of the study of text, and the numbers that its table and its predictions share."""

from __future__ import annotations

import numpy as np

from gnivo_edu.statistics import Interval, rank_correlation, t_interval
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.table1.search import METHODS
from gnivo_edu.studies.text.run import most_reward

BASE, OURS, RIVAL = "base", "GN-IVO", "GRPO"
RATES = (1e-4, 3e-4, 1e-3)
MIDDLE, LARGEST = RATES[1:]
PLACEBOS = ("shuffled", "random")


def row(method: str, rate: float, reward: str = "task") -> str:
    """The name of a row.

    >>> row("GRPO", 1e-3), row("GN-IVO", 3e-4, "random")
    ('GRPO, 0.001', 'GN-IVO, 0.0003, random')
    """
    return ", ".join([method, f"{rate:g}", *([] if reward == "task" else [reward])])


def is_placebo(name: str) -> bool:
    """Whether a row was paid by a placebo."""
    return name.endswith(PLACEBOS)


def ordered(results: Results) -> list[str]:
    """The rows as they are shown: the base, methods with their rates in order, placebos."""
    methods = [BASE, *METHODS]

    def place(name: str) -> tuple[bool, bool, int, float]:
        method, *rate = name.split(", ")
        learning = float(rate[0]) if rate else 0.0
        return name != BASE, is_placebo(name), methods.index(method), learning

    return sorted(results.rows, key=place)


def trained_rows(results: Results) -> list[str]:
    """Rows that learned from the task's own reward."""
    return [name for name in results.rows if name != BASE and not is_placebo(name)]


def gain(results: Results, name: str) -> float:
    """Mean reward of a row less that of the initial model."""
    return results.mean(name, "reward").mean - results.mean(BASE, "reward").mean


def share(results: Results, name: str) -> Interval:
    """What the runs of a row gained, of what the best policy of their KL would have gained."""
    start = results.of(BASE)[0]
    shares = [
        (run["reward"] - start["reward"])
        / (most_reward(start["frontier"], run["kl"]) - start["reward"])
        for run in results.of(name)
    ]
    return t_interval(shares)


def largest_share(results: Results, placebo: bool = False) -> float:
    """The largest mean share of all rows that learned from the reward, or from a placebo."""
    names = [name for name in results.rows if name != BASE and is_placebo(name) == placebo]
    return max(share(results, name).mean for name in names)


def diversity_against_kl(results: Results) -> float:
    """Rank correlation, over rows, of mean KL and mean distinct-2."""
    kl, kept = (
        np.array([results.mean(name, measure).mean for name in trained_rows(results)])
        for measure in ("kl", "distinct.2")
    )
    return rank_correlation(kl, kept)


def ratio(results: Results, name: str, other: str) -> float:
    """Mean KL of a row as a multiple of another's."""
    return results.mean(name, "kl").mean / results.mean(other, "kl").mean
