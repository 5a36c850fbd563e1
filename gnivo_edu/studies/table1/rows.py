"""The rows of Table 1 in miniature, and the numbers that are read off them."""

from __future__ import annotations

from gnivo_edu.studies.arithmetic import TESTED
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.table1.search import METHODS

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
