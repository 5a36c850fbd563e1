"""Theorems 4 to 6 of notebooks/theorems.md: the bias of softmax weights, and weights of depths."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import Answers, Population, expect, gradient_covariance, point_at
from gnivo_edu.population.signal import problem

Rule = Callable[[Tensor, Tensor], Tensor]


def four_answers(seed: int) -> Answers:
    """Two binary tokens; the first is the prefix, so a depth is one number: a log-odds."""
    rewards = torch.rand(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    reference = exact.random_reference(2, 2, seed=seed)
    return Answers.of(exact.enumerate_tree_from_rewards(rewards.numpy(), 2, reference=reference))


def counts_of(group_size: int) -> Tensor:
    """How often each of the four answers is in a group: all ways."""
    K = torch.arange(group_size + 1)
    grid = torch.cartesian_prod(K, K, K)
    grid = grid[grid.sum(1) <= group_size]
    return torch.cat([grid, group_size - grid.sum(1, keepdim=True)], 1).double()


def plain(p: Tensor, q: Tensor) -> Tensor:
    """Softmax weights."""
    return p


def second_order(p: Tensor, q: Tensor) -> Tensor:
    """p_i (1 + p_i - q_i), up to their sum in the group."""
    return p * (1 + p - q)


def gap(answers: Answers, alpha: float, group_size: int, rule: Rule = plain) -> float:
    """v - V of the second prefix less that of the first, nats, v what the weights fit at depth 1.

    At its rest the group's expected weight on a prefix is the model's: E[sum_i (w_i - W q_i)] = 0
    there, found by bisection.
    """
    law = answers.law(answers.reference)
    w = (answers.rewards / alpha).exp()
    counts = counts_of(group_size)
    log_chance = torch.lgamma(counts.sum(1) + 1) - torch.lgamma(counts + 1).sum(1)
    chance = (log_chance + counts @ law.log()).exp()
    assert float(chance.sum()) == pytest.approx(1.0, rel=1e-9)
    p = w / (counts @ w)[:, None]

    def excess(d: float) -> float:
        e_v = torch.tensor([0.0, 0.0, d, d], dtype=torch.float64).exp()
        q = e_v / (counts @ e_v)[:, None]
        weight = rule(p, q)
        weight = weight / (counts * weight).sum(1, keepdim=True)
        return float(chance @ (counts * (weight - q))[:, 2:].sum(1))

    low, high = -60.0, 60.0
    for _ in range(90):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    value = ((law * w).view(2, 2).sum(1) / law.view(2, 2).sum(1)).log()
    return low - float(value[1] - value[0])


def risk(answers: Answers, alpha: float) -> tuple[float, float]:
    """The same difference of -Var(w|s)/(Z e^V), and of its false neighbour -Var(w|s)/Z^2."""
    law = answers.law(answers.reference)
    w = (answers.rewards / alpha).exp()
    mass = law.view(2, 2).sum(1)
    mean, square = ((law * x).view(2, 2).sum(1) / mass for x in (w, w.square()))
    variance, Z = square - mean.square(), float(law @ w)
    right, wrong = -variance / (Z * mean), -variance / Z**2
    return float(right[1] - right[0]), float(wrong[1] - wrong[0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_softmax_weights_are_risk_averse(seed: int) -> None:
    answers, alpha = four_answers(seed), 0.5
    right, wrong = risk(answers, alpha)
    rests = {K: K * gap(answers, alpha, K) for K in (16, 32, 64)}
    errors = [abs(rests[K] / right - 1) for K in rests]
    # What is left of the law halves with every doubling of K.
    assert errors[2] < 0.05
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.1)
    assert errors[2] / errors[1] == pytest.approx(0.5, abs=0.06)
    assert abs(rests[64] / wrong - 1) > 3 * errors[2]


@pytest.mark.slow
def test_the_bias_is_not_monotone_in_the_size_of_the_group() -> None:
    """On some trees pairs are nearer than groups of four; far out the law takes over."""
    nearer = []
    for seed in range(40):
        pairs, fours, many = (abs(gap(four_answers(seed), 0.1, K)) for K in (2, 4, 24))
        nearer.append(pairs < fours)
        assert many < max(pairs, fours)
    assert 0 < sum(nearer) < 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_second_order_weights_have_a_bias_of_one_over_k_squared(seed: int) -> None:
    answers, alpha = four_answers(seed), 0.5
    ours, softmax = (
        [abs(gap(answers, alpha, K, rule)) for K in (16, 32, 64)] for rule in (second_order, plain)
    )
    for i in (0, 1):
        assert softmax[i + 1] / softmax[i] == pytest.approx(1 / 2, abs=0.06)
        assert ours[i + 1] / ours[i] == pytest.approx(1 / 4, abs=0.06)
    assert ours[2] < 0.2 * softmax[2]
    # A false neighbour, the correction with its sign turned, doubles the bias.
    turned = abs(gap(answers, alpha, 64, lambda p, q: p * (1 - p + q)))
    assert turned / softmax[2] == pytest.approx(2.0, abs=0.2)


def halves(batch: GroupBatch, alpha: float) -> LossOutput:
    """Raw weights of each half of a group over the sum of the other half's."""
    w = (batch.rewards / alpha).exp()
    K = w.shape[1] // 2
    total = torch.zeros_like(w[:, 0])
    for own, other in ((slice(0, K), slice(K, None)), (slice(K, None), slice(0, K))):
        weight = w[:, own] / w[:, other].sum(1, keepdim=True)
        log_q = batch.prefix_logratio[:, own].log_softmax(1)
        total = total - (weight[..., None] * log_q).sum((1, 2))
    return LossOutput(batch.group_mean(total))


def test_cross_normalised_halves_have_no_bias_and_more_noise() -> None:
    answers, alpha = four_answers(1), 0.5
    population = Population.of(answers, 4, ordered=True)
    at_optimum = point_at(answers, alpha, policy=answers.tilted(answers.rewards / alpha))
    softmax = partial(objectives.gnivo, weights="softmax")
    ours, published = (
        float(expect(loss, population, at_optimum, alpha=alpha).gradient["logits"].abs().max())
        for loss in (halves, softmax)
    )
    assert ours < 1e-10
    assert published > 1e-4
    ratios = []
    for loss in (halves, softmax):
        mean, covariance = gradient_covariance(
            loss, population, point_at(answers, alpha), alpha=alpha
        )
        ratios.append(float(mean.norm() / covariance.trace().sqrt()))
    assert ratios[0] < ratios[1]


# --- weights of depths ----------------------------------------------------------------------------


def by_position(batch: GroupBatch, alpha: float, times: Tensor) -> LossOutput:
    """The sequence-level policy gradient that counts token l `times[l - 1]` times."""
    w = (batch.rewards / alpha).softmax(1)
    advantage = (w - w.mean(1, keepdim=True))[..., None]
    logps = batch.policy_logps.masked_fill(batch.outside, 0.0)
    return LossOutput(batch.group_mean(-(advantage * times * logps).sum((1, 2))))


def signal_and_noise(rewards: str) -> tuple[Tensor, Tensor]:
    """By depth: |E g|^2 and the trace of the covariance of one group's gradient g, on-policy."""
    answers = problem(rewards)
    pairs = Population.of(answers, 2, sampler="current")
    numbers = []
    for one in torch.eye(3, dtype=torch.float64):
        loss = partial(by_position, times=one)
        mean, covariance = gradient_covariance(loss, pairs, point_at(answers, 0.5), alpha=0.5)
        numbers.append((mean.square().sum(), covariance.trace()))
    signal, noise = (torch.stack(x) for x in zip(*numbers, strict=True))
    return signal, noise


def efficiency(times: Tensor, signal: Tensor, noise: Tensor) -> float:
    """First-order gain per unit of noise, over that of the best weights: 1 at times = s/n."""
    best = (signal.square() / noise).sum().sqrt()
    return float((times @ signal) / (times.square() @ noise).sqrt() / best)


@pytest.mark.parametrize("rewards", ["sparse", "dense"])
def test_the_best_weights_of_depths_are_signal_over_noise(rewards: str) -> None:
    signal, noise = signal_and_noise(rewards)
    assert efficiency(signal / noise, signal, noise) == pytest.approx(1.0, rel=1e-12)
    others = torch.rand(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert max(efficiency(x, signal, noise) for x in others) <= 1.0
    # Another rule, the signal alone, is not best.
    assert efficiency(signal, signal, noise) < 1.0 - 1e-4


def test_gradients_of_two_depths_add_up_without_a_cross_term() -> None:
    """Tokens of different depths stand in different states of a table."""
    answers, times = problem("dense"), torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    signal, noise = signal_and_noise("dense")
    pairs = Population.of(answers, 2, sampler="current")
    mean, covariance = gradient_covariance(
        partial(by_position, times=times), pairs, point_at(answers, 0.5), alpha=0.5
    )
    assert float(mean.square().sum()) == pytest.approx(float(times.square() @ signal), rel=1e-10)
    assert float(covariance.trace()) == pytest.approx(float(times.square() @ noise), rel=1e-10)
    # At its own groups' policy this is GN-IVO, all depths.
    published = partial(objectives.gnivo, weights="softmax")
    same = expect(published, pairs, point_at(answers, 0.5), alpha=0.5).gradient["logits"]
    assert torch.allclose(same, mean, rtol=0, atol=1e-12)


def test_neither_all_depths_nor_the_last_alone_is_always_the_better() -> None:
    numbers = {
        "sparse": {(3, 2, 1): 0.920, (1, 1, 1): 0.998, (1, 2, 3): 0.924},
        "dense": {(3, 2, 1): 0.964, (1, 1, 1): 0.816, (1, 2, 3): 0.547},
    }
    for rewards, expected in numbers.items():
        signal, noise = signal_and_noise(rewards)
        for times, number in expected.items():
            x = torch.tensor(times, dtype=torch.float64)
            assert efficiency(x, signal, noise) == pytest.approx(number, abs=2e-3)
