"""Exact expectations of objectives over all groups, and what follows: the atlas, the judge, the
claim ledger.
"""

from gnivo_edu.population.answers import Answers, divergence, total_variation
from gnivo_edu.population.expectation import Expected, expect, gradient_covariance, point_at
from gnivo_edu.population.groups import Point, Population, sampling_policy

__all__ = [
    "Answers",
    "Expected",
    "Point",
    "Population",
    "divergence",
    "expect",
    "gradient_covariance",
    "point_at",
    "sampling_policy",
    "total_variation",
]
