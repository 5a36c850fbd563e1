"""What every claim of the ledger is held to."""

from __future__ import annotations

from gnivo_edu.population.claims import BITES, ZERO, Claim


def assert_verdict(claim: Claim) -> None:
    finding = claim.judge()
    assert finding.passed, (finding.verdict, finding.error, finding.mended)
    if finding.verdict == "holds if":
        assert claim.condition
        assert finding.error > BITES
        assert finding.mended < ZERO
