"""Elective E4: its equations, each under its number and by other means, and what its prose says."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from gnivo_edu import exact, studies
from gnivo_edu.population import laws, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.moving import both_kls, change_by_token, refreshes, value_at
from tests.notebooks.notebook import Notebook

BOOK = Notebook("E4_a_moving_reference")
ALPHA, TREE = 0.5, problem("tree")
REST = TREE.from_law(laws.vimpo_law(TREE, ALPHA))
RUNS = studies.read("moving-reference")


def numbers(pattern):
    """The numbers of every printed line that matches."""
    return [tuple(map(float, match.groups())) for match in re.finditer(pattern, BOOK.printed)]


def says(policy):
    """l of every answer: alpha times the sum over tokens of log-ratio - KL."""
    return ALPHA * TREE.token_logps(policy - TREE.reference - TREE.kl(policy)[:, None]).sum(1)


# --- the equations --------------------------------------------------------------------------------


def test_equation_E4_1():
    """At its rest the value of a whole answer, less V_0, is its reward less the expected one."""
    law = TREE.law(REST)
    centred = TREE.rewards - law @ TREE.rewards
    torch.testing.assert_close(says(REST), centred, atol=1e-9, rtol=0)


def test_equation_E4_2():
    """What a token adds after a swap is zero on average in every state, whatever the policy."""
    stranger = TREE.from_tables(exact.random_reference(3, 3, seed=7))
    policy = TREE.from_tables(exact.random_reference(3, 3, seed=8))
    added = change_by_token(TREE, policy, stranger, alpha=ALPHA)
    ratio = ALPHA * (TREE.reference - stranger)
    own = ratio - (policy.exp() * ratio).sum(-1, keepdim=True)
    torch.testing.assert_close(added, own, atol=1e-12, rtol=0)
    assert float((policy.exp() * own).sum(-1).abs().max()) < 1e-12
    assert float(own.abs().max()) > 0.1


def test_equation_E4_3():
    seen = TREE
    for n in range(1, 5):
        seen = replace(seen, reference=seen.from_law(laws.tilt(seen, ALPHA)))
        odds = TREE.law(TREE.reference) * (n * TREE.rewards / ALPHA).exp()
        assert total_variation(seen.law(seen.reference), odds / odds.sum()) < 1e-12


def test_equation_E4_4():
    """By listing the KLs state by state."""
    for seen, new in refreshes(TREE, ALPHA, 3):
        old, visits = seen.reference, TREE.visits(seen.reference)
        gain = float((TREE.law(new) - TREE.law(old)) @ TREE.rewards)
        kls = sum(
            float(visits[s] * ((new - old)[s] * (new.exp() - old.exp())[s]).sum())
            for s in range(len(visits))
        )
        assert gain == pytest.approx(ALPHA * kls, abs=1e-10)
        assert both_kls(TREE, old, new) == pytest.approx(kls, abs=1e-12)


def test_equation_E4_5():
    """The expected value loss of all triples, by loops."""
    policy = TREE.tilted(TREE.rewards / (2 * ALPHA))
    law, learnt, total = TREE.law(policy).tolist(), says(policy).tolist(), 0.0
    R = TREE.rewards.tolist()
    for group in itertools.product(range(len(R)), repeat=3):
        chance = np.prod([law[i] for i in group])
        for place, i in enumerate(group):
            others = [R[j] for at, j in enumerate(group) if at != place]
            total += chance * (learnt[i] - (R[i] - sum(others) / 2)) ** 2 / 2 / 3
    assert total == pytest.approx(value_at(TREE, policy, 3, ALPHA).loss, abs=1e-10)


def test_equation_E4_6():
    for policy in (REST, TREE.tilted(TREE.rewards / (2 * ALPHA)), TREE.tilted(TREE.rewards)):
        law = TREE.law(policy)
        centred = TREE.rewards - law @ TREE.rewards
        u = float(law @ (says(policy) - centred).square() / (law @ centred.square()))
        before = value_at(TREE, policy, 3, ALPHA).loss
        after = value_at(replace(TREE, reference=policy), policy, 3, ALPHA).loss
        assert after / before == pytest.approx(3 / (1 + 2 * u), abs=1e-9)


# --- the claims of the prose ----------------------------------------------------------------------


def test_a_swap_scatters_and_does_not_shift():
    assert BOOK.printed.count("mean below 1e-12: True") == 2
    sampled, counted = (
        numbers(rf"sd, {word} +(0\.\d+) (0\.\d+) (0\.\d+)")
        for word in ("sampled", "counted for it")
    )
    for one, other in zip(sampled, counted, strict=True):
        assert one == pytest.approx(other, rel=0.02)
        assert one[0] < one[1] < one[2], "it grows with every token"
    for own, old in numbers(r"own answers (0\.\d+); on those of the old reference (0\.\d+)"):
        assert own < 0.02 < 0.1 < old
    for rise, half in numbers(r"loss rises by (0\.\d+); half the last variance is (0\.\d+)"):
        assert rise == pytest.approx(half, rel=0.05)


def test_refreshes_end_where_theory_says():
    def line(name, kind):
        return [float(x) for x in re.search(rf"  {name} +{kind} +(.*)", BOOK.printed)[1].split()]

    assert set(line("GVPO", "exact")) == {0.0}
    assert max(line("GVPO", "trained")) < 0.01
    assert max(line("GN-IVO, raw", "trained")) < 0.01
    assert min(line("GN-IVO, softmax", "trained")) > 0.015
    exact_vimpo, trained = line("VIMPO", "exact"), line("VIMPO", "trained")
    assert trained == pytest.approx(exact_vimpo, abs=0.006)
    assert min(trained[1:]) > 0.025
    assert line("VIMPO, shuffled", "trained")[-1] > 0.3


def test_each_refresh_gains_both_kls():
    for _, gain, gain_trained, kls, kls_trained in numbers(
        r"(\d) +(0\.\d+), (0\.\d+) +(0\.\d+), (0\.\d+)\n"
    ):
        assert gain == kls
        assert gain_trained == pytest.approx(gain, abs=0.01)
        assert kls_trained == pytest.approx(kls, abs=0.01)


def test_small_steps_restore_the_goal():
    (one, one_trained), (four, four_trained) = numbers(r"at \d alpha: (0\.\d+), (0\.\d+)")
    assert four < one / 3
    assert four_trained < one_trained / 2


def test_the_jump_is_a_gauge():
    rows = numbers(r"u = (\d\.\d+)   K/\(1 \+ \(K - 1\) u\) = (\d\.\d+)   factor (\d\.\d+)")
    assert len(rows) == 6
    for _, told, factor in rows:
        assert factor == pytest.approx(told, rel=0.05)
    assert [round(told) for _, told, _ in rows[:3]] == [2, 4, 8]
    assert rows[-1][2] < 1.2, "nothing learned, nothing to unlearn"
    ((logged, annealed),) = numbers(r"in the log: factor (\d\.\d+); alpha to alpha/2: (\d\.\d+)")
    assert logged == pytest.approx(4, rel=0.15)
    assert annealed == pytest.approx(1.75, rel=0.05)


def test_the_control_fails():
    ((gain, one_kl),) = numbers(r"gain (0\.\d+), alpha times one KL (0\.\d+)")
    assert one_kl < 0.75 * gain
    assert "factor 1.0000" in BOOK.printed
    ((shuffled, start),) = numbers(r"three refreshes: E\[R\] (0\.\d+), at the start (0\.\d+)")
    assert shuffled == pytest.approx(start, abs=0.03)


def test_every_decimal_of_the_prose_is_printed():
    told = set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", BOOK.prose))
    symbols = set(re.findall(r"\\tag\{\w+\.\d+\}", BOOK.prose))
    assert told <= set(re.findall(r"\d+\.\d+", BOOK.printed)) | {"2606.20008", "2003.14089"}, (
        symbols
    )
