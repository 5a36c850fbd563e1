"""What checks measure by: the greatest of some errors, a spread, and the limit on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gnivo_edu.exact.tree import Array

SPREAD_LIMIT = 1e-7  # nats


def spread(values: Array) -> float:
    """Largest minus smallest."""
    return float(values.max() - values.min())


def normalised(logps: Array) -> Array:
    """Log-probabilities that sum to one."""
    return logps - np.logaddexp.reduce(logps)


def log_mean_exp(log_law: Array, values: Array) -> float:
    """log E[e^value] under a law in logarithms, nats."""
    return float(np.logaddexp.reduce(log_law + values))


def greatest(values: ArrayLike) -> float:
    """Largest absolute value."""
    # numpy's maximum, unlike Python's, does not pass over a nan: a check cannot hold by one.
    return float(np.abs(values).max())
