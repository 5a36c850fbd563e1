"""Two small trees, and a batch of random numbers."""

from __future__ import annotations

import pytest
import torch

from tests.objectives.population_problem import Problem, make_problem


@pytest.fixture(scope="session")
def fixed() -> Problem:
    """Eight answers of three tokens."""
    return make_problem(2, 3, None)


@pytest.fixture(scope="session")
def ragged() -> Problem:
    """Fifteen answers of one to three tokens."""
    return make_problem(3, 3, 2)


@pytest.fixture
def random_batch() -> dict[str, torch.Tensor]:
    """Three groups of four, off-policy, lengths from 1 to 5, junk after the end."""
    g = torch.Generator().manual_seed(1)
    lengths = torch.tensor([[5, 2, 1, 3], [2, 2, 2, 2], [1, 4, 3, 3]])
    mask = torch.arange(5) < lengths[..., None]
    names = ("policy_logps", "behaviour_logps", "prefix_values")
    fields = {name: torch.randn(3, 4, 5, generator=g, dtype=torch.float64) for name in names}
    for name in names[:2]:
        fields[name] -= 6.0  # a log-probability is negative
    fields["rewards"] = torch.rand(3, 4, generator=g, dtype=torch.float64)
    return fields | {"mask": mask, "log_z": torch.tensor([0.1, -0.4, 1.3], dtype=torch.float64)}
