"""Theorems 1 to 3 of notebooks/theorems.md: completion weights, by enumeration of all groups."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch, group_log_softmax
from gnivo_edu.exact import random_reference
from gnivo_edu.exact.tree import Tables
from gnivo_edu.objectives import LossOutput
from gnivo_edu.objectives.groups import prefix_coefficients, reward_weights
from gnivo_edu.population import (
    Population,
    Sampler,
    divergence,
    expect,
    gradient_covariance,
    laws,
    point_at,
    total_variation,
)
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.atlas.implicit import at_depth
from gnivo_edu.population.roots import jacobian, rest

ALPHA = 0.5
ZERO = 1e-10
BITES = 1e-2
DEPTHS = (None, 1, 2, 3)


@cache
def stranger() -> Tables:
    """A writer with full support that knows neither the reference nor the rewards."""
    answers = problem("tree")
    return answers.to_tables(answers.from_tables(random_reference(3, 3, seed=11)))


def samplers() -> dict[str, Sampler]:
    return {
        "reference": "reference",
        "current": "current",
        "uniform": "uniform",
        "stranger": stranger(),
        "mixture": {"reference": 0.5, "uniform": 0.5},
    }


def objective(depth: int | None, **settings: Any) -> Any:
    if depth is None:
        return partial(objectives.gnivo, **settings)
    return partial(at_depth, t=depth, **settings)


def push(
    loss: Any, sampler: Sampler, group_size: int, nats_per_nat: float = 1.0, alpha: float = ALPHA
) -> Tensor:
    """The expected gradient by the logits at pi_ref e^{x R/alpha}/Z: pi* at x = 1."""
    answers = problem("tree")
    point = point_at(answers, alpha, policy=answers.tilted(nats_per_nat * answers.rewards / alpha))
    population = Population.of(answers, group_size, sampler=sampler)
    return expect(loss, population, point=point, alpha=alpha).gradient["logits"]


@pytest.mark.parametrize("group_size", [2, 3])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", ["reference", "current", "uniform", "stranger", "mixture"])
def test_pi_star_is_a_rest_of_completion_weights_under_every_sampler(
    name: str, depth: int | None, group_size: int
) -> None:
    at_optimum = partial(push, sampler=samplers()[name], group_size=group_size)
    assert float(at_optimum(objective(depth, weights="completion")).abs().max()) < ZERO
    # Off the optimum it pushes.
    away = at_optimum(objective(depth, weights="completion"), nats_per_nat=0.5)
    assert float(away.abs().max()) > BITES
    if name != "reference" and depth != 3:
        published = at_optimum(objective(depth, weights="raw"))
        assert float(published.abs().max()) > BITES / 2


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["completion", "raw"])
def test_the_rest_is_where_the_search_ends(weights: str) -> None:
    answers = problem("tree")
    population = Population.of(answers, 2, sampler=stranger())
    loss = partial(objectives.gnivo, weights=weights)
    starts = (answers.reference, answers.tilted(-answers.rewards / ALPHA))
    for start in starts:
        end = rest(loss, population, start=point_at(answers, ALPHA, policy=start), alpha=ALPHA)
        law = answers.law(answers.policy(end.point.logits))
        assert end.converged
        tv = total_variation(law, laws.tilt(answers, ALPHA))
        assert (tv < ZERO) if weights == "completion" else (tv > BITES)


def test_each_answer_of_a_group_may_have_a_writer_of_its_own() -> None:
    """Groups of one answer of the reference and one of a stranger, not of their mixture."""
    answers = problem("tree")
    logits = point_at(answers, ALPHA, policy=answers.tilted(answers.rewards / ALPHA)).logits
    logits = logits.detach().requires_grad_()
    writers = [answers.reference, answers.from_tables(stranger())]
    pairs = torch.tensor(list(product(range(len(answers.rewards)), repeat=2)))

    def largest(seen: list[Tensor]) -> float:
        by_writer = [answers.token_logps(x) for x in seen]
        batch = GroupBatch(
            policy_logps=answers.token_logps(answers.policy(logits))[pairs],
            behaviour_logps=torch.stack([x[pairs[:, i]] for i, x in enumerate(by_writer)], 1),
            reference_logps=answers.token_logps(answers.reference)[pairs],
            rewards=answers.rewards[pairs],
            mask=answers.mask[pairs],
            group_weight=answers.law(writers[0])[pairs[:, 0]]
            * answers.law(writers[1])[pairs[:, 1]],
        )
        loss = objectives.gnivo(batch, ALPHA, weights="completion").loss
        return float(torch.autograd.grad(loss, logits)[0].abs().max())

    assert largest(writers) < ZERO
    assert largest(writers[::-1]) > BITES  # the writers mistaken for one another


def neighbour(batch: GroupBatch, alpha: float, kind: str) -> LossOutput:
    """Completion weights with one thing changed."""
    writer, reference = batch.behaviour_logps, batch.reference_logps
    each = (reference - writer).masked_fill(batch.outside, 0.0)
    if kind == "the whole answer":  # every weight times pi_ref/mu of the prefix too
        rewards = batch.rewards + alpha * each.sum(-1)
        return objectives.gnivo(replace(batch, rewards=rewards), alpha, weights="raw")
    later = each.sum(-1, keepdim=True) - each.cumsum(-1)
    changed = {"mu over pi_ref": -later, "one token more": later + each, "as it is": later}
    w = (batch.rewards[..., None] / alpha + changed[kind]).exp()
    log_q = batch.prefix_logratio.log_softmax(1)
    return LossOutput(batch.group_mean(-(w * log_q).sum((1, 2))))


@pytest.mark.parametrize("kind", ["mu over pi_ref", "the whole answer", "one token more"])
def test_false_neighbours_of_completion_weights_have_another_rest(kind: str) -> None:
    for sampler in (stranger(), "current"):
        assert float(push(partial(neighbour, kind=kind), sampler, 2).abs().max()) > BITES
    assert float(push(partial(neighbour, kind="as it is"), stranger(), 2).abs().max()) < ZERO
    # Under the reference all of them are the published weights.
    assert float(push(partial(neighbour, kind=kind), "reference", 2).abs().max()) < ZERO


@pytest.mark.parametrize("group_size", [2, 3])
@pytest.mark.parametrize("depth", DEPTHS)
def test_pi_star_is_a_rest_of_their_softmax_on_the_policys_own_answers(
    depth: int | None, group_size: int
) -> None:
    loss = objective(depth, weights="completion_softmax")
    assert float(push(loss, "current", group_size).abs().max()) < ZERO
    assert float(push(loss, "current", group_size, nats_per_nat=0.5).abs().max()) > BITES / 10
    published = objective(depth, weights="softmax")
    for sampler in ("reference", "uniform"):
        off = float(push(loss, sampler, group_size).abs().max())
        if depth == 3:  # complete answers: nothing is left to complete
            assert off < ZERO
        else:
            assert off > BITES / 10
    if depth != 3:
        assert float(push(published, "current", group_size).abs().max()) > BITES / 10


@pytest.mark.parametrize("group_size", [2, 4])
def test_at_pi_star_completion_weights_of_own_answers_are_silent(group_size: int) -> None:
    """The variance of one group's gradient: zero, where both published weights keep theirs."""
    answers = problem("tree")
    point = point_at(answers, ALPHA, policy=answers.tilted(answers.rewards / ALPHA))
    own = Population.of(answers, group_size, sampler="current")
    noise = {}
    for weights in ("completion_softmax", "completion", "softmax", "raw"):
        loss = partial(objectives.gnivo, weights=weights)
        noise[weights] = float(gradient_covariance(loss, own, point, alpha=ALPHA)[1].trace())
    assert noise.pop("completion_softmax") < ZERO**2
    # Not normalised they are a multiple of e^{rho^t} there, and w - W q = 0 as well.
    assert noise.pop("completion") < ZERO**2
    assert min(noise.values()) > BITES


def test_pi_star_attracts() -> None:
    """The linearised expected gradient at pi*: no negative eigenvalue, and zeros for the gauge."""
    answers = problem("tree")
    own = Population.of(answers, 2, sampler="current")
    point = point_at(answers, ALPHA, policy=answers.tilted(answers.rewards / ALPHA))

    def field(x: Tensor) -> Tensor:
        moved = point.with_flat(("logits",), x)
        loss = partial(objectives.gnivo, weights="completion_softmax")
        return expect(loss, own, point=moved, alpha=ALPHA).gradient["logits"].flatten()

    slope = jacobian(field, point.flat(("logits",)))
    assert float((slope - slope.T).abs().max()) < 1e-8
    eigenvalues = torch.linalg.eigvalsh((slope + slope.T) / 2)
    # A softmax does not see a constant in each of the seven states.
    states = int(answers.legal.any(-1).sum())
    assert float(eigenvalues[0]) > -1e-8
    assert int((eigenvalues > 1e-6).sum()) == int(answers.legal.sum()) - states


def trained(weights: str, steps: int = 400) -> float:
    """KL(pi* || pi) after training a table on its own answers, drawn at random."""
    answers = problem("tree")
    law = laws.tilt(answers, ALPHA)
    logits = point_at(answers, ALPHA).logits.detach().clone().requires_grad_()
    adam = torch.optim.Adam([logits], lr=0.05)
    generator = torch.Generator().manual_seed(0)
    reference = answers.token_logps(answers.reference)
    for _ in range(steps):
        policy = answers.policy(logits)
        drawn = torch.multinomial(
            answers.law(policy.detach()), 16 * 4, replacement=True, generator=generator
        ).view(16, 4)
        logps = answers.token_logps(policy)[drawn]
        batch = GroupBatch(
            policy_logps=logps,
            behaviour_logps=logps,
            reference_logps=reference[drawn],
            rewards=answers.rewards[drawn],
            mask=answers.mask[drawn],
        )
        adam.zero_grad()
        objectives.gnivo(batch, ALPHA, weights=weights, reward_max=1.0).loss.backward()
        adam.step()
    return divergence(law, answers.law(answers.policy(logits.detach())))


@pytest.mark.slow
def test_drawn_answers_lead_to_pi_star_itself_since_the_noise_fades() -> None:
    """At a constant step and a constant batch, published weights hover at some distance."""
    assert trained("completion_softmax") < 1e-6
    assert trained("completion") < 1e-6
    assert min(trained("softmax"), trained("raw")) > 1e-4


# Signal over noise of one group of four, at pi_ref e^{x R/alpha}/Z for x = 0, 0.5, 0.9.
SIGNAL = {
    ("softmax", "current"): (0.581, 0.521, 0.347),
    ("completion_softmax", "current"): (0.581, 0.640, 0.725),
    ("raw", "stranger"): (0.402, 0.286, 0.184),
    ("completion", "stranger"): (0.288, 0.180, 0.044),
}


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "name"), SIGNAL, ids=str)
def test_what_completion_weights_cost_and_save(weights: str, name: str) -> None:
    answers = problem("tree")
    groups = Population.of(answers, 4, sampler=samplers()[name])
    for x, expected in zip((0.0, 0.5, 0.9), SIGNAL[weights, name], strict=True):
        point = point_at(answers, ALPHA, policy=answers.tilted(x * answers.rewards / ALPHA))
        loss = partial(objectives.gnivo, weights=weights)
        mean, covariance = gradient_covariance(loss, groups, point, alpha=ALPHA)
        assert float(mean.norm() / covariance.trace().sqrt()) == pytest.approx(expected, abs=2e-3)


def truncated(batch: GroupBatch, alpha: float, cap: float) -> LossOutput:
    """GN-IVO with completion weights whose ratio pi_ref/mu is cut at `cap`."""
    raw, full = (reward_weights(batch, alpha, weights=kind) for kind in ("raw", "completion"))
    c = prefix_coefficients(batch, "all", lengths="sum_max", depths=None, horizon=None)
    weight = c * raw * (full / raw).clamp(max=cap)
    terms = weight * group_log_softmax(batch.prefix_logratio)
    return LossOutput(batch.group_mean(-terms.sum((1, 2))))


# Distance of the rest from pi* (groups of two), and signal over noise near it (of four, x = 0.9).
TRUNCATED = {3.0: (0.0152, 0.058), 2.5: (0.0267, 0.105), 2.0: (0.0375, 0.167)}


@pytest.mark.slow
def test_a_truncated_ratio_is_as_biased_as_raw_weights_before_it_is_as_quiet() -> None:
    answers = problem("tree")
    best = answers.law(answers.tilted(answers.rewards / ALPHA))
    near = point_at(answers, ALPHA, policy=answers.tilted(0.9 * answers.rewards / ALPHA))
    pairs, fours = (Population.of(answers, K, sampler=stranger()) for K in (2, 4))

    def measured(loss: Any) -> tuple[float, float]:
        end = rest(loss, pairs, start=point_at(answers, ALPHA))
        assert end.converged
        mean, covariance = gradient_covariance(loss, fours, near)
        away = total_variation(answers.law(answers.policy(end.point.logits)), best)
        return float(away), float(mean.norm() / covariance.trace().sqrt())

    for cap, (away, signal) in TRUNCATED.items():
        result = measured(partial(truncated, alpha=ALPHA, cap=cap))
        assert result == (pytest.approx(away, abs=5e-4), pytest.approx(signal, abs=2e-3))
    whole = measured(partial(truncated, alpha=ALPHA, cap=float("inf")))
    raw = measured(partial(objectives.gnivo, alpha=ALPHA))
    assert whole[0] < ZERO
    # Cut at 2 it is no nearer to pi* than raw weights are, and noisier.
    assert raw == (pytest.approx(0.0378, abs=5e-4), pytest.approx(0.184, abs=2e-3))
