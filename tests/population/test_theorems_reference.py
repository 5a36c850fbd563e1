"""Theorems 6 to 8 of notebooks/theorems.md: VIMPO, GVPO and GN-IVO when their reference moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.population import (
    Answers,
    Objective,
    Population,
    expect,
    laws,
    point_at,
    total_variation,
)
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.moving import (
    Average,
    along_answers,
    both_kls,
    change_by_token,
    partly_refreshed,
    refreshed,
    refreshes,
    value_at,
)

ALPHA = 0.5
ZERO = 1e-10


def at_rest(answers: Answers, alpha: float = ALPHA) -> Tensor:
    """Where VIMPO's value loss with the leave-one-out mean rests."""
    return answers.from_law(laws.vimpo_law(answers, alpha))


def mean_reward(answers: Answers, policy: Tensor) -> float:
    return float(answers.law(policy) @ answers.rewards)


# --- theorem 6 (a): a swap -----------------------------------------------------------------------


def test_a_swap_of_the_reference_adds_a_martingale_to_the_implied_value() -> None:
    answers = problem("tree")
    policy = at_rest(answers)
    swapped = answers.tilted(answers.rewards.flip(0))
    change = change_by_token(answers, policy, reference=swapped, alpha=ALPHA)
    chance = policy.exp().masked_fill(~answers.legal, 0.0)
    # In every state it is zero on average under the policy, and not along an answer.
    assert float((chance * change).sum(-1).abs().max()) < ZERO
    assert float((chance * change.square()).sum(-1).max()) > 1e-2
    # Under another policy it drifts; without a swap it is zero everywhere.
    other = answers.reference.exp().masked_fill(~answers.legal, 0.0)
    assert float((other * change).sum(-1).abs().max()) > 1e-2
    same = change_by_token(answers, policy, reference=answers.reference, alpha=ALPHA)
    assert float(same.abs().max()) == 0.0


@pytest.mark.parametrize("state", range(7))
def test_a_swap_in_a_single_state_cancels_nowhere(state: int) -> None:
    """Only ref' = ref leaves every answer's value alone; a constant added to logits is no swap."""
    answers = problem("tree")
    policy = at_rest(answers)

    def largest(logits: Tensor) -> float:
        swapped = answers.policy(answers.reference + logits)
        change = change_by_token(answers, policy, reference=swapped, alpha=ALPHA)
        return float(along_answers(answers, change)[:, -1].abs().max())

    nats = torch.zeros_like(answers.reference)
    nats[state] = 0.3
    assert largest(nats) < ZERO
    nats[state] = torch.tensor([0.3, 0.0, 0.0])
    assert largest(nats) > 1e-2


@pytest.mark.parametrize("group_size", [2, 3])
def test_at_its_rest_a_swap_adds_half_the_martingales_variance_to_the_value_loss(
    group_size: int,
) -> None:
    """And its push is a policy gradient whose reward is what the swap took off."""
    answers = problem("tree")
    swapped = answers.tilted(answers.rewards.flip(0))

    def rise(policy: Tensor) -> tuple[float, float, Tensor]:
        change = change_by_token(answers, policy, reference=swapped, alpha=ALPHA)
        end = along_answers(answers, change)[:, -1]
        before = value_at(answers, policy, group_size=group_size, alpha=ALPHA)
        after = value_at(
            replace(answers, reference=swapped), policy, group_size=group_size, alpha=ALPHA
        )
        return after.loss - before.loss, float(answers.law(policy) @ end.square()) / 2, end

    policy = at_rest(answers)
    rose, half_variance, end = rise(policy)
    assert rose == pytest.approx(half_variance, rel=1e-10)
    point = point_at(answers, ALPHA, policy=policy)
    logits = point.logits.requires_grad_()
    scores = answers.token_logps(answers.policy(logits)).sum(1)
    expected = torch.autograd.grad(ALPHA * (answers.law(policy) * end) @ scores, logits)[0]
    moved = value_at(
        replace(answers, reference=swapped), policy, group_size=group_size, alpha=ALPHA
    )
    assert float((moved.gradient["logits"] - expected).abs().max()) < ZERO
    assert float(expected.abs().max()) > 1e-2
    # Elsewhere the residual and the martingale are correlated, and the rise is another.
    rose, half_variance, _ = rise(answers.tilted(answers.rewards))
    assert abs(rose - half_variance) > 1e-3


# --- theorem 6 (b): n refreshes ------------------------------------------------------------------


@pytest.mark.parametrize("times", [2, 6])
def test_refreshes_of_vimpo_are_not_a_lower_temperature_beyond_one_step(times: int) -> None:
    tree, one_step = problem("tree"), problem("one step")

    def distance(answers: Answers) -> float:
        law = answers.law(refreshed(answers, ALPHA, times=times))
        return total_variation(law, laws.vimpo_law(answers, ALPHA / times))

    assert distance(tree) > 1e-2
    assert distance(one_step) < ZERO


@pytest.mark.parametrize("objective", [objectives.gvpo, objectives.gnivo])
def test_refreshes_of_gvpo_and_gnivo_compound(objective: Objective) -> None:
    """pi_0 e^{nR/alpha}/Z is a rest of the n-th round, whose reference is that of n - 1."""
    answers = problem("tree")
    for n in (1, 2, 6):
        seen = replace(answers, reference=answers.tilted((n - 1) * answers.rewards / ALPHA))
        population = Population.of(seen, 2)

        def push(rounds: int, population: Population = population) -> float:
            policy = answers.tilted(rounds * answers.rewards / ALPHA)
            point = point_at(population.answers, ALPHA, policy=policy)
            at_end = expect(objective, population, point, alpha=ALPHA)
            return float(at_end.gradient["logits"].abs().max())

        assert push(n) < ZERO
        assert push(n + 1) > 1e-5


# --- theorem 6 (c): the jump ---------------------------------------------------------------------


def value_loss(answers: Answers, policy: Tensor, group_size: int, alpha: float, mean: str) -> float:
    population = Population.of(answers, group_size, sampler="current")
    settings = {"actor": 0.0, "baseline": mean}
    point = point_at(answers, ALPHA, policy=policy)
    return expect(objectives.vimpo, population, point, alpha=alpha, **settings).loss


@pytest.mark.parametrize("mean", ["leave_one_out", "mean"])
@pytest.mark.parametrize("group_size", [2, 3, 4])
def test_a_refresh_multiplies_the_value_loss_at_its_rest_by_k(group_size: int, mean: str) -> None:
    """And annealing alpha -> s alpha by 1 + (K - 1)(1 - s)^2."""
    answers, K = problem("tree"), group_size
    temperature = ALPHA if mean == "leave_one_out" else ALPHA * K / (K - 1)
    policy = at_rest(answers, temperature)
    before = value_loss(answers, policy, K, alpha=ALPHA, mean=mean)
    fresh = replace(answers, reference=policy)
    factor = value_loss(fresh, policy, K, alpha=ALPHA, mean=mean) / before
    assert factor == pytest.approx(K, rel=1e-10)
    assert factor != pytest.approx(K - 1, rel=1e-2)
    for s in (0.9, 0.5):
        annealed = value_loss(answers, policy, K, alpha=s * ALPHA, mean=mean)
        assert annealed / before == pytest.approx(1 + (K - 1) * (1 - s) ** 2, rel=1e-10)
        assert annealed / before != pytest.approx(1 + K * (1 - s) ** 2, rel=1e-3)
    # Elsewhere, as at the other mean's rest, the factor is another.
    off = at_rest(answers, 1.5 * temperature)
    moved = replace(answers, reference=off)
    factor = value_loss(moved, off, K, alpha=ALPHA, mean=mean) / value_loss(
        answers, off, K, alpha=ALPHA, mean=mean
    )
    assert abs(factor - K) > 0.05


@pytest.mark.parametrize("tilt", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("group_size", [2, 3])
def test_a_refresh_away_from_the_rest_says_what_was_not_learnt(
    group_size: int, tilt: float
) -> None:
    """Its factor is K/(1 + (K - 1) u), u the share of Var R that the log-ratios do not explain."""
    answers, K = problem("tree"), group_size
    policy = answers.tilted(tilt * answers.rewards)
    law = answers.law(policy)
    kl = answers.kl(policy)[answers.states].masked_fill(~answers.mask, 0.0)
    logratio = answers.token_logps(policy) - answers.token_logps(answers.reference)
    centred = answers.rewards - law @ answers.rewards
    left = ALPHA * (logratio - kl).sum(1) - centred
    u = float(law @ left.square() / (law @ centred.square()))
    assert u > 1e-3
    before = value_at(answers, policy, group_size=K, alpha=ALPHA).loss
    fresh = replace(answers, reference=policy)
    factor = value_at(fresh, policy, group_size=K, alpha=ALPHA).loss / before
    assert factor == pytest.approx(K / (1 + (K - 1) * u), rel=1e-10)
    assert factor != pytest.approx(K / (1 + K * u), rel=1e-4)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_annealing_pushes_as_a_refresh_does_by_s_times_one_less_s(share: float) -> None:
    answers = problem("tree")

    def gap(policy: Tensor, factor: float) -> float:
        """Largest entry of the push of annealing less `factor` times that of a refresh."""
        fresh = replace(answers, reference=policy)
        refresh = value_at(fresh, policy, group_size=2, alpha=ALPHA).gradient["logits"]
        anneal = value_at(answers, policy, group_size=2, alpha=share * ALPHA).gradient["logits"]
        return float((anneal - factor * refresh).abs().max())

    assert gap(at_rest(answers), share * (1 - share)) < ZERO
    assert gap(at_rest(answers), 1 - share) > 1e-4
    assert gap(at_rest(answers, 1.5 * ALPHA), share * (1 - share)) > 1e-4


# --- theorem 7: a refresh of VIMPO is a proximal step --------------------------------------------

TREES = ["tree", "16 answers", "one step"]


def q_values(answers: Answers, policy: Tensor) -> Tensor:
    """E_policy[R | s, a], [S, V]."""
    law = answers.law(policy)
    return answers.by_token(law * answers.rewards) / answers.by_token(law).clamp(min=1e-300)


@pytest.mark.parametrize("name", TREES)
def test_refreshes_of_vimpo_tilt_by_the_sum_of_the_values_on_the_way(name: str) -> None:
    answers = problem(name)
    rounds = list(refreshes(answers, ALPHA, times=4))
    last = rounds[-1][1]

    def gap(policies: list[Tensor]) -> float:
        nats = sum((q_values(answers, policy) for policy in policies), torch.zeros(())) / ALPHA
        return float((answers.policy(answers.reference + nats) - last).exp().sub(1).abs().max())

    assert gap([policy for _, policy in rounds]) < ZERO
    if name != "one step":  # the last policy's values, four times; those before each refresh
        assert gap([last] * 4) > 1e-2
        assert gap([seen.reference for seen, _ in rounds]) > 1e-2


@pytest.mark.parametrize("alpha", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("name", TREES)
def test_a_refresh_gains_alpha_times_both_kls_where_the_old_policy_goes(
    name: str, alpha: float
) -> None:
    answers = problem(name)
    for seen, policy in refreshes(answers, alpha, times=3):
        gain = mean_reward(answers, policy) - mean_reward(answers, seen.reference)
        both = both_kls(answers, old=seen.reference, new=policy)
        assert gain == pytest.approx(alpha * both, abs=ZERO)
        assert gain > 0
        # With one of the two only, or where the new policy goes, it is not.
        one = float(answers.visits(seen.reference) @ answers.kl(policy, seen.reference))
        assert abs(gain - alpha * one) > 1e-5
        elsewhere = both_kls(answers, old=policy, new=seen.reference)
        if name != "one step":
            assert abs(gain - alpha * elsewhere) > 1e-5


@pytest.mark.parametrize("name", TREES)
def test_a_refresh_nears_every_better_policy_by_what_is_left_to_gain(name: str) -> None:
    """So that n of them end within alpha KL/n of its reward."""
    answers = problem(name)
    goals = [answers.tilted(answers.rewards * 40), answers.tilted(answers.rewards.flip(0) * 3)]
    for goal in goals:
        visits = answers.visits(goal)
        start = float(visits @ answers.kl(goal))
        for n, (seen, policy) in enumerate(refreshes(answers, ALPHA, times=6), start=1):
            old, new = seen.reference, policy
            left = mean_reward(answers, goal) - mean_reward(answers, policy)
            nearer = float(visits @ (answers.kl(goal, old) - answers.kl(goal, new)))
            step = float(visits @ answers.kl(new, old))
            assert left == pytest.approx(ALPHA * (nearer - step), abs=ZERO)
            assert abs(left - ALPHA * nearer) > 1e-6
            assert left <= ALPHA * start / n


@pytest.mark.parametrize("name", ["tree", "16 answers"])
def test_many_small_refreshes_of_vimpo_end_at_the_optimum_with_an_error_of_one_over_n(
    name: str,
) -> None:
    answers = problem(name)

    def distance(n: int, alpha: float) -> float:
        law = answers.law(refreshed(answers, alpha, times=n))
        return total_variation(law, laws.tilt(answers, ALPHA))

    far = [distance(n, n * ALPHA) for n in (1, 16, 32, 64)]
    assert far[1] / far[2] == pytest.approx(2, rel=0.02)
    assert far[2] / far[3] == pytest.approx(2, rel=0.01)
    assert far[3] < far[0] / 30
    # At alpha itself, or at half as much as it takes, they end elsewhere.
    assert distance(16, ALPHA) > 0.1
    assert distance(16, 8 * ALPHA) > 0.1


# --- theorem 8: a reference that follows by an average -------------------------------------------


@pytest.mark.parametrize(("rate", "times"), [(0.5, 4), (0.1, 20), (0.3, 3)])
def test_averages_of_log_probabilities_of_answers_count_in_parts(rate: float, times: int) -> None:
    def distance(name: str, average: Average) -> float:
        answers = problem(name)
        law = partly_refreshed(answers, ALPHA, times=times, rate=rate, average=average)
        return total_variation(law, laws.tilt(answers, ALPHA / (times * rate)))

    assert distance("tree", "log-probabilities of answers") < ZERO
    assert distance("one step", "logits") < ZERO
    assert distance("tree", "logits") > 1e-2
    assert distance("one step", "probabilities of answers") > 1e-2


def test_averages_of_probabilities_tilt_by_the_exponential_of_the_reward() -> None:
    answers = problem("tree")
    w = (answers.rewards / ALPHA).exp()

    def ends(rate: float) -> tuple[Tensor, Tensor, Tensor]:
        """Where two refreshes in parts end; the product of factors; the tilt by e^{R/alpha}."""
        times = round(2 / rate)
        average: Average = "probabilities of answers"
        end = partly_refreshed(answers, ALPHA, times=times, rate=rate, average=average)
        law, strength = answers.law(answers.reference), 0.0
        for _ in range(times):
            z = float(law @ w)
            law, strength = law * (1 - rate + rate * w / z), strength + rate / z
        return end, law, laws.tilt_by(answers, strength * w)

    distances = []
    for rate in (0.1, 0.05, 0.025):
        end, product, tilt = ends(rate)
        assert total_variation(end, product) < ZERO
        distances.append(total_variation(end, tilt))
    assert distances[0] / distances[1] == pytest.approx(2, rel=0.1)
    assert distances[1] / distances[2] == pytest.approx(2, rel=0.05)
    # The exponential is not of R: no strength of a tilt by R comes near.
    strengths = torch.linspace(0, 6, 61)
    nearest = min(
        total_variation(end, laws.tilt_by(answers, c * answers.rewards)) for c in strengths
    )
    assert nearest > 10 * distances[2]


def test_rewards_of_two_values_know_one_kind_of_tilt() -> None:
    def spread(answers: Answers) -> float:
        """How much log-ratios of answers of equal reward differ, and of all from a line in R."""
        average: Average = "probabilities of answers"
        end = partly_refreshed(answers, ALPHA, times=4, rate=0.5, average=average)
        nats = end.log() - answers.law(answers.reference).log()
        lines = torch.stack([answers.rewards, torch.ones_like(nats)], 1)
        fit = torch.linalg.lstsq(lines, nats[:, None]).solution
        return float((lines @ fit - nats[:, None]).abs().max())

    tree = problem("tree")
    assert spread(replace(tree, rewards=(tree.rewards > 0.5).double())) < ZERO
    assert spread(tree) > 1e-2
