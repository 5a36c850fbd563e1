"""The claim ledger: long enough, with sources, and asked for by name."""

from __future__ import annotations

import pytest

from gnivo_edu.population.claims import all_claims, claims

LEDGER = {claim.name: claim for claim in all_claims()}


def test_the_ledger_is_long_enough_and_says_where_each_claim_comes_from():
    assert len(LEDGER) == len(all_claims()) >= 25
    assert {c.expected for c in LEDGER.values()} == {"holds", "holds if", "fails"}
    assert {c.read for c in LEDGER.values()} <= {"paper", "poster", "code", "third party", "story"}
    assert all(c.source and c.says.endswith(".") and c.unit for c in LEDGER.values())


def test_an_unknown_claim_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'theorem-1'"):
        claims("theorem1")


def test_one_claim_is_recomputed_by_the_command_it_names():
    report = claims("rloo-gradient")
    assert [c["command"] for c in report["claims"]] == ["gnivo-edu claims --only rloo-gradient"]
    assert report["passed"]
