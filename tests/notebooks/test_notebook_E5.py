"""Elective E5: its equations, each under its number and by other means, and what its prose says."""

import itertools
import re
from math import comb

import numpy as np
import pytest

import toy_envs
from gnivo_edu import evaluation, exact, policies
from gnivo_edu.population.claims import table1
from tests.notebooks.notebook import Notebook

BOOK = Notebook("E5_pass_at_k")


def numbers(pattern):
    """The numbers of every printed line that matches."""
    return [tuple(map(float, match.groups())) for match in re.finditer(pattern, BOOK.printed)]


# --- the model, rebuilt ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world():
    """The chain, the model, and its chances warm and cool."""
    chain = toy_envs.ArithmeticChain(base=5, num_prompts=64)
    skills = np.random.default_rng(0).normal(5.5, 2, size=64)
    tables = []
    for i, skill in enumerate(skills):
        own, number = exact.random_reference(chain.vocab_size, chain.horizon, i, 2.5), 0
        for table, token in zip(own, chain.demonstration(i), strict=False):
            table[number, token] += skill
            table[number] -= np.logaddexp.reduce(table[number])
            number = number * chain.vocab_size + token
        tables.append(own)
    model = policies.TabularLM.from_tables(chain, tables)
    chances = [evaluation.exact_chances(model, chain, temperature) for temperature in (1.0, 0.3)]
    return chain, model, *chances


def pass_at(p, k):
    return 1 - (1 - p) ** k


# --- the equations --------------------------------------------------------------------------------


def test_equation_E5_1():
    """By listing what k answers may be: right or wrong, each with its chance."""
    for p, k in itertools.product((0.0, 0.1, 0.6, 1.0), (1, 2, 5)):
        some = sum(
            np.prod([p if right else 1 - p for right in answers])
            for answers in itertools.product((True, False), repeat=k)
            if any(answers)
        )
        assert pass_at(p, k) == pytest.approx(some, abs=1e-14)


def test_equation_E5_2():
    for n, c, k in [(4, 1, 2), (6, 2, 3), (7, 5, 3), (5, 0, 5)]:
        sets = list(itertools.combinations([1] * c + [0] * (n - c), k))
        ratio = 1 - comb(n - c, k) / comb(n, k)
        assert ratio == pytest.approx(np.mean([any(chosen) for chosen in sets]), abs=1e-14)
        assert evaluation.pass_at_k(c, n, k) == pytest.approx(ratio, abs=1e-14)


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.97])
def test_equation_E5_3(p):
    for n, k in [(4, 4), (16, 8), (32, 1)]:
        total = sum(
            comb(n, c) * p**c * (1 - p) ** (n - c) * (1 - comb(n - c, k) / comb(n, k))
            for c in range(n + 1)
        )
        assert total == pytest.approx(pass_at(p, k), abs=1e-12)


def test_equation_E5_4():
    """Two problems drawn from three, two answers each, everything listed."""
    p, n, N = np.array([0.1, 0.5, 0.8]), 2, 2
    scores, law = [], []
    for who in itertools.product(range(3), repeat=N):
        for right in itertools.product(range(n + 1), repeat=N):
            chances = [
                comb(n, c) * p[i] ** c * (1 - p[i]) ** (n - c) / 3
                for i, c in zip(who, right, strict=True)
            ]
            scores.append(np.mean(right) / n)
            law.append(np.prod(chances))
    scores, law = np.array(scores), np.array(law)
    variance = law @ (scores - law @ scores) ** 2
    assert variance == pytest.approx((p.var() + (p * (1 - p)).mean() / n) / N, abs=1e-13)


def test_equation_E5_5():
    a, b = np.random.default_rng(0).random((2, 40))
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    assert (b - a).var() == pytest.approx(a.var() + b.var() - 2 * covariance, abs=1e-13)


# --- the claims of the prose ----------------------------------------------------------------------


@pytest.mark.slow
def test_the_curves_cross(world):
    *_, warm, cool = world
    assert pass_at(cool, 1).mean() > pass_at(warm, 1).mean() + 0.1
    assert pass_at(warm, 16).mean() > pass_at(cool, 16).mean() + 0.05
    assert ((cool > warm)[warm > 0.35]).all(), "good chances get better"
    assert np.mean((cool < warm)[warm < 0.05]) > 0.9, "and bad ones worse"


def test_three_recipes():
    n, k, p = 16, 8, 0.1
    lines = dict(
        re.findall(
            r"(all sets of 8|c/n for p|the first 8) +(0\.\d{4}   noise 0\.\d{3})", BOOK.printed
        )
    )
    truth = pass_at(p, k)
    c = np.arange(n + 1)
    law = np.array([comb(n, i) * p**i * (1 - p) ** (n - i) for i in c])
    for name, values in (
        ("all sets of 8", evaluation.pass_at_k(c, n, k)),
        ("c/n for p", pass_at(c / n, k)),
    ):
        mean = law @ values
        assert lines[name] == f"{mean:.4f}   noise {np.sqrt(law @ (values - mean) ** 2):.3f}"
    first = np.array(list(itertools.product((0, 1), repeat=k))).max(axis=1)
    chance = [p ** sum(a) * (1 - p) ** (k - sum(a)) for a in itertools.product((0, 1), repeat=k)]
    assert (
        lines["the first 8"]
        == f"{np.dot(chance, first):.4f}   noise {np.sqrt(truth * (1 - truth)):.3f}"
    )
    assert law @ pass_at(c / n, k) < truth - 0.05, "putting back is too low"


def test_the_ratio_is_the_average_over_orders():
    right = np.array([1, 0, 0, 1, 0])
    for k in range(1, 6):
        orders = [max(order[:k]) for order in itertools.permutations(right)]
        assert np.mean(orders) == pytest.approx(float(evaluation.pass_at_k(2, 5, k)), abs=1e-14)


def test_nothing_honest_can_be_said_beyond_n():
    """No table f(0..n) averages to 1 - (1-p)^k where k > n: the (n+1)-th difference of the goal
    does not vanish.
    """
    said = re.findall(r"n = 4, k = (\d): (exact|off)", BOOK.printed)
    assert said == [(str(k), "exact" if k <= 4 else "off") for k in range(1, 9)]
    p = np.linspace(0, 1, 20)
    for k in range(1, 9):
        bend = np.abs(np.diff(pass_at(p, k), n=5)).max()
        assert (bend < 1e-12) == (k <= 4)
    assert "Pass@3: 0.0   Pass@8: 1.0 (!)" in BOOK.printed
    assert "pass@8 needs at least 8 samples to a problem, got 4" in BOOK.printed


@pytest.mark.slow
def test_the_exam(world):
    chain, model, warm, _ = world
    report = evaluation.evaluate(model, chain, samples=8, prompts=range(30)).to_json()
    for k, score, low, high in numbers(r"Pass@([13]): (0\.\d+), 95% interval (0\.\d+) to (0\.\d+)"):
        assert score == pytest.approx(report[f"pass@{k:.0f}"], abs=5e-4)
        assert (low, high) == pytest.approx(report[f"interval@{k:.0f}"], abs=5e-4)
        assert high - low > 0.2, "wide"
        assert low < pass_at(warm, k).mean() < high
    assert report["truncated"] == pytest.approx(numbers(r"cut off: (\d+)%")[0][0] / 100, abs=5e-3)


def test_problems_help_and_answers_do_not(world):
    *_, warm, _ = world
    rows = numbers(r"(30|120) problems: +" + r" +".join([r"(0\.\d{3})"] * 4))
    for N, *row in rows:
        expected = [
            np.sqrt((warm.var() + (warm * (1 - warm)).mean() / n) / N) for n in (1, 8, 32, 1024)
        ]
        assert row == pytest.approx(expected, abs=5e-4)
    (_, *few), (_, *many) = rows
    assert few[1] - few[3] < 0.1 * few[1], "from 8 to 1024 answers: next to nothing"
    assert many[1] == pytest.approx(few[1] / 2, abs=2e-3)


def test_what_the_intervals_cover():
    ((problems,), (answers,)) = numbers(r"interval over \w+: holds the truth in (\d+)% of exams")
    assert 90 <= problems <= 97
    assert answers < 75


def test_the_difference_is_seen_in_pairs(world):
    *_, warm, cool = world
    rows = numbers(
        r"Pass@(\d+) +cool - warm = (\S+)   paired (\S+) to (\S+)   unpaired (\S+) to (\S+)"
    )
    assert [row[0] for row in rows] == [1, 4, 32]
    for k, gap, low, high, lower, higher in rows:
        exact_gap = (pass_at(cool, k) - pass_at(warm, k)).mean()
        assert low < exact_gap < high
        assert low < gap < high
        assert lower < 0 < higher, "unpaired intervals see nothing"
        assert higher - lower > 1.8 * (high - low)
    assert rows[0][2] > 0 > rows[2][3], "better at one, worse at many"
    assert rows[1][2] < 0 < rows[1][3], "and where they cross, neither"


def test_separate_intervals_overlap_at_every_k(world):
    chain, model, warm, cool = world
    reports = [evaluation.evaluate(model, chain, 32, ks=(1,), temperature=t) for t in (1.0, 0.3)]
    for k in (1, 2, 4, 8, 16, 32):
        a, b = (evaluation.bootstrap_interval(report.pass_at(k)) for report in reports)
        assert max(a.low, b.low) < min(a.high, b.high)
        assert a.low < pass_at(warm, k).mean() < a.high
        assert b.low < pass_at(cool, k).mean() < b.high


def test_pairs_see_more_and_rarely_cry_wolf():
    (paired, apart) = numbers(
        r"cool is better: +(\d+)%;  sees a difference of warm and warm: +(\d+)%"
    )
    assert paired[0] > 70 > 15 > apart[0]
    assert 2 <= paired[1] <= 10
    assert apart[1] <= 1


def test_a_vote_makes_the_favourite_stronger():
    rows = numbers(r"maj@k (0\.\d+) if 7 is right, (0\.\d+) if 5 is; Pass@k ([01]\.\d+)")
    seven, five, some = zip(*rows, strict=True)
    assert list(seven) == sorted(seven)
    assert list(some) == sorted(some)
    assert five[-1] < five[0], "the second choice loses the vote in the end"


def test_the_posters_table_is_read_as_the_prose_says():
    assert "{'best': 12, 'tied': 5, 'beaten': 3}" in BOOK.printed
    assert "in problems of 30: -1 0 0 0 1 1 1 2" in BOOK.printed
    falls = re.findall(r"^(\w+), Llama.*: Pass@1 (\S+), Pass@3 (\S+) \(!\)", BOOK.printed, re.M)
    assert [name for name, *_ in falls] == ["PPO", "DRO", "GRPO"]
    assert all(float(one) > float(three) for _, one, three in falls)
    size = {"AMC2023": 40, "Minerva Math": 272, "Olympiad-Bench": 675, "AIME2024": 30}
    for cell, lead in table1.leads().items():
        score = table1.scores()["Ours"][cell] / 100
        luck = 100 * np.sqrt(score * (1 - score) / size.get(cell.benchmark, 30))
        assert lead < luck, "none of the leads is longer than its bar"


def test_pass_at_1_on_aime_comes_in_whole_problems():
    """Of 36 such cells all but one; a mean of three answers to each would be in thirds of them."""
    odd = [
        score
        for row in table1.scores().values()
        for cell, score in row.items()
        if cell.benchmark.startswith("AIME") and cell.k == 1
        if not any(0 <= right / 30 * 100 - score < 0.1 for right in range(31))
    ]
    assert odd == [23.0]
