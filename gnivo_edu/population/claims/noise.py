"""Claims on what training alone can show, as far as counting goes: noise, credit, instability.

Which method bears noise better, credits steps better, or is more stable in training is what the
studies ask (`gnivo_edu.studies`): no number here comes from a run.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import product

import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import (
    Objective,
    Population,
    gradient_covariance,
    laws,
    point_at,
    total_variation,
)
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
    ONE_STEP,
    TREE,
    Curve,
    angle,
    fails,
    gradient,
    holds,
)
from gnivo_edu.population.questions import loss_and_push, relative_error
from gnivo_edu.population.roots import rest

P = 0.25  # the chance that a reward is turned round: that of VIMPO's noisy runs
VALUE_LOSS = partial(objectives.vimpo, actor=0.0, baseline="leave_one_out")
GRPO = partial(objectives.grpo, kl="none")


def turned_round(batch: GroupBatch, loss: Objective, of: str, alpha: float) -> LossOutput:
    """A loss in expectation over rewards that became 1 - R with chance `P`.

    `of`: one coin for a "group", as in VIMPO's recipe, or for each "answer".
    """
    K = batch.rewards.shape[1]
    throws = 1 if of == "group" else K
    total = torch.zeros((), dtype=batch.rewards.dtype)
    for coins in product((False, True), repeat=throws):
        chance = P ** sum(coins) * (1 - P) ** (throws - sum(coins))
        rewards = torch.where(torch.tensor(coins), 1 - batch.rewards, batch.rewards)
        total = total + chance * loss(replace(batch, rewards=rewards), alpha=alpha).loss
    return LossOutput(total)


def _shrunk(of: str) -> float:
    """How far the expected push under noise is from 1 - 2p times the one without, relative; the
    larger of VIMPO's value loss and GRPO.
    """
    answers = problem("tree")
    errors = []
    for loss in (VALUE_LOSS, GRPO):
        clean, noisy = (
            gradient(x, answers, policy=answers.reference, group_size=3, sampler="current")
            for x in (loss, partial(turned_round, loss=loss, of=of))
        )
        errors.append(relative_error(noisy, (1 - 2 * P) * clean))
    return max(errors)


def _vimpo_push_under_noise(alpha: float) -> float:
    """Norm of VIMPO's expected gradient under noise, at pi_V of another temperature."""
    answers = problem("tree")
    policy = answers.from_law(laws.vimpo_law(answers, alpha))
    noisy = partial(turned_round, loss=VALUE_LOSS, of="group")
    return float(gradient(noisy, answers, policy=policy, group_size=2, sampler="current").norm())


def _noisy_weights_law(alpha: float) -> Tensor:
    """pi_ref E[e^{R'/alpha}]/Z, R' the reward or, with chance `P`, what it was turned into."""
    answers = problem("one step")
    weights = (1 - P) * (answers.rewards / alpha).exp() + P * ((1 - answers.rewards) / alpha).exp()
    return laws.tilt_by(answers, weights.log())


def _off_noisy_end(target: Tensor) -> float:
    """Total variation of a law from where GN-IVO ends under noise, raw weights, K = 2."""
    answers = problem("one step")
    noisy = partial(turned_round, loss=objectives.gnivo, of="group")
    search = rest(noisy, Population.of(answers, 2), point_at(answers, ALPHA), alpha=ALPHA)
    return total_variation(answers.law(answers.policy(search.point.logits)), target)


def _temperatures() -> Curve:
    """The temperature at which a method ends up that was set to alpha; rewards are 0 or 1."""
    curve = []
    for alpha in (0.1, 0.2, 0.5, 1.0, 2.0):
        weight = math.exp(1 / alpha)  # of a right answer; a wrong one has 1
        odds = ((1 - P) * weight + P) / ((1 - P) + P * weight)
        curve.append(
            {
                "alpha": alpha,
                "VIMPO and GVPO": alpha / (1 - 2 * P),
                "GN-IVO": 1 / math.log(odds),
            }
        )
    return curve


def _within_an_answer(actor: float) -> float:
    """The largest spread over the tokens of an answer of VIMPO's push on them, half-way to pi*."""
    answers = problem("16 answers")
    policy = answers.tilted(answers.rewards / ALPHA / 2)
    population = Population.of(answers, 2, sampler="current")
    batch = population.batch(point_at(answers, ALPHA, policy=policy).detached())
    _, push = loss_and_push(partial(objectives.vimpo, actor=actor), batch, alpha=ALPHA)
    assert batch.group_weight is not None
    push = push / batch.group_weight[:, None, None]
    return float((push.amax(-1) - push.amin(-1)).max())


def _off_grpo(share: float) -> float:
    """1 - cosine of VIMPO's expected push with that of centred rewards, at pi_ref e^{xR/alpha}."""
    answers = problem("tree")
    policy = answers.tilted(share * answers.rewards / ALPHA)
    centred = partial(GRPO, scale="none", normaliser="seq-mean-token-sum")
    pushes = [
        gradient(loss, answers, policy=policy, group_size=2, sampler="current")
        for loss in (VALUE_LOSS, centred)
    ]
    return angle(*pushes)


def _noise_at_rest(loss: Objective, alpha: float) -> float:
    """Trace of the covariance of one group's gradient where the loss rests, K = 2, on-policy."""
    answers = problem("one step")
    population = Population.of(answers, 2, sampler="current")
    search = rest(loss, population, point_at(answers, alpha), alpha=alpha)
    _, covariance = gradient_covariance(loss, population, search.point, alpha=alpha)
    return float(covariance.trace())


VIMPO, GVPO = "VIMPO, arXiv 2606.20008, abstract", "GVPO, arXiv 2504.19599, abstract"
CLAIMS = [
    holds(
        "noise-shrinks",
        "Rewards that are turned round for a whole group with chance p leave 1 - 2p of the "
        "expected push, of VIMPO's as of GRPO's: on average neither has an advantage.",
        source=f"{VIMPO}: 'retains a consistent advantage over GRPO under noisy rewards'; whether "
        "it bears the noise of single groups better: results/noise",
        read="paper",
        where=f"{TREE}, K = 3, p = {P:g}, on-policy, at the reference; VIMPO's value loss, GRPO "
        "with std and no KL",
        unit="distance from 1 - 2p times the push without noise, relative",
        number=lambda: _shrunk(of="group"),
        unless="a coin is thrown for every answer: then GRPO's standard deviation is another",
        counterfactual=lambda: _shrunk(of="answer"),
    ),
    holds(
        "vimpo-noise",
        "Under that noise VIMPO's value loss rests at pi_V of the temperature alpha/(1 - 2p).",
        source="derived in this project",
        read="third party",
        where=f"{TREE}, K = 2, p = {P:g}, on-policy, leave-one-out mean",
        unit="norm of the expected gradient there",
        number=lambda: _vimpo_push_under_noise(ALPHA / (1 - 2 * P)),
        unless="at pi_V of alpha itself",
        counterfactual=lambda: _vimpo_push_under_noise(ALPHA),
    ),
    fails(
        "gnivo-noise",
        "Under that noise GN-IVO, too, rests at the optimum of alpha/(1 - 2p).",
        source="an analogy to vimpo-noise; but exponentials do not cancel as differences do",
        read="third party",
        where=f"{ONE_STEP}, K = 2, p = {P:g}, raw weights, reference samples; the curve is for "
        "rewards of 0 and 1",
        unit="total variation from that optimum",
        number=lambda: _off_noisy_end(laws.tilt(problem("one step"), ALPHA / (1 - 2 * P))),
        unless="it is the law pi_ref E[e^{R'/alpha}] of the noisy reward R'",
        counterfactual=lambda: _off_noisy_end(_noisy_weights_law(ALPHA)),
        curve=_temperatures,
    ),
    holds(
        "vimpo-one-number",
        "In one group VIMPO's value loss, the only part that sees rewards, pushes all tokens of a "
        "response alike.",
        source=f"{VIMPO}: 'finer credit assignment'; what the averages over groups make of it in "
        "training: results/credit",
        read="paper",
        where=f"alpha {ALPHA:g}, 16 answers of 4 tokens, K = 2, on-policy, half-way to pi*",
        unit="spread of the push within a response",
        number=lambda: _within_an_answer(actor=0.0),
        unless="the actor, which sees no reward, is added with weight 0.01",
        counterfactual=lambda: _within_an_answer(actor=0.01),
    ),
    holds(
        "vimpo-start",
        "At the start, pi = pi_ref, VIMPO's expected push is that of rewards less their group "
        "mean.",
        source=f"{VIMPO}: 'better credit assignment than group-relative methods'",
        read="paper",
        where=f"{TREE}, K = 2, on-policy, leave-one-out mean; GRPO without std and KL, token sums",
        unit="1 - cosine of the two",
        number=lambda: _off_grpo(share=0.0),
        unless="the policy is half-way to pi*",
        counterfactual=lambda: _off_grpo(share=0.5),
    ),
    holds(
        "gvpo-silent",
        "Where GVPO rests no group pushes it: its gradient is without noise there.",
        source=f"{GVPO}: 'training instability' of GRPO; whether this makes training more stable "
        "is told in results/curves",
        read="paper",
        where=f"{ONE_STEP}, K = 2, on-policy",
        unit="trace of the covariance of one group's gradient",
        number=lambda: _noise_at_rest(objectives.gvpo, ALPHA),
        unless="the loss is GRPO's with k3, alpha 2, at its own rest",
        counterfactual=lambda: _noise_at_rest(partial(objectives.grpo, scale="none"), alpha=2.0),
    ),
]
