"""Whole report cards: what they say of objectives that are right, biased, collapsing or leaking."""

from __future__ import annotations

from fractions import Fraction

import pytest

from gnivo_edu.population.judge import judge
from gnivo_edu.population.judge.counterexample import family
from gnivo_edu.population.judge.pushes import small_tree
from tests.population.judge.subjects import first_two, lines, reinforce, subject_of, turned_sign


@pytest.mark.slow
def test_gvpo_is_exact_and_safe_and_has_no_counterexample(cards):
    card, found = cards["gvpo"], lines(cards["gvpo"])
    assert card.verdict == "exact"
    assert card.passed
    assert len(card.ends) == 8
    assert all(end.tv < 1e-10 and end.push_at_optimum < 1e-12 for end in card.ends)
    assert not found["off-policy"].numbers["moves"]
    assert card.counterexample is None
    assert card.searches[0].tried == card.searches[0].of == len(family())
    assert (
        found["equal rewards"].numbers["reference"]
        < 1e-12
        < 0.1
        < found["equal rewards"].numbers["pi*"]
    )
    assert found["equal rewards"].numbers["pull_to_reference"] > 0.1
    # At the reference GVPO's gradient is alpha times RLOO's: the same signal, the same noise.
    for K in ("2", "4", "8"):
        noise = found["gradient noise"].numbers[K]
        assert noise["signal_to_noise"] == pytest.approx(noise["rloo"], rel=1e-10)


@pytest.mark.slow
def test_softmax_weights_are_biased_but_not_for_one_token(cards):
    card = cards["softmax"]
    assert card.verdict == "biased"
    for end in card.ends:
        assert end.verdict == ("exact" if end.tree == "one token" else "biased")
    tree = card.counterexample.tree
    assert len(tree.rewards) > 2
    assert all(len(smaller.rewards) == 2 for smaller in family()[:24])
    assert card.counterexample.exact == (Fraction(9, 280), 0)


def test_dr_grpo_is_not_failed_for_a_goal_that_it_does_not_have(cards):
    """It has no KL: it optimises E[R], and what stale answers make of that is measured."""
    card, found = cards["dr_grpo"], lines(cards["dr_grpo"])
    assert (card.goal, card.verdict, card.best_sampler) == ("E[R]", "collapses", "current")
    assert card.passed
    assert "optimises E[R]" in card.summary
    assert "optimises E[R]" in card.text()
    assert found["where it ends"].holds
    assert "nothing" in found["equal rewards"].answer
    assert card.counterexample is None
    assert "not sought" in found["counterexample"].answer
    # Answers of the reference are clipped almost where they begin; those of others are not.
    earned = found["off-policy"].numbers["expected_reward"]
    reference = small_tree("15 answers")
    start = float(reference.law(reference.reference) @ reference.rewards)
    assert start < earned["reference"] < 0.9
    assert "with its own answers 1;" in found["off-policy"].answer


def test_a_mean_over_the_length_is_caught_as_length_bias_with_its_law(cards):
    card, found = cards["mean_over_length"], lines(cards["mean_over_length"])
    assert card.verdict == "other optimum"
    assert "2 R length" in card.summary  # R/alpha per token: log pi/pi_ref = length (R - c)/alpha
    assert found["contract"].holds
    assert found["length bias"].holds is False
    assert abs(found["length bias"].numbers["shift"]) > 0.01
    assert len(card.counterexample.tree.rewards) > 2


def test_a_leak_of_padding_breaks_the_contract_and_nothing_else(cards):
    found = lines(cards["leaks_padding"])
    assert [name for name, line in found.items() if line.holds is False] == ["contract"]
    assert "outside the mask" in found["contract"].answer
    assert not cards["leaks_padding"].passed


def test_reinforce_without_kl_collapses_and_its_plain_mean_is_reweighted(cards):
    assert cards["reinforce"].verdict == "collapses"
    assert cards["reinforce"].goal == "E[R]"
    assert "ignores batch.group_weight" in lines(cards["reinforce"])["contract"].answer


def test_a_loss_with_a_kl_keeps_its_goal_and_a_turned_sign_has_no_other():
    """Without a KL and downhill it ends at the worst answers: E[R] is not what it optimises."""
    assert subject_of(turned_sign).anchored

    def downhill(batch):
        return -reinforce(batch, 1.0)

    card = judge(downhill, seconds=10.0)
    assert card.goal == "E[R] - alpha KL"
    assert not card.passed
    assert "sign" in card.summary


def test_settings_and_alpha_are_checked():
    with pytest.raises(ValueError, match="no setting 'powr'; it takes alpha, power"):
        judge(first_two, powr=1)
    with pytest.raises(ValueError, match=r"alpha must lie in 0.1..10"):
        judge("gvpo", alpha=0.0)
