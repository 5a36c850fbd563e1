"""Evaluation: Pass@k and maj@k with intervals over problems, every completion kept, two models
compared in pairs.
"""

from gnivo_edu.evaluation.evaluate import evaluate
from gnivo_edu.evaluation.pass_at_k import exact_chances, ks_of, majority_at_k, pass_at_k
from gnivo_edu.evaluation.report import Report, benchmark_table, compare
from gnivo_edu.evaluation.store import load_report
from gnivo_edu.statistics import (
    Interval,
    bootstrap_interval,
    paired_difference,
    unpaired_difference,
)

__all__ = [
    "Interval",
    "Report",
    "benchmark_table",
    "bootstrap_interval",
    "compare",
    "evaluate",
    "exact_chances",
    "ks_of",
    "load_report",
    "majority_at_k",
    "paired_difference",
    "pass_at_k",
    "unpaired_difference",
]
