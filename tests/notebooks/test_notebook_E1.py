"""Elective E1: its equations, each under its number and by other means, and what its prose says."""

import math
import re

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import exact
from gnivo_edu.objectives.surrogate import kl_estimate
from gnivo_edu.population.kl_laboratory import kl_laboratory
from tests.notebooks.notebook import Notebook

BOOK = Notebook("E1_kl_estimators")
REFERENCE, POLICY = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
REWARDS, ALPHA = np.array([0.0, 0.5, 1.0]), 0.5
K = {"k1": lambda x: x, "k2": lambda x: x**2 / 2, "k3": lambda x: np.exp(-x) - 1 + x}


# --- the equations, each by brute force -----------------------------------------------------------


def law_of(logits):
    return np.exp(logits - np.logaddexp.reduce(logits))


def slopes(f, logits, h=2e-3):
    """By central differences of fourth order, one logit after another."""
    slope = np.empty_like(logits)
    for index in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[index] = h
        a, b, c, d = (f(logits + n * step) for n in (1, -1, 2, -2))
        slope[index] = (8 * (a - b) - (c - d)) / (12 * h)
    return slope


def kl(p, q):
    return p @ np.log(p / q)


@pytest.fixture(params=range(3))
def laws(request):
    """Logits of a random policy, its law, a reference, and another sampler, over four answers."""
    rng = np.random.default_rng(request.param)
    logits = rng.normal(size=4)
    return logits, law_of(logits), law_of(rng.normal(size=4)), law_of(rng.normal(size=4))


def in_loss(k, logits, reference, drawn):
    return slopes(lambda z: drawn @ K[k](np.log(law_of(z) / reference)), logits)


def in_reward(k, law, reference):
    return (law * K[k](np.log(law / reference))) @ (np.eye(len(law)) - law)


def test_equation_E1_1():
    x = np.linspace(-2, 2, 9)
    for name, k in K.items():
        assert kl_estimate(torch.tensor(x), name).numpy() == pytest.approx(k(x), abs=1e-14)


def test_equation_E1_2(laws):
    logits, law, reference, _ = laws
    x, score = np.log(law / reference), np.eye(4) - law
    for k, slope in {"k1": np.ones(4), "k2": x, "k3": 1 - np.exp(-x)}.items():
        assert (law * slope) @ score == pytest.approx(in_loss(k, logits, reference, law), abs=1e-9)


def test_equation_E1_3(laws):
    logits, law, reference, _ = laws
    reverse = slopes(lambda z: kl(law_of(z), reference), logits)
    forward = slopes(lambda z: kl(reference, law_of(z)), logits)
    for k, expected in (("k1", 0 * reverse), ("k2", reverse), ("k3", forward)):
        assert in_loss(k, logits, reference, law) == pytest.approx(expected, abs=1e-9)


def test_equation_E1_4(laws):
    logits, law, reference, _ = laws
    for k in K:
        whole = slopes(lambda z, k=k: law_of(z) @ K[k](np.log(law_of(z) / reference)), logits)
        parts = in_loss(k, logits, reference, law) + in_reward(k, law, reference)
        assert parts == pytest.approx(whole, abs=1e-9)


def test_equation_E1_5(laws):
    logits, law, reference, _ = laws
    reverse = slopes(lambda z: kl(law_of(z), reference), logits)
    forward = slopes(lambda z: kl(reference, law_of(z)), logits)
    assert in_reward("k3", law, reference) == pytest.approx(reverse - forward, abs=1e-9)


def hyperbolic(reference, rewards, alpha):
    low, high = rewards.max(), rewards.max() + alpha
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if (alpha * reference / (middle - rewards)).sum() > 1 else (low, middle)
        )
    return alpha * reference / (middle - rewards), middle


@pytest.mark.parametrize("alpha", [0.1, 0.5, 2.0])
def test_equation_E1_6(alpha):
    """At each end the reward's push and alpha times that of k3, or of k2, in the loss cancel."""
    law, number = hyperbolic(REFERENCE, REWARDS, alpha)
    assert law.sum() == pytest.approx(1, abs=1e-12)
    assert number > REWARDS.max()
    star = REFERENCE * np.exp(REWARDS / alpha)
    for k, end in (("k3", law), ("k2", star / star.sum())):
        earned = slopes(lambda z: law_of(z) @ REWARDS, np.log(end))
        assert earned == pytest.approx(alpha * in_loss(k, np.log(end), REFERENCE, end), abs=1e-9)


def test_equation_E1_7():
    """Over every answer of a small tree with an end token; prefixes' chances are numbers, not
    functions.
    """
    reference, policy = exact.random_reference(3, 3, 1), exact.random_reference(3, 3, 2)
    tree = exact.enumerate_tree(toy_envs.Brackets(horizon=3), reference)
    answers = list(tree.answers())
    rows = {}
    for s in [(), *((a,) for a in range(3)), *((a, b) for a in range(3) for b in range(3))]:
        rows[s] = len(rows)
    fixed, theirs = np.concatenate(policy), np.concatenate(reference)
    chance = [math.prod(math.exp(fixed[rows[y[:t]], y[t]]) for t in range(len(y))) for y in answers]

    def sampled(k):
        def mean(logits):
            table = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
            x = [
                [table[rows[y[:t]], y[t]] - theirs[rows[y[:t]], y[t]] for t in range(len(y))]
                for y in answers
            ]
            return sum(p * sum(K[k](np.array(ratios))) for p, ratios in zip(chance, x, strict=True))

        return slopes(mean, fixed)

    def held(which):
        def total(logits):
            table = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
            passing = {
                s: sum(
                    p
                    for p, y in zip(chance, answers, strict=True)
                    if len(y) > len(s) and y[: len(s)] == s
                )
                for s in rows
            }
            pairs = {s: (table[i], np.exp(theirs[i])) for s, i in rows.items() if passing[s] > 0}
            return sum(
                passing[s] * (kl(q, p) if which == "forward" else kl(p, q))
                for s, (p, q) in pairs.items()
            )

        return slopes(total, fixed)

    assert sampled("k3") == pytest.approx(held("forward"), abs=1e-9)
    assert sampled("k2") == pytest.approx(held("reverse"), abs=1e-9)


def test_equation_E1_8(laws):
    logits, _, reference, old = laws
    for k in K:
        weighted = slopes(
            lambda z, k=k: old @ (law_of(z) / old * K[k](np.log(law_of(z) / reference))), logits
        )
        score = np.eye(4) - law_of(logits)
        x = np.log(law_of(logits) / reference)
        term_by_term = (old * law_of(logits) / old * K[k](x)) @ score + in_loss(
            k, logits, reference, law_of(logits)
        )
        whole = slopes(lambda z, k=k: law_of(z) @ K[k](np.log(law_of(z) / reference)), logits)
        assert weighted == pytest.approx(whole, abs=1e-9)
        assert term_by_term == pytest.approx(whole, abs=1e-9)


# --- what the prose says --------------------------------------------------------------------------


def test_k3_is_exact_never_negative_and_the_least_noisy_here():
    x = np.log(POLICY / REFERENCE)
    means = {name: POLICY @ k(x) for name, k in K.items()}
    noise = {name: np.sqrt(POLICY @ (k(x) - means[name]) ** 2) for name, k in K.items()}
    assert means["k1"] == pytest.approx(means["k3"], abs=1e-14)
    assert abs(means["k2"] - means["k1"]) > 0.1
    assert noise["k3"] < noise["k2"] < noise["k1"]
    assert K["k1"](x).min() < 0 < K["k3"](np.array([-3.0, 3.0])).min()
    for name in K:
        assert re.search(
            rf"^{name}: average {means[name]:.4f} .* sample {noise[name]:.4f}$",
            BOOK.printed,
            re.MULTILINE,
        )


def test_the_losses_are_told_apart():
    named = dict(re.findall(r"^(k\d) in the loss: \[.*\] = (.+)$", BOOK.printed, re.MULTILINE))
    assert named == {"k1": "0", "k2": "reverse KL", "k3": "forward KL"}
    assert "k1: it is the reverse KL: True" in BOOK.printed
    assert "k3: it is reverse minus forward: True" in BOOK.printed


def test_near_the_reference_k3_in_the_reward_lets_go():
    shares = [
        float(x) for x in re.findall(r"%   k2 +\S+%   k3 +(\S+)%$", BOOK.printed, re.MULTILINE)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 20
    assert shares[-1] <= 1


def ends():
    rows = re.findall(
        r"^(k\d in the \w+) +A +(\S+)% +B +(\S+)% +C +(\S+)%   after +(\S+) steps$",
        BOOK.printed,
        re.M,
    )
    return {
        row[0]: ([float(x) / 100 for x in row[1:4]], int(row[4].replace(",", ""))) for row in rows
    }


def test_where_training_ends():
    star = REFERENCE * np.exp(REWARDS / ALPHA)
    star /= star.sum()
    laws = ends()
    assert laws["k1 in the reward"][0] == pytest.approx(star, abs=6e-4)
    assert laws["k2 in the loss"][0] == pytest.approx(star, abs=6e-4)
    other = hyperbolic(REFERENCE, REWARDS, ALPHA)[0]
    assert laws["k3 in the loss"][0] == pytest.approx(other, abs=6e-4)
    assert star.argmax() == 1, "the best policy prefers B"
    assert other.argmax() == 2, "k3 in the loss likes C best"
    assert laws["k1 in the loss"][0][2] > 0.99, "the best answer, as if alpha were zero"
    assert laws["k3 in the reward"][0][2] > 0.9
    assert laws["k3 in the reward"][1] < laws["k1 in the loss"][1] / 10, "a second engine"
    assert BOOK.printed.count("ends where (E1.6) says, within 1e-9: True") == 3


def test_only_k1_in_the_reward_holds_whole_answers_both_ways():
    rows = re.findall(
        r"^(k\d in the (?:loss|reward)) +(.+?)  +(.+)$",
        BOOK.printed.partition("per token")[2],
        re.M,
    )[:6]
    assert len(rows) == 6
    assert [row[0] for row in rows if row[1] == row[2] == "reverse KL"] == ["k1 in the reward"]
    assert [row[0] for row in rows if row[2] == "reverse KL"] == [
        "k2 in the loss",
        "k1 in the reward",
    ]
    assert dict((row[0], row[1]) for row in rows)["k3 in the loss"] == "forward KL per state"


def test_only_the_weighted_survive_stale_samples():
    rows = re.findall(
        r"^  (k\d .+?)  +(.+?)  +(.+)$", BOOK.printed.partition("stale samples")[2], re.M
    )
    assert len(rows) == 10
    survivors = sorted({row[0] for row in rows if row[2] != "none of these"})
    assert survivors == ["k1 weighted", "k3 weighted"]


def test_the_two_right_recipes_push_every_answer_alike():
    """On whole answers: the gradients of single samples have the same mean and the same
    variance.
    """
    tree = exact.enumerate_tree(toy_envs.Brackets(horizon=3), exact.random_reference(3, 3, 1))
    report = kl_laboratory(tree, exact.random_reference(3, 3, 2))
    one, other = report["k1", "reward", "sequence"], report["k2", "loss", "sequence"]
    assert one.gradient_variance == pytest.approx(other.gradient_variance, rel=1e-12)
    table = re.findall(r"^ +(\d+) +(\S+) +(\S+) +(\S+) +(\S+)$", BOOK.printed, re.MULTILINE)
    assert [int(row[0]) for row in table] == [1, 16, 256, 4096]
    for _, k1, k2, k3, charged in table:
        assert k2 == charged
        assert float(k1) >= max(float(k2), float(k3)), "the noisiest"


def test_the_control_fails_as_it_should():
    values = re.search(r"^KL (\S+), chi-square - KL (\S+)$", BOOK.printed, re.MULTILINE)
    rows = re.findall(
        r"^(k\d) upside down, in the (\w+) +average (\S+) +(.+?)  +cosine .* (\S+)$",
        BOOK.printed,
        re.M,
    )
    assert len(rows) == 4
    for k, _, average, _, _ in rows:
        assert float(average) == pytest.approx(
            -float(values[1]) if k == "k1" else float(values[2]), abs=1e-9
        )
    assert rows[0][3] == "zero"
    assert float(rows[1][4]) == -1
    assert float(rows[2][4]) > 0, "k3 upside down does pull back towards the reference"
    assert "does the laboratory let it pass? False" in BOOK.printed
    gaps = [
        float(x) for x in re.findall(r"upside down, ends (\S+) from the best policy", BOOK.printed)
    ]
    assert len(gaps) == 2
    assert min(gaps) > 0.05
    tilt = REFERENCE * (1 + (REWARDS - REFERENCE @ REWARDS) / ALPHA)
    star = REFERENCE * np.exp(REWARDS / ALPHA)
    assert gaps[1] == pytest.approx(np.abs(tilt - star / star.sum()).max(), abs=6e-4), (
        "a linear tilt"
    )
