"""Notebook 12: its equations, each under its number and by other means, and what its prose says."""

import re

import numpy as np
import pytest
import torch

from gnivo_edu import studies
from gnivo_edu.policies import TabularLM, token_logps
from gnivo_edu.statistics import rank_correlation
from gnivo_edu.studies.credit import exact, measures, report
from tests.notebooks.notebook import Notebook
from toy_envs import PosterProblem

BOOK = Notebook("12_find_the_first_wrong_step")


def numbers(pattern):
    """The numbers of every printed line that matches."""
    return [tuple(map(float, match.groups())) for match in re.finditer(pattern, BOOK.printed)]


@pytest.fixture(scope="module")
def results():
    return report.measured(studies.read("credit"))


@pytest.fixture(scope="module")
def answers(results):
    return report.frozen(results)


# --- the equations --------------------------------------------------------------------------------


def test_equation_12_1():
    """Differences of the prefix log-ratio of two random tables add up to that of the answer."""
    problem = PosterProblem()
    policy, reference = (TabularLM.from_mdp(problem, seed=seed) for seed in (1, 2))
    answer = torch.tensor([PosterProblem.examples["wrong at 3"]])
    ratio = (
        token_logps(policy, problem, answer, torch.tensor([7]))
        - token_logps(reference, problem, answer, torch.tensor([7]))
    )[0].detach()
    prefix = np.concatenate([[0.0], ratio.numpy().cumsum()])
    np.testing.assert_allclose(np.diff(prefix), ratio.numpy(), atol=1e-12)


def test_equation_12_2():
    """By the sum of ranks, as Wilcoxon counts it."""
    rng = np.random.default_rng(0)
    wrong, others = rng.normal(size=9), rng.normal(size=14)
    ranks = np.argsort(np.argsort(-np.concatenate([wrong, others]))) + 1
    wins = ranks[:9].sum() - 9 * 10 / 2
    assert measures.auc(wrong, others) == pytest.approx(wins / (9 * 14), abs=1e-12)


def test_equation_12_3():
    """For the optimal policy it is 1/alpha, whatever the answers are weighed by."""
    key = exact.key()
    sums = np.array([key.step_credit(answer).sum() for answer in exact.ANSWERS])
    right = np.array([exact.chances(answer)[-1] for answer in exact.ANSWERS]) == 1
    weights = np.random.default_rng(0).random(128)
    means = [np.average(sums[kept], weights=weights[kept]) for kept in (right, ~right)]
    assert means[0] - means[1] == pytest.approx(1 / key.alpha, abs=1e-12)


# --- the claims of the prose ----------------------------------------------------------------------


def test_the_control_turns_surprise_round():
    ((free, held),) = numbers(r"most surprising token +no control (0\.\d+) +look-alikes (0\.\d+)")
    assert free > 0.6
    assert held < 0.45
    ((ours, alike),) = numbers(r"GN-IVO's credit +no control (0\.\d+) +look-alikes (0\.\d+)")
    assert ours > alike > 0.7


def test_credit_and_rollouts_stay_above_surprise(results, answers):
    controls = answers.controls(16)
    assert answers.auc(controls["most surprising token"], "alike") < 0.5
    for method in ("GN-IVO", "GRPO"):
        assert results.mean(method, "auc.alike").mean > 0.75
        assert results.mean(method, "auc.wrong again").mean < 0.75
    assert answers.auc(controls["16 rollouts, chances"], "wrong again") > 0.85


def test_any_method_finds_it_and_a_coin_does_not(results):
    trained = [row for row in results.rows if row not in ("base", "GN-IVO")]
    coins = [row for row in trained if row.endswith("random")]
    assert len(trained) - len(coins) == 10
    for row in trained:
        gap = results.difference(row, "GN-IVO", "auc.done right", comparisons=len(trained))
        assert (gap.low <= 0 <= gap.high) == (row not in coins)
        assert gap.mean < 0 or row not in coins
    others = [results.mean(row, "auc.done right").mean for row in trained if row not in coins]
    assert min(others) > results.mean("GN-IVO", "auc.done right").mean > 0.9


def test_the_second_mistake_is_blamed_like_the_first():
    medians = dict(re.findall(r"^(first wrong|wrong again|done right) +median credit (\S+)",
                              BOOK.printed, re.M))  # fmt: skip
    first, again, right = (
        float(medians[name]) for name in ("first wrong", "wrong again", "done right")
    )
    assert right > 0 > first
    assert again < 0
    assert abs(first - again) < 0.5 * abs(first)


def test_what_was_learned_are_rare_slips():
    said = numbers(r": (\d+); chance of the least likely token, median: (0\.\d+)")
    (few, rare), (many, usual) = said
    assert 0 < few < 0.1 * many
    assert rare < 0.2 < usual


def test_of_the_poster_the_unit_decides():
    shares = dict(re.findall(r"poster, (.+?) +is the first mistake in +(\d+\.\d)%", BOOK.printed))
    assert float(shares["first drop"]) > 90
    assert float(shares["largest drop, in chances"]) > 90
    assert float(shares["last missed chance"]) < 10
    assert float(shares["largest drop, in nats"]) < 10


def test_tables_learn_chances_before_nats_but_for_ppo(results):
    trained = [row for row in results.rows if row != "base" and "random" not in row]
    nats, chances, inverse = (
        {row: results.mean(row, f"exact.{name}").mean for row in trained}
        for name in ("correlation", "in_chances", "inverse_alpha")
    )
    assert [row for row in trained if nats[row] > chances[row]] == ["PPO"]
    assert sorted(trained, key=nats.__getitem__)[-2:] == ["OREO", "PPO"]
    assert sorted(trained, key=inverse.__getitem__)[-2:] == ["GVPO", "PPO"]


def test_implied_chances_beat_the_questions_own():
    rows = numbers(r"mean error (0\.\d+) \(of the question's own chance (0\.\d+)\)")
    assert len(rows) == 2
    assert all(error < 0.75 * start for error, start in rows)


def test_controls_fail():
    ((mean, most),) = numbers(r"dealt out anew: AUC (0\.\d+), at most (0\.\d+)")
    assert abs(mean - 0.5) < 0.02
    ((itself,),) = numbers(r"GN-IVO itself: AUC (0\.\d+)")
    assert itself > most


def test_surprise_wins_in_smollm2_and_loses_here():
    found = dict(
        re.findall(
            r"^(most surprising token|implicit values, `gnivo`) +(0\.\d+)", BOOK.printed, re.M
        )
    )
    assert float(found["most surprising token"]) > float(found["implicit values, `gnivo`"])
    ((ours, surprise),) = numbers(r"GN-IVO: (0\.\d+); surprise: (0\.\d+)")
    assert ours > surprise + 0.2


def test_credits_follow_rollouts(results, answers):
    """What the notebook does not say and the table does: the order of steps is that of rollouts."""
    every = np.concatenate(report.mean_credits(results, "GN-IVO"))
    rolled = np.concatenate(answers.monte_carlo(16, nats=True))
    assert rank_correlation(every, rolled) > 0.4
