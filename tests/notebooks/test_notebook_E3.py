"""Elective E3: its equations, each under its number and by other means, and what its prose says."""

from itertools import product

import numpy as np
import pytest
import torch

from gnivo_edu import objectives, studies
from gnivo_edu.course import check
from gnivo_edu.population import expect, laws, point_at
from gnivo_edu.studies.noise import lab as noise_lab
from gnivo_edu.studies.noise.report import ALONE, CLEAN, FURTHER, VIMPOS, against, compared, named
from gnivo_edu.studies.table1.search import METHODS
from tests.notebooks.notebook import Notebook

BOOK = Notebook("E3_noise")
P, ALPHA = 0.25, noise_lab.ALPHA


def push(loss, chance, **settings):
    """The expected gradient on the small problem, groups of four, coins for whole groups."""
    lab = noise_lab.answers()
    groups, flips = noise_lab.noisy_groups(lab, "group", chance=chance, sampler="current", size=4)
    point = point_at(lab, 0.5, lab.tilted(0.7 * lab.rewards))
    return expect(noise_lab.turned_round(loss, flips), groups, point, **settings).gradient["logits"]


def test_equation_E3_1():
    """GRPO's whole push shrinks; of softmax weights the push does something else."""
    clean, noisy = (push(objectives.grpo, chance, kl="none") for chance in (0.0, P))
    torch.testing.assert_close(noisy, (1 - 2 * P) * clean)
    clean, noisy = (push(objectives.gnivo, chance, weights="softmax") for chance in (0.0, P))
    assert float((noisy - (1 - 2 * P) * clean).abs().max()) > 1e-3


def test_equation_E3_2():
    lab = noise_lab.answers()
    for method, law in (
        ("GVPO, anchored", laws.tilt(lab, ALPHA / (1 - 2 * P))),
        ("VIMPO, anchored", laws.vimpo_law(lab, ALPHA / (1 - 2 * P))),
    ):
        assert noise_lab.apart(noise_lab.end(method, "group", P)[1], law.tolist()) < 1e-6


def test_equation_E3_3():
    lab = noise_lab.answers()
    weight = (1 - P) * (lab.rewards / ALPHA).exp() + P * ((1 - lab.rewards) / ALPHA).exp()
    law = laws.tilt_by(lab, weight.log()).tolist()
    assert noise_lab.apart(noise_lab.end("GN-IVO, anchored", "group", P)[1], law) < 1e-6
    temperature = float(check.flipped_temperature.reference(np.array([P]), ALPHA)[0])
    assert noise_lab.apart(laws.tilt(lab, temperature).tolist(), law) < 1e-12


def test_equation_E3_4():
    """Answer by answer: softmax weight less 1/K, summed over the right ones."""
    for m, turned in product(range(1, 8), (False, True)):
        rewards = (np.arange(8) < m).astype(float)
        weights = np.exp((1 - rewards if turned else rewards) / ALPHA)
        pushed = (weights / weights.sum() - 1 / 8)[:m].sum()
        theirs = check.group_push.reference(np.array([m]), 8, ALPHA, float(turned))
        assert theirs[0] == pytest.approx(pushed, abs=1e-14)


def test_equation_E3_5():
    """The root over q is where the push over all groups of the tree rests."""
    space = BOOK.space("def group_push", until="check.", np=np)
    space = BOOK.space("def mean_push", until="grid", **space)
    for chance in (P, 0.4):
        q = noise_lab.ceiling(chance)
        assert abs(space["mean_push"](q, 8, ALPHA, chance)) < 1e-9
        assert noise_lab.end("GN-IVO", "group", chance)[0] == pytest.approx(q, abs=1e-6)


def test_few_lies_leave_no_ceiling():
    for size in (4, 8, 16):
        assert noise_lab.ceiling(0.9 / size, size) == 1
        assert noise_lab.ceiling(1.5 / size, size) < 0.99


def test_a_small_alpha_makes_it_best_of_k():
    """(1 - p)(1 - (1 - q)^K) + p q^K = q, of best of K, is the ceiling as alpha goes to 0."""
    q = noise_lab.ceiling(P, alpha=0.02)
    assert (1 - P) * (1 - (1 - q) ** 8) + P * q**8 == pytest.approx(q, abs=1e-9)


def test_the_runs_say_what_the_prose_says_of_them():
    results = studies.read("noise")
    pairs = compared(results)
    more = {pair: against(results, *pair, comparisons=len(pairs)) for pair in pairs}
    most = ("group", 0.4)
    lost_more = {pair for pair, interval in more.items() if interval.low > 0}
    assert lost_more == {("VIMPO", most), ("GVPO", most)}
    assert all(interval.high > 0 for interval in more.values())
    assert all(more["VIMPO", noise].mean > 0 for noise in (VIMPOS, *FURTHER))
    assert all(more["GN-IVO", noise].mean > 0 for noise in (VIMPOS, *FURTHER))
    assert more["GVPO", ALONE].mean < 0.02 < more["GVPO", VIMPOS].mean

    def score(method, noise):
        return results.mean(named(method, noise), "pass@1.mean").mean

    start = results.mean("base", "pass@1.mean").mean
    assert score("VIMPO", CLEAN) == pytest.approx(score("GRPO", CLEAN), abs=0.02)
    assert score("GRPO", most) == pytest.approx(start, abs=0.02)
    assert score("VIMPO", most) < 0.1
    fallen = [one < start for one in results.values("Dr. GRPO, group 25%", "pass@1.mean").values()]
    assert sum(fallen) == 1
    for noise in (CLEAN, VIMPOS):
        assert max(METHODS, key=lambda method: score(method, noise)) == "PPO"
