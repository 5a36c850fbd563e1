"""A claim needs a counterfactual; a wrong verdict, or a number that decides nothing, fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    Claim,
    conditions,
    entry,
    holds,
    holds_if,
    off_theory,
    off_tilts,
    row_of,
)

TRUE = holds(
    "true",
    "Zero is zero.",
    source="arithmetic",
    read="story",
    where="everywhere",
    unit="nothing",
    number=lambda: 0.0,
    unless="it is one",
    counterfactual=lambda: 1.0,
)
MENDED = replace(TRUE, expected="holds if", number=lambda: 1.0, counterfactual=lambda: 0.0)
FALSE = replace(MENDED, expected="fails")


def test_the_verdict_is_read_off_the_two_numbers():
    findings = {claim.judge().verdict: claim.judge() for claim in (TRUE, MENDED, FALSE)}
    assert list(findings) == ["holds", "holds if", "fails"]
    assert all(finding.passed and finding.bites for finding in findings.values())


@pytest.mark.parametrize("expected", ["fails", "holds if"])
def test_a_wrong_verdict_does_not_pass(expected):
    assert not replace(TRUE, expected=expected).judge().passed


@pytest.mark.parametrize("claim", [TRUE, MENDED, FALSE], ids=lambda claim: claim.expected)
@pytest.mark.parametrize("field", ["number", "counterfactual"])
def test_a_number_that_is_neither_zero_nor_large_does_not_pass(claim, field):
    assert not replace(claim, **{field: lambda: 1e-6}).judge().passed


def test_a_counterfactual_that_comes_out_like_the_claim_does_not_pass():
    true = replace(TRUE, counterfactual=lambda: 0.0).judge()
    assert (true.verdict, true.bites, true.passed) == ("holds", False, False)
    false = replace(FALSE, counterfactual=lambda: 2.0).judge()
    assert (false.verdict, false.bites, false.passed) == ("fails", False, False)
    assert replace(MENDED, counterfactual=lambda: 2.0).judge().verdict == "fails"


def test_no_claim_can_be_made_without_a_counterfactual_and_conditions():
    words = {"name": "x", "says": "X.", "source": "y", "read": "story", "unit": "z"}
    with pytest.raises(TypeError, match="counterfactual"):
        holds(**words, where="here", number=lambda: 0.0)
    for field in ("unless", "where"):
        with pytest.raises(ValueError, match="needs `where`"):
            replace(TRUE, **{field: ""})
    with pytest.raises(ValueError, match="a `counterfactual` of its own"):
        replace(TRUE, counterfactual=TRUE.number)
    assert holds_if.func is Claim


def test_a_row_of_the_atlas_is_asked_for_by_name_and_says_its_conditions():
    where = conditions("gvpo", "reference samples, K=2", "any sampler: uniform")
    assert where == (
        "alpha 0.5, 15 answers of up to 3 tokens, K = 2, samples: reference; "
        "alpha 0.5, 15 answers of up to 3 tokens, K = 3, samples: uniform"
    )
    with pytest.raises(KeyError, match="no row 'nothing' of gvpo"):
        row_of("gvpo", "nothing")


def test_a_row_without_a_law_of_theory_is_off_it_by_all_there_is():
    assert off_theory(entry("dr_grpo", "no KL, as published")) == 1.0


def test_a_tilt_of_the_reference_is_known_at_any_temperature():
    answers = problem("tree")
    for nats in (0.3, 5.0, -2.0):
        assert off_tilts(answers, answers.law(answers.tilted(nats * answers.rewards))) < 1e-12
    other = answers.law(answers.tilted(answers.rewards.square()))
    assert off_tilts(answers, other) > 1e-3
