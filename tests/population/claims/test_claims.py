"""The claim ledger: long enough, with sources; every verdict and counterfactual is recomputed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gnivo_edu.population.claims import BITES, ZERO, all_claims, claims

LEDGER = {claim.name: claim for claim in all_claims()}
ROOT = Path(__file__).parents[3]


def test_the_ledger_is_long_enough_and_says_where_each_claim_comes_from():
    assert len(LEDGER) == len(all_claims()) >= 60
    assert {c.expected for c in LEDGER.values()} == {"holds", "holds if", "fails"}
    assert {c.read for c in LEDGER.values()} <= {"paper", "poster", "code", "third party", "story"}
    kinds = {"theorem", "corollary", "identity", "counterexample", "measurement"}
    assert {c.kind for c in LEDGER.values()} == kinds
    assert all(c.source and c.says.endswith(".") and c.unit for c in LEDGER.values())


@pytest.mark.slow
@pytest.mark.parametrize("claim", LEDGER.values(), ids=LEDGER)
def test_the_verdict_is_that_of_the_ledger_and_the_counterfactual_comes_out_the_other_way(claim):
    finding = claim.judge()
    assert finding.passed, (finding.verdict, finding.error, finding.other)
    if finding.verdict == "holds":
        assert finding.error < ZERO
        assert finding.other > BITES
    else:
        assert finding.error > BITES
        assert finding.other < ZERO


def test_an_unknown_claim_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'theorem-1'"):
        claims("theorem1")


def test_one_claim_is_recomputed_by_the_command_it_names():
    report = claims("rloo-gradient")
    row = report["claims"][0]
    assert row["command"] == "gnivo-edu claims --only rloo-gradient"
    assert row["counterfactual"] == "the KL is priced at alpha/2"
    assert row["number"] < ZERO < BITES < row["counterfactual_number"]
    assert row["bites"]
    assert (row["condition"], row["number_under_condition"], row["curve"]) == ("", None, None)
    assert report["passed"]


def test_the_condition_of_a_claim_that_holds_only_so_is_its_counterfactual():
    row = claims("end-token")["claims"][0]
    assert row["condition"] == row["counterfactual"]
    assert row["number_under_condition"] == row["counterfactual_number"] < ZERO < row["number"]


@pytest.mark.parametrize("page", ["README.md", "notebooks", "recipes"])
def test_pages_quote_only_claims_that_the_ledger_has(page):
    path = ROOT / page
    files = [path] if path.is_file() else [*path.glob("*.md"), *path.glob("src/*.py")]
    quoted = {
        name
        for file in files
        for name in re.findall(
            r"claims\s+(?:#\s+)?--only\s+(?:#\s+)?([a-z0-9-]+)", file.read_text()
        )
    }
    assert quoted <= set(LEDGER)


def test_every_theorem_of_the_page_names_its_claims():
    text = (ROOT / "notebooks" / "theorems.md").read_text()
    theorems = set(re.findall(r"^## (\d+)\. ", text, re.M))
    listed = re.search(r"beside a false neighbour: (.*?) \(`--only", text, re.S).group(1)
    parts = [part.split() for part in re.split(r";\s+", listed.replace("theorem ", ""))]
    assert {part[0] for part in parts} == theorems
    for number, *names in parts:
        for name in names:
            assert f"theorem {number}" in LEDGER[name.strip("`,")].source
