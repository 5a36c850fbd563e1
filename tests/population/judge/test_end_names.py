"""Ends that are known laws get their names."""

from __future__ import annotations

from gnivo_edu import objectives
from gnivo_edu.population.judge.contract import examine
from gnivo_edu.population.judge.ends import find_end
from tests.population.judge.subjects import mean_over_padding, subject_of, wrong_alpha


def test_another_alpha_is_named():
    end = find_end(subject_of(wrong_alpha), "15 answers", "reference", 2, 0.5)
    assert end.verdict == "other optimum"
    assert "a = 1 instead of 0.5" in end.evidence


def test_the_best_of_k_is_named():
    end = find_end(subject_of(objectives.sft_winning), "15 answers", "reference", 2, 0.5)
    assert "best of 2" in end.evidence


def test_a_mean_over_padding_is_another_alpha_and_breaks_the_contract():
    subject, findings = examine(mean_over_padding, "f", 0.5, {})
    assert [finding.name for finding in findings if not finding.holds] == ["padding"]
    assert f"a = {0.5 / 3:.4g}" in find_end(subject, "15 answers", "uniform", 2, 0.5).evidence
