"""A claim whose verdict is wrong, or whose number decides nothing, does not pass."""

from __future__ import annotations

from dataclasses import replace

from gnivo_edu.population.claims import papers


def test_a_wrong_verdict_and_a_number_that_decides_nothing_do_not_pass():
    claim = next(claim for claim in papers.CLAIMS if claim.name == "theorem-1")
    assert not replace(claim, expected="fails").judge().passed
    undecided = replace(claim, errors=lambda: (1e-6,)).judge()
    assert undecided.verdict is None
    assert not undecided.passed
