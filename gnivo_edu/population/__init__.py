"""Exact expectations of objectives over all groups, and what follows: the atlas, the judge, the
claim ledger.
"""

from gnivo_edu.population.answers import Answers, divergence, ended_answers, total_variation
from gnivo_edu.population.expectation import (
    Expected,
    Objective,
    expect,
    gradient_covariance,
    point_at,
)
from gnivo_edu.population.groups import Point, Population, Sampler, sampling_policy

__all__ = [
    "Answers",
    "Expected",
    "Objective",
    "Point",
    "Population",
    "Sampler",
    "divergence",
    "ended_answers",
    "expect",
    "gradient_covariance",
    "point_at",
    "sampling_policy",
    "total_variation",
]
