"""Every row of the atlas against its theory; and an atlas that can fail.

Solved rows are those of the claim ledger, which are kept: each is solved once a run.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnivo_edu import objectives
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population.atlas import atlas, find, rows_of
from gnivo_edu.population.atlas.row import ARGMAX, Row, tilt_at
from gnivo_edu.population.claims.claim import entry as solved

FIELDS = {
    *("objective", "variant", "sampling", "theory", "theory_error", "evidence", "verdict"),
    *("gradient_norm_at_optimum", "tv_from_optimum", "kl_from_optimum"),
    *("source", "read_in", "command", "share", "starts"),
}


@pytest.mark.parametrize("name", objectives.names())
@pytest.mark.slow
def test_theory_and_computation_agree_in_every_row(name):
    for row in rows_of(name):
        entry = solved(name, row.variant)
        assert entry.agrees, (row.variant, entry.verdict, row.expected, entry.theory_error)
        assert entry.to_json().keys() >= FIELDS
        if row.law is not None:
            assert entry.theory_error < 1e-6
        if entry.verdict == "exact":
            assert entry.gradient_norm_at_optimum < 1e-9, row.variant
        elif row.expected and row.refreshes == 1 and not row.shift:
            assert entry.gradient_norm_at_optimum > 1e-5, row.variant
        assert sum(len(outcome.end.starts) for outcome in entry.outcomes) >= 4
        if row.expected == "collapses":
            worst = entry.outcomes[0]
            assert entry.theory_error is None
            assert worst.end.kind == "edge"
            assert worst.left < 1e-3
        if row.theory == ARGMAX:
            assert [outcome.main for outcome in entry.outcomes] == [1.0]
        elif row.expected != "collapses":
            assert entry.share == 1.0, "one rest, whatever the start"
            assert entry.evidence["attracts"] is not False


@pytest.mark.slow
def test_a_wrong_theory_is_found_out():
    row = next(row for row in rows_of("gvpo") if row.expected == "exact")
    assert solved("gvpo", row.variant).agrees
    wrong = find(replace(row, law=tilt_at(1.01)))
    assert not wrong.agrees
    assert wrong.theory_error > 1e-4
    assert not find(replace(row, expected="biased")).agrees


def test_a_wrong_sign_in_an_objective_is_found_out(monkeypatch):
    def broken(batch, alpha=0.1):
        return objectives.gvpo(replace(batch, rewards=-batch.rewards), alpha)

    monkeypatch.setitem(objectives._REGISTRY, "gvpo", broken)
    assert not find(rows_of("gvpo")[0]).agrees


@pytest.mark.slow
def test_a_new_objective_appears_by_itself(monkeypatch):
    def centred(batch, alpha=0.1):
        """REINFORCE with the mean of the group as baseline."""
        advantage = batch.rewards - batch.rewards.mean(1, keepdim=True)
        logp = batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)
        return LossOutput(batch.group_mean(-(advantage * logp).mean(1)))

    monkeypatch.setitem(objectives._REGISTRY, "centred", centred)
    report = atlas("centred")
    assert [row["sampling"] for row in report["rows"]] == ["reference", "on-policy", "uniform"]
    assert report["rows"][1]["verdict"] == "collapses"
    assert report["passed"]


def test_a_loss_of_ones_own_needs_no_alpha_and_no_group_weight():
    """It is reweighted over prompts, as the evidence says; one that mixes prompts is refused."""

    def plain(batch):
        advantage = batch.rewards - batch.rewards.mean(1, keepdim=True)
        logp = batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)
        return -(advantage * logp).mean()

    def mixing(batch):
        logp = batch.policy_logps.masked_fill(~batch.mask, 0.0)
        return -(batch.rewards[..., None] * logp).sum() / batch.mask.sum()

    row = Row("mine", "", None, "none stated", function=plain, sampling="current")
    small = replace(row, problem="one step", group_size=2)
    entry = find(small)
    assert entry.verdict == "collapses"
    assert entry.outcomes[0].main == 1.0
    assert "ignores batch.group_weight" in entry.evidence["text"]
    with pytest.raises(ValueError, match="mixes prompts"):
        find(replace(small, function=mixing))
