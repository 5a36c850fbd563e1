"""Where objectives end: verdicts, turned signs, other units and orders."""

from __future__ import annotations

import pytest

from gnivo_edu import objectives
from gnivo_edu.population.judge.ends import find_end
from gnivo_edu.population.judge.pushes import typical_push
from gnivo_edu.population.judge.subject import Subject
from tests.population.judge.subjects import first_two, subject_of, turned_sign


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sampler", "verdict"),
    [
        ("gnivo", "reference", "exact"),
        ("gnivo", "current", "biased"),
        ("rloo", "current", "exact"),
        ("dro", "uniform", "exact"),
        ("sft_winning", "reference", "other optimum"),
    ],
)
def test_verdicts_of_the_registry(name, sampler, verdict):
    subject = subject_of(objectives.get(name), name)
    assert find_end(subject, subject.tree, sampler, 2, 0.5).verdict == verdict


def test_a_turned_sign_is_seen_although_pi_star_is_a_root():
    subject = subject_of(turned_sign)
    for sampler in ("reference", "current"):
        end = find_end(subject, "one token", sampler, 2, 0.5)
        assert end.push_at_optimum < 1e-12
        assert end.verdict == "collapses"
        assert "sign" in end.evidence


def test_a_loss_is_judged_the_same_in_other_units():
    huge = subject_of(
        lambda batch, alpha: 1e6 * objectives.gnivo(batch, alpha, weights="softmax").loss
    )
    scaled = Subject(huge.function, "f", scale=typical_push(huge, 0.5))
    plain = subject_of(objectives.gnivo, weights="softmax")
    plain = Subject(plain.function, "f", plain.settings, scale=typical_push(plain, 0.5))
    one, other = (find_end(subject, "one token", "current", 4, 0.5) for subject in (scaled, plain))
    assert one.tv == pytest.approx(other.tv, abs=1e-10)
    one, other = (
        find_end(subject, "4 answers", "reference", 2, 0.5) for subject in (scaled, plain)
    )
    assert one.push_at_optimum == pytest.approx(other.push_at_optimum, rel=1e-8)


def test_an_objective_that_looks_at_the_order_gets_all_orders():
    subject = subject_of(first_two)
    assert not subject.symmetric
    assert find_end(subject, "one token", "uniform", 4, 0.5).tv < 1e-10
