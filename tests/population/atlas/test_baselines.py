"""What the rows of the baselines say beside one another."""

from __future__ import annotations

import pytest

from gnivo_edu.population.atlas import rows_of
from gnivo_edu.population.claims.claim import entry


@pytest.mark.slow
def test_the_pull_of_oreos_kl_term_grows_with_its_weight():
    variants = [row.variant for row in rows_of("oreo") if "a KL term" in row.variant]
    light, heavy = (entry("oreo", variant).tv_from_optimum for variant in variants)
    assert 1e-4 < light < heavy
