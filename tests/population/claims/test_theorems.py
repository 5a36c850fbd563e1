"""The claims of the results of this project: every verdict is recomputed."""

from __future__ import annotations

import pytest

from gnivo_edu.population.claims import theorems
from tests.population.claims.verdicts import assert_verdict


@pytest.mark.slow
@pytest.mark.parametrize("claim", theorems.CLAIMS, ids=lambda claim: claim.name)
def test_the_numbers_give_the_verdict_of_the_ledger(claim):
    assert_verdict(claim)
