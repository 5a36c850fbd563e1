"""The claim ledger: every verdict is recomputed, and a wrong one is found out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnivo_edu.population.claims import BITES, ZERO, all_claims, claims

LEDGER = {claim.name: claim for claim in all_claims()}


@pytest.mark.parametrize("name", LEDGER)
def test_the_numbers_give_the_verdict_of_the_ledger(name):
    finding = LEDGER[name].judge()
    assert finding.passed, (finding.verdict, finding.error, finding.mended)
    if finding.verdict == "holds if":
        assert LEDGER[name].condition
        assert finding.error > BITES
        assert finding.mended < ZERO


def test_the_ledger_is_long_enough_and_says_where_each_claim_comes_from():
    assert len(LEDGER) == len(all_claims()) >= 25
    assert {c.expected for c in LEDGER.values()} == {"holds", "holds if", "fails"}
    assert {c.read for c in LEDGER.values()} <= {"paper", "poster", "code", "third party", "story"}
    assert all(c.source and c.says.endswith(".") and c.unit for c in LEDGER.values())


def test_a_wrong_verdict_and_a_number_that_decides_nothing_do_not_pass():
    claim = LEDGER["theorem-1"]
    assert not replace(claim, expected="fails").judge().passed
    undecided = replace(claim, errors=lambda: (1e-6,)).judge()
    assert undecided.verdict is None
    assert not undecided.passed


def test_an_unknown_claim_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'theorem-1'"):
        claims("theorem1")


def test_one_claim_is_recomputed_by_the_command_it_names():
    report = claims("rloo-gradient")
    assert [c["command"] for c in report["claims"]] == ["gnivo-edu claims --only rloo-gradient"]
    assert report["passed"]
